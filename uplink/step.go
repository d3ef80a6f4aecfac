package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
	"uplinkd/routes"
)

// An Event is something that happened.
type Event interface{ isEvent() }

// The events there are.
type (
	// Observed is what the reconciler read, and made of it.
	Observed struct{ routes.Applied }
	// Judged is a change of the probes' verdict on an uplink.
	Judged struct {
		Interface string
		Change    probe.Change
	}
	// Leased is a change of an uplink's lease.
	Leased struct {
		Interface string
		Change    dhcp.Change
	}
	// Ordered is the operator's word on an uplink.
	Ordered struct {
		Uplink  string
		Disable bool
	}
	// Reloaded is a new configuration.
	Reloaded struct{ Config configs.Config }
	// Ticked is that time has passed.
	Ticked struct{}
)

func (Observed) isEvent() {}
func (Judged) isEvent()   {}
func (Leased) isEvent()   {}
func (Ordered) isEvent()  {}
func (Reloaded) isEvent() {}
func (Ticked) isEvent()   {}

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
			u.lease(e.Change)
		}
	case Ordered:
		for i := range s.Uplinks {
			if s.Uplinks[i].Config.Name == e.Uplink {
				s.Uplinks[i].Disabled = e.Disable
			}
		}
	case Reloaded:
		s.reload(e.Config, now)
	case Ticked:
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
		s.respec(u)
		u.decide(now, now.Sub(s.Started) >= startLimit)
	}
	s.Settled = s.Settled || now.Sub(s.Started) >= startLimit ||
		!slices.ContainsFunc(s.Uplinks, func(u Uplink) bool { return !u.Judged })
}

// observe takes in what the kernel holds.
func (s *State) observe(a routes.Applied) {
	if a.State.At.IsZero() {
		return // it could not be read
	}
	if !s.Read {
		s.adopt(a.State)
		s.Read = true
	}
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if !slices.Contains(a.Observed, u.Config.Interface) {
			continue // it has come with a configuration that was not yet in force
		}
		u.observe(a)
	}
}

// observe takes in what the kernel holds of one uplink.
func (u *Uplink) observe(a routes.Applied) {
	link, _ := a.State.Link(u.Config.Interface)
	if u.Read && link.Up && !u.Link.Up {
		u.Rose = a.State.At
	}
	if link.Index != u.Link.Index {
		u.Seen = nil
	}
	u.Read, u.Link = true, link
	if link.Up || slices.Contains(a.State.SeenUp, link.Name) {
		u.Raised = link.Index
	}
	if link.Index != 0 {
		u.MAC = link.MAC
	}
	if u.Adopted.Carried && u.Proved == 0 {
		u.Proved = link.Index // the process before us had seen to that
	}
	u.Present = present(a, u)
	for _, address := range u.Addresses() {
		if slices.Contains(u.Present, address.Prefix) && !slices.Contains(u.Seen, address.Prefix) {
			u.Seen = append(slices.Clone(u.Seen), address.Prefix)
		}
	}
}

// present returns the addresses of an uplink's interface, as read and with what
// the plan has put there since. Where others are to set the address, one that
// the system gave itself (169.254/16) is not it.
func present(a routes.Applied, u *Uplink) []netip.Prefix {
	var list []netip.Prefix
	add := func(have routes.Address) {
		own := u.Config.Address == configs.AddressExternal && have.Prefix.Addr().IsLinkLocalUnicast()
		if have.Interface == u.Config.Interface && !own && !slices.Contains(list, have.Prefix) {
			list = append(list, have.Prefix)
		}
	}
	for _, have := range a.State.Addresses {
		add(have)
	}
	if a.Err == nil {
		for _, op := range a.Plan.Ops {
			if put, ok := op.(routes.PutAddress); ok {
				add(put.Address)
			}
		}
	}
	return list
}

// adopt looks for what a process before us left: its part of the default route,
// its lease's address, the next hop of its table.
func (s *State) adopt(have routes.State) {
	owner := s.owner()
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		for _, r := range have.Routes {
			if !owner.OwnsRoute(r) || r.Dst.Bits() != 0 {
				continue
			}
			for _, hop := range r.NextHops {
				switch {
				case hop.Interface != u.Config.Interface:
				case r.Table == u.Config.Table:
					u.Adopted.Gateway, u.Adopted.OnLink = hop.Gateway, hop.OnLink
				case r.Table == s.Config.Routes.Table && r.Metric == s.Config.Routes.Metric:
					u.Adopted.Carried = true
				}
			}
		}
		for _, a := range have.Addresses {
			if owner.OwnsAddress(a) && a.Interface == u.Config.Interface && u.Config.Address == configs.AddressDHCP {
				u.Adopted.Prefix, u.Adopted.Until = a.Prefix, a.Until
			}
		}
	}
}

func (u *Uplink) lease(c dhcp.Change) {
	had := u.DHCP.Lease
	u.DHCP = c
	if c.Lease == nil && had == nil {
		return
	}
	if !c.Lease.Same(had) {
		u.Seen = nil
	}
	// From the first lease on what was adopted has been confirmed or replaced.
	u.Adopted.Prefix, u.Adopted.Gateway = netip.Prefix{}, netip.Addr{}
}

// expireAdopted forgets an adopted address when its time in the kernel is up.
func (u *Uplink) expireAdopted(now time.Time) {
	if !u.Adopted.Until.IsZero() && !now.Before(u.Adopted.Until) {
		u.Adopted.Prefix, u.Adopted.Until = netip.Prefix{}, time.Time{}
	}
}

