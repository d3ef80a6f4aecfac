package uplink

import (
	"math"
	"time"

	"uplinkd/configs"
)

// How far a balance may lead a weight away from the configured one, and how fast.
const (
	factorLeast = 0.25
	factorMost  = 4
	smoothing   = 0.3 // of what is new
	noticeable  = 0.1 // a smaller change of any share is not worth a replace
)

// weightMost is the largest weight of a nexthop.
const weightMost = 256

// A Sample is what was measured of an uplink.
type Sample struct {
	RTT         time.Duration // of its probes, smoothed; 0: not known
	RxBPS       uint64        // bits a second
	TxBPS       uint64
	Connections int  // that have its address, or were translated to it; -1: not known
	Stalled     bool // connections over it get no answer
}

// weight returns the weight the operator or the configuration gives.
func (u *Uplink) weight() int {
	if u.Order.Weight > 0 {
		return u.Order.Weight
	}
	return u.Config.Weight
}

// share returns the uplink's part in its tier, before it is made a whole number.
func (u *Uplink) share(now time.Time) float64 {
	share := float64(u.weight()) * u.Factor
	since := now.Sub(u.Rising)
	if u.Rising.IsZero() || since >= u.Config.SlowStart {
		return share
	}
	return share * float64(1+int(slowSteps*since/u.Config.SlowStart)) / slowSteps
}

// slowSteps is in how many steps the weight of a slow start rises.
const slowSteps = 4

// sample takes in what was measured, and caps an uplink that has all the
// connections it may have, until a tenth of them have ended.
func (s *State) sample(samples map[string]Sample) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		u.Sample = samples[u.Config.Interface]
		u.Stalled = u.Sample.Stalled && u.Config.Probe.Passive
		most := u.Config.MaxConnections
		switch n := u.Sample.Connections; {
		case most == 0:
			u.Capped = false
		case n >= most:
			u.Capped = true
		case n >= 0 && n*10 <= most*9:
			u.Capped = false
		}
	}
}

// balance brings the weights of the active uplinks up to date. The factors of a
// balance follow what was measured, once each balance_interval; slow starts and
// the operator's word count at once.
func (s *State) balance(now time.Time) {
	active := Active(*s)
	if s.Config.Routes.Balance == configs.BalanceStatic {
		for i := range s.Uplinks {
			s.Uplinks[i].Factor = 1
		}
	} else if now.Sub(s.Balanced) >= s.Config.Routes.BalanceInterval {
		s.Balanced = now
		s.follow(active)
	}
	shares := make([]float64, len(active))
	for n, i := range active {
		shares[n] = s.Uplinks[i].share(now)
	}
	weights := whole(shares)
	if !s.worth(active, weights, now) {
		return
	}
	for n, i := range active {
		s.Uplinks[i].Weight = weights[n]
	}
}

// follow moves each factor towards what the load or the times ask for.
func (s *State) follow(active []int) {
	loads := make([]float64, len(active))
	sum, known := 0.0, 0
	for n, i := range active {
		loads[n] = s.Uplinks[i].load(s.Config.Routes.Balance)
		if loads[n] >= 0 {
			sum += loads[n]
			known++
		}
	}
	mean := sum / float64(max(known, 1))
	for n, i := range active {
		u := &s.Uplinks[i]
		wanted := 1.0
		if mean > 0 && loads[n] >= 0 {
			wanted = min(max(mean/max(loads[n], mean/factorMost), factorLeast), factorMost)
		}
		u.Factor += smoothing * (wanted - u.Factor)
	}
}

// load returns what speaks against giving an uplink more, in a unit that is the
// same for all; below zero when that is not known.
func (u *Uplink) load(b configs.Balance) float64 {
	switch b {
	case configs.BalanceResponseTime:
		if u.Sample.RTT == 0 {
			return -1
		}
		return u.Sample.RTT.Seconds()
	case configs.BalanceLeastTraffic:
		busy := float64(max(u.Sample.RxBPS, u.Sample.TxBPS))
		if u.Config.Bandwidth == 0 {
			return busy / float64(u.weight())
		}
		// What is free is what counts: half free is twice as good as a quarter free.
		free := 1 - busy/float64(u.Config.Bandwidth)
		return 1 / max(free, 0.05)
	case configs.BalanceLeastConnections:
		return float64(max(u.Sample.Connections, 0)) / float64(u.weight())
	case configs.BalanceStatic:
	}
	return 1
}

// worth reports whether new weights are worth a change of the route. Under a
// balance small changes are not.
func (s *State) worth(active []int, weights []int, now time.Time) bool {
	if s.Config.Routes.Balance == configs.BalanceStatic {
		return true
	}
	sum := func(of func(n int) float64) (total float64) {
		for n := range active {
			total += of(n)
		}
		return total
	}
	current := func(n int) float64 { return float64(s.Uplinks[active[n]].Weight) }
	next := func(n int) float64 { return float64(weights[n]) }
	before, after := sum(current), sum(next)
	for n, i := range active {
		u := &s.Uplinks[i]
		rising := !u.Rising.IsZero() && now.Sub(u.Rising) <= u.Config.SlowStart+beat
		if u.Weight == 0 || before == 0 || rising || u.Order.Since.Equal(now) {
			return true
		}
		old, fresh := current(n)/before, next(n)/after
		if math.Abs(fresh-old) > noticeable*old {
			return true
		}
	}
	return false
}

// whole makes weights of shares: the smallest whole numbers in that proportion,
// or as near as numbers up to 256 come. Shares that are weights already stay as
// they are.
func whole(shares []float64) []int {
	weights := make([]int, len(shares))
	most := 0.0
	for _, s := range shares {
		most = max(most, s)
	}
	for scale := 1.0; scale*most <= weightMost; scale++ {
		if exactly(shares, scale, weights) {
			return weights
		}
	}
	exactly(shares, weightMost/most, weights)
	return weights
}

// exactly makes weights of shares times scale, and reports whether these were
// whole numbers to begin with.
func exactly(shares []float64, scale float64, weights []int) bool {
	exact := true
	for n, s := range shares {
		whole := math.Round(s * scale)
		exact = exact && whole >= 1 && math.Abs(s*scale-whole) < 1e-6
		weights[n] = max(int(whole), 1)
	}
	return exact
}
