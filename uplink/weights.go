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
	noticeable  = 0.1 // a smaller change of any share is not worth a replace at once

	// What stays that far off for that many intervals is: without it shares stood still a tenth beside what is
	// right for ever, on links that had just become alike.
	slight      = 0.02
	slightAfter = 5
)

// weightMost is the largest weight of a nexthop.
const weightMost = 256

// slowSteps is in how many steps the weight of a slow start rises.
const slowSteps = 4

// weight returns the weight the operator or the configuration gives.
func (u *Uplink) weight(f Family) int {
	if a := u.AdminIn(f); a.Weight > 0 {
		return a.Weight
	}
	return u.In(f).Weight
}

// share returns the path's part in its tier, before it is made a whole number.
func (u *Uplink) share(p *Path, now time.Time) float64 {
	share := float64(u.weight(p.Family)) * p.Factor
	if p.Advice.Given {
		share *= float64(max(p.Advice.Percent, 1)) / 100
	}
	since := now.Sub(p.Health.RecoveredAt)
	if p.Health.RecoveredAt.IsZero() || since >= u.Config.SlowStart {
		return share
	}
	return share * float64(1+int(slowSteps*since/u.Config.SlowStart)) / slowSteps
}

// balance brings the weights of the paths that carry up to date. The factors of a
// balance follow what was measured, once each balance_interval; slow starts and
// the operator's wish count at once.
func (s *State) balance(now time.Time) {
	due := s.follows() && now.Sub(s.BalancedAt) >= s.Config.Routes.BalanceInterval
	if due {
		s.BalancedAt = now
	}
	for f := range families {
		active := s.carriers(f)
		switch {
		case due:
			s.follow(f, active)
		case !s.follows():
			for i := range s.Uplinks {
				s.Uplinks[i].Paths[f].Factor = 1
			}
		}
		shares := make([]float64, len(active))
		for n, i := range active {
			shares[n] = s.Uplinks[i].share(&s.Uplinks[i].Paths[f], now)
		}
		weights := toIntegers(shares)
		if !s.worthChanging(f, active, weights, now) {
			continue
		}
		for n, i := range active {
			if p := &s.Uplinks[i].Paths[f]; p.Weight != weights[n] {
				p.Weight, s.WeighedAt[f] = weights[n], now
			}
		}
	}
}

// follows reports whether weights follow what is measured.
func (s *State) follows() bool {
	b := s.Config.Routes.Balance
	return b != configs.BalanceStatic && b != configs.BalanceOverflow
}

// follow moves each factor towards what the load or the times ask for.
func (s *State) follow(f Family, active []int) {
	loads := make([]float64, len(active))
	sum, known := 0.0, 0
	for n, i := range active {
		loads[n] = s.Uplinks[i].load(s.Config.Routes.Balance, f)
		if loads[n] >= 0 {
			sum += loads[n]
			known++
		}
	}
	mean := sum / float64(max(known, 1))
	for n, i := range active {
		p := &s.Uplinks[i].Paths[f]
		wanted := 1.0
		if mean > 0 && loads[n] >= 0 {
			wanted = min(max(mean/max(loads[n], mean/factorMost), factorLeast), factorMost)
		}
		p.Factor += smoothing * (wanted - p.Factor)
	}
}

// load returns what speaks against giving an uplink more, in a unit that is the
// same for all; below zero when that is not known.
func (u *Uplink) load(b configs.Balance, f Family) float64 {
	sample := &u.Load.Sample
	switch b {
	case configs.BalanceResponseTime:
		if sample.RTT == 0 {
			return -1
		}
		return sample.RTT.Seconds()
	case configs.BalanceLeastTraffic:
		if !sample.RxBPS.Known || !sample.TxBPS.Known {
			return -1
		}
		busy := float64(max(sample.RxBPS.N, sample.TxBPS.N))
		if u.Config.Bandwidth == 0 {
			return busy / float64(u.weight(f))
		}
		// What is free is what counts: half free is twice as good as a quarter free.
		free := 1 - busy/float64(u.Config.Bandwidth)
		return 1 / max(free, 0.05)
	case configs.BalanceLeastConnections:
		if !sample.Connections.Known {
			return -1
		}
		return float64(sample.Connections.N) / float64(u.weight(f))
	case configs.BalanceStatic, configs.BalanceOverflow:
	}
	return 1
}

// worthChanging reports whether new weights are worth a change of the route. Under a
// balance small changes are not.
func (s *State) worthChanging(f Family, active []int, weights []int, now time.Time) bool {
	if !s.follows() {
		return true
	}
	least := noticeable
	if now.Sub(s.WeighedAt[f]) >= slightAfter*s.Config.Routes.BalanceInterval {
		least = slight
	}
	before, after := 0.0, 0.0
	for n, i := range active {
		before += float64(s.Uplinks[i].Paths[f].Weight)
		after += float64(weights[n])
	}
	for n, i := range active {
		u := &s.Uplinks[i]
		p := &u.Paths[f]
		recovered := p.Health.RecoveredAt
		rising := !recovered.IsZero() && now.Sub(recovered) <= u.Config.SlowStart+tick
		if p.Weight == 0 || before == 0 || rising || u.Admin.Since.Equal(now) {
			return true
		}
		old, fresh := float64(p.Weight)/before, float64(weights[n])/after
		if math.Abs(fresh-old) > least*old {
			return true
		}
	}
	return false
}

// toIntegers makes weights of shares: the smallest whole numbers in that proportion,
// or as near as numbers up to 256 come. Shares that are weights already stay as
// they are.
func toIntegers(shares []float64) []int {
	weights := make([]int, len(shares))
	most := 0.0
	for _, s := range shares {
		most = max(most, s)
	}
	for scale := 1.0; scale*most <= weightMost; scale++ {
		if scaleTo(shares, scale, weights) {
			return weights
		}
	}
	scaleTo(shares, weightMost/most, weights)
	return weights
}

// scaleTo makes weights of shares times scale, and reports whether these were
// whole numbers to begin with.
func scaleTo(shares []float64, scale float64, weights []int) bool {
	exact := true
	for n, s := range shares {
		whole := math.Round(s * scale)
		exact = exact && whole >= 1 && math.Abs(s*scale-whole) < 1e-6
		weights[n] = max(int(whole), 1)
	}
	return exact
}