// respec brings what is to be probed up to date. Another interface, gateway or
// target begins another series: nothing that was proved before counts for it.
// Another address on the same link does not; until that is in place the probes
// go on from the old one.
func (s *State) respec(u *Uplink) {
	spec := probeSpec(u)
	if spec == nil {
		u.Probe, u.Series, u.subject = nil, 0, subject{}
		return
	}
	about := subject{index: spec.Index, targets: fmt.Sprint(spec.Targets)}
	if u.Series == 0 || about != u.subject {
		s.series++
		u.Series, u.subject = s.series, about
	}
	spec.Series = u.Series
	switch {
	case u.seen():
		u.Probe = spec
	case u.Probe != nil && u.Probe.Series != u.Series:
		u.Probe = nil
	}
}

// probeSpec returns what is to be probed, nil when nothing can be.
func probeSpec(u *Uplink) *probe.Spec {
	hop, ok := u.NextHop()
	addresses := u.Addresses()
	if u.Disabled || !u.Link.Up || !u.Link.Carrier || len(addresses) == 0 || !ok {
		return nil
	}
	c := u.Config.Probe
	spec := &probe.Spec{
		Interface: u.Config.Interface, Index: u.Link.Index, Source: addresses[0].Prefix.Addr(),
		Mark: u.Config.FwMark, Quorum: c.Quorum,
		Pace: probe.Pace{
			Interval: c.Interval, Timeout: c.Timeout, Confirm: c.Confirm, DownAfter: c.DownAfter, UpAfter: c.UpAfter,
		},
	}
	for _, t := range c.Targets {
		if t.Gateway {
			t.IP = hop.Gateway
		}
		spec.Targets = append(spec.Targets, t.IP)
	}
	return spec
}

// leaseSpec returns where a lease is to be kept, nil for nowhere. While the
// interface is away the lease runs on.
func leaseSpec(u *Uplink) *dhcp.Spec {
	if u.Config.Address != configs.AddressDHCP || u.Disabled || u.MAC == "" {
		return nil
	}
	return &dhcp.Spec{
		Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Link.Index, MAC: u.MAC,
		Carrier: u.Link.Up && u.Link.Carrier, Mark: u.Config.FwMark, Router: u.Config.Gateway == configs.GatewayLease,
	}
}

// decide sets the phase from what is known.
func (u *Uplink) decide(now time.Time, startOver bool) {
	phase, reason := u.judge(startOver, now)
	if phase != u.Phase {
		u.Phase, u.Since = phase, now
	}
	u.Reason = reason
	if phase != Starting {
		u.Judged = true
		u.Adopted.Carried = false
	}
	if phase == Up {
		u.Proved = u.Link.Index
	}
}

func (u *Uplink) judge(startOver bool, now time.Time) (Phase, string) {
	if u.Disabled {
		return Disabled, "disabled by the operator"
	}
	if o := u.obstacle(); o.why != "" {
		// A link that has just come up may take a few seconds to its carrier.
		rising := !u.Link.Carrier && now.Sub(u.Rose) < carrierTime
		if (o.passing || rising) && !u.Judged && !startOver {
			return Starting, o.why
		}
		return Down, o.why
	}
	switch u.Verdict() {
	case probe.Up:
		return Up, "probes are answered"
	case probe.Down:
		return Down, missText(u)
	case probe.Unknown:
	}
	// No verdict on this series yet. What was down stays so until it has proved
	// itself. What was up, and has got another gateway or other targets on the
	// same link, is taken at its word until they have been judged: there is no
	// evidence against it, and less of it for anything else.
	switch {
	case u.Phase == Up && u.Proved == u.Link.Index:
		return Up, "was up; its new gateway or targets are not judged yet"
	case u.Judged && u.Phase == Down:
		return Down, "not proved yet"
	}
	return Starting, "not proved yet"
}

func missText(u *Uplink) string {
	what := "the gateway does not answer"
	if !slices.Contains(u.Config.Probe.Targets, configs.Target{Gateway: true}) || len(u.Config.Probe.Targets) > 1 {
		what = "too few probe targets answer"
	}
	if u.Evidence.Err != "" {
		return fmt.Sprintf("%s (%s)", what, u.Evidence.Err)
	}
	return what
}

func (s *State) owner() routes.Owner { return Owner(s.Config) }

// Owner returns the tag of what is ours under a configuration.
func Owner(c configs.Config) routes.Owner {
	return routes.Owner{Protocol: c.Routes.Protocol, RulePriority: c.Routes.RulePriority}
}

// reload takes a new configuration over. What is known of an uplink stays while
// its interface does, whatever its name; the operator's word stays with the
// name. The rest follows from comparing.
func (s *State) reload(c configs.Config, now time.Time) {
	old := *s
	s.Config, s.Uplinks = c, nil
	for _, config := range c.Uplinks {
		u := newUplink(config, now)
		if known := old.on(config.Interface); known != nil {
			u = *known
			u.Config = config
			if known.Config.Address != config.Address {
				u.DHCP, u.Adopted, u.Seen = dhcp.Change{}, Adopted{}, nil
			}
		}
		u.Disabled = false
		for i := range old.Uplinks {
			if o := &old.Uplinks[i]; o.Config.Name == config.Name {
				u.Disabled = o.Disabled
			}
		}
		s.Uplinks = append(s.Uplinks, u)
	}
}
