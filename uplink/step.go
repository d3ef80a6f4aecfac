package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/routes"
	"uplinkd/uplink/status"
)

// step returns the state after e. It is pure, and s is not changed.
func step(s State, e Event, now time.Time) State {
	s.Uplinks = slices.Clone(s.Uplinks)
	s.take(e, now)
	if s.Read {
		s.decide(now)
	}
	return s
}

// take notes what happened.
func (s *State) take(e Event, now time.Time) {
	switch e := e.(type) {
	case Observed:
		s.observe(e.Applied)
	case Judged:
		// A verdict that was under way when the series changed is void, which
		// Verdict sees to.
		if u := s.on(e.Interface); u != nil {
			u.Evidence = e.Change
		}
	case Leased:
		if u := s.on(e.Interface); u != nil {
			u.leased(e.Change)
		}
	case Ordered, Recalled, Renewed:
		s.obey(e, now)
	case Sampled:
		s.sample(e.Samples)
	case Forsaken: // is for the probers, which the engine tells
	case Resumed:
		s.Slept += e.Slept
	case Reloaded:
		s.reload(e.Config, now)
	}
}

// obey notes what the operator wants.
func (s *State) obey(e Event, now time.Time) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		switch e := e.(type) {
		case Ordered:
			if u.Config.Name == e.Uplink {
				u.Order = order(u.Order, e, now)
			}
			if u.Config.Name == e.Uplink && e.Verb == Enable {
				u.Hold = Hold{} // a person knows better
			}
		case Recalled:
			u.Order = e.Orders[u.Config.Name]
		case Renewed:
			if u.Config.Name == e.Uplink {
				u.Asked++
			}
		}
	}
}

// decide draws the conclusions, for each uplink and for all.
func (s *State) decide(now time.Time) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if !u.Read {
			continue
		}
		u.expireAdopted(now)
		u.expireOrder(now)
		u.Clash = s.clash(i)
		s.respec(i, now)
		u.conclude(s.poll(i))
		u.decide(now, now.Sub(s.Started) >= startLimit)
		u.Doubts = u.doubts(now)
	}
	s.Settled = s.Settled || now.Sub(s.Started) >= startLimit ||
		!slices.ContainsFunc(s.Uplinks, func(u Uplink) bool { return !u.Judged })
	s.balance(now)
}

// leased takes in what is new about the lease.
func (u *Uplink) leased(c dhcp.Change) {
	had := u.DHCP.Lease
	u.DHCP = c
	if c.Lease == nil && had == nil {
		return
	}
	if !c.Lease.Same(had) {
		u.Seen = nil
	}
	if c.Lease != had {
		u.Asked = 0 // there is an answer; the next wish begins anew
	}
	// Once a server has spoken, what was adopted has been confirmed or replaced.
	if c.Lease != nil && !c.Confirmed {
		return
	}
	u.Adopted.Prefix, u.Adopted.Gateway = netip.Prefix{}, netip.Addr{}
}

// reload takes a new configuration over. What is known of an uplink stays while
// its interface does, whatever its name; the operator's word stays with the
// name. The rest follows from comparing.
func (s *State) reload(c configs.Config, now time.Time) {
	old := *s
	s.Config, s.Uplinks, s.sets = c, nil, policySets(c)
	for _, config := range c.Uplinks {
		u := newUplink(config, now)
		if known := old.on(config.Interface); known != nil {
			u = *known
			u.Config = config
			if known.Config.Address != config.Address {
				u.DHCP, u.Adopted, u.Seen = dhcp.Change{}, Adopted{}, nil
			}
		}
		u.Order = status.Order{}
		for i := range old.Uplinks {
			if o := &old.Uplinks[i]; o.Config.Name == config.Name {
				u.Order = o.Order
			}
		}
		s.Uplinks = append(s.Uplinks, u)
	}
}

func (s *State) owner() routes.Owner { return Owner(s.Config) }

// Owner returns the tag of what is ours under a configuration.
func Owner(c configs.Config) routes.Owner {
	return routes.Owner{Protocol: c.Routes.Protocol, RulePriority: c.Routes.RulePriority}
}
