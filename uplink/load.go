package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// A Sample is what was measured of an uplink.
type Sample struct {
	RTT         time.Duration      // of its probes, smoothed; 0: not known
	Quality     [families]Quality  // of its paths
	Octets      Octets             // by its interface, as the counters of its quota have it
	RxBPS       api.Figure[uint64] // bits a second
	TxBPS       api.Figure[uint64] // bits a second
	Connections api.Figure[int]    // that have its address, or were translated to it
	Stalled     bool               // connections over it get no answer, as far as is known
}

// takeSamples takes in what was measured, and caps an uplink that has all the
// connections it may have, until a tenth of them have ended. While their number is
// not known it stays as it was.
func (s *State) takeSamples(samples map[string]Sample, now time.Time) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		l := &u.Load
		l.Sample = samples[u.Config.Interface]
		l.Stalled = l.Sample.Stalled && u.In(u.First().Family).Probe.Passive
		l.noteBandwidth(u.Config.Bandwidth, now)
		if u.Config.Quota.Bytes > 0 {
			u.Usage.count(&u.Config.Quota, l.Sample.Octets)
		}
		for f := range families {
			u.Paths[f].Quality = u.Paths[f].Quality.smooth(l.Sample.Quality[f])
		}
		most := u.Config.MaxConnections
		switch n := l.Sample.Connections; {
		case most == 0:
			l.Capped = false
		case !n.Known:
		case n.N >= most:
			l.Capped = true
		case n.N*10 <= most*9:
			l.Capped = false
		}
	}
}

// How much of its bandwidth an uplink must use, and for how long, that new connections overflow to the next; and
// how little, that they come back.
const (
	fullShare  = 0.9
	fullAfter  = 2 * time.Second
	emptyShare = 0.7
)

// noteBandwidth notes whether the bandwidth of an uplink is used up. While its traffic is not known it stays so.
func (l *Load) noteBandwidth(bandwidth uint64, now time.Time) {
	rx, tx := l.Sample.RxBPS, l.Sample.TxBPS
	if bandwidth == 0 {
		l.Full, l.BusySince = false, time.Time{}
		return
	}
	if !rx.Known || !tx.Known {
		return
	}
	switch used := float64(max(rx.N, tx.N)) / float64(bandwidth); {
	case used < fullShare:
		l.BusySince = time.Time{}
		l.Full = l.Full && used >= emptyShare
	case l.BusySince.IsZero():
		l.BusySince = now
	case now.Sub(l.BusySince) >= fullAfter:
		l.Full = true
	}
}

// A Meter says what is to be measured.
type Meter struct {
	Addresses   []Metered
	Quality     bool   // somebody goes by what probes measure
	Connections bool   // somebody goes by their number: often, and translated flows too
	Stalled     bool   // connections without an answer are to be looked for
	Table       string // our nft table, if its counters are of use; "": they are not
}

// Metered is an address and whose it is.
type Metered struct {
	Address   netip.Addr
	Interface string
}

// Equal reports whether two Meters ask for the same.
func (m *Meter) Equal(other *Meter) bool {
	return m.Connections == other.Connections && m.Quality == other.Quality && m.Stalled == other.Stalled &&
		m.Table == other.Table &&
		slices.Equal(m.Addresses, other.Addresses)
}

// tick is how often the engine lets time pass, and the meter measures.
const tick = time.Second

// meter returns what is to be measured. What nobody needs is not asked for: a sample
// a tick cannot hurry what is probed as often anyhow.
func (s *State) meter() Meter {
	m := Meter{Connections: s.Config.Routes.Balance == configs.BalanceLeastConnections}
	m.Addresses = make([]Metered, 0, len(s.Uplinks))
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		m.Connections = m.Connections || u.Config.MaxConnections > 0 || u.Admin.State == api.AdminDrained
		for p := range u.Present() {
			m.Stalled = m.Stalled || u.In(p.Family).Probe.Passive && u.In(p.Family).Probe.Interval >= tick
			for _, a := range u.Addresses(p) {
				m.Addresses = append(m.Addresses, Metered{a.Addr(), u.Config.Interface})
			}
		}
	}
	m.Quality = slices.ContainsFunc(s.Config.Policies, func(p configs.Policy) bool {
		return p.SLA.Asks() || p.Prefer != configs.PreferOrder
	})
	quota := func(u *Uplink) bool { return u.Config.Quota.Bytes > 0 }
	if len(s.Config.Policies) > 0 || s.any(quota) {
		m.Table = Owner(s.Config).Table()
	}
	return m
}
