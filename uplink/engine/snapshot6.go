package engine

import (
	"net/netip"

	"uplinkd/dhcp/dhcp6"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// ipv6Status returns how an uplink is in IPv6.
func (e *Engine) ipv6Status(u *uplink.Uplink) *api.IPv6 {
	p := &u.Paths[uplink.IPv6]
	c := u.In(p.Family)
	hop, _ := u.NextHop(p)
	s := &api.IPv6{
		State: p.OperState, Reason: reasonOf(u, p), Since: p.Since, Active: p.Carries, Weight: c.Weight, Tier: c.Tier,
		Addresses: append([]netip.Prefix{}, u.Addresses(p)...), Gateway: hop.Gateway, Prefixes: []netip.Prefix{},
		Router: p.Advert.Reason, Probes: []api.Probe{}, EffectiveWeight: p.Weight,
		Hold: api.Hold{Falls: p.Health.Hold.Falls, Until: api.When{Time: p.Health.Hold.Until}},
	}
	for _, d := range u.Delegated() {
		s.Prefixes = append(s.Prefixes, d.Prefix)
	}
	if p.Report.State != "" && p.Report.State != dhcp6.Off.String() || p.Report.Lease != nil {
		s.DHCP = dhcpStatus(p)
	}
	if w := e.worker(u, p); w != nil {
		s.Probes = probeStatus(u, p, w.prober.Status())
		s.ProbeInterval = api.Millis(w.prober.Interval())
		s.ProbeStretched, s.ProbeBudget = w.prober.Interval() > c.Probe.Interval, c.Probe.Budget
	}
	return s
}

// lanStatus returns what hosts behind this one get of IPv6.
func lanStatus(s *uplink.State) []api.LAN {
	list := make([]api.LAN, len(s.LANNets))
	for i, n := range s.LANNets {
		list[i] = api.LAN{
			Interface: n.Interface, Prefix: n.Prefix, Of: n.Of, Preferred: !n.Former, Until: api.When{Time: n.Until},
		}
	}
	return list
}
