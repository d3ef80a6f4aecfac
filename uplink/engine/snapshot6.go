package engine

import (
	"net/netip"

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
	if w := e.worker(u, p); w != nil {
		s.Probes = probeStatus(u, p, w.prober.Status())
		s.ProbeInterval = api.Millis(w.prober.Interval())
		s.ProbeStretched = w.prober.Interval() > c.Probe.Interval
	}
	return s
}
