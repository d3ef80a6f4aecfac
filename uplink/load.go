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
	RxBPS       api.Figure[uint64] // bits a second
	TxBPS       api.Figure[uint64] // bits a second
	Connections api.Figure[int]    // that have its address, or were translated to it
	Stalled     bool               // connections over it get no answer, as far as is known
}

// takeSamples takes in what was measured, and caps an uplink that has all the
// connections it may have, until a tenth of them have ended. While their number is
// not known it stays as it was.
func (s *State) takeSamples(samples map[string]Sample) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		l := &u.Load
		l.Sample = samples[u.Config.Interface]
		l.Stalled = l.Sample.Stalled && u.In(u.First().Family).Probe.Passive
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

// A Meter says what is to be measured.
type Meter struct {
	Addresses   []Metered
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
	return m.Connections == other.Connections && m.Stalled == other.Stalled && m.Table == other.Table &&
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
	if len(s.Config.Policies) > 0 {
		m.Table = Owner(s.Config).Table()
	}
	return m
}
