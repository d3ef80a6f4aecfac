package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
)

// takeObserved takes in what the kernel holds.
func (s *State) takeObserved(a routes.Applied) {
	if a.State.At.IsZero() {
		return // it could not be read
	}
	if !s.Read {
		s.adopt(a.State)
		s.adoptLAN(a.State)
		s.FoundFirewall = !a.State.LacksFirewall()
		s.Read = true
	}
	s.Site = a.State.Site
	s.LAN = s.elsewhere(a.State)
	s.NoMainRule = [families]bool{IPv4: !a.State.MainRule, IPv6: !a.State.MainRule6}
	s.OthersLead = s.othersLead(a.State.Routes)
	s.OthersRules6 = othersRules6(a.State.Rules, Owner(s.Config))
	s.OthersMarks = othersMarks(a.State.Rules, Owner(s.Config))
	s.Conflicts, s.Fights = a.Plan.Conflicts, a.Fights
	after := a.After()
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if !slices.Contains(a.Observed, u.Config.Interface) {
			continue // it has come with a configuration that was not yet in force
		}
		u.takeDevice(a.State)
		for p := range u.Present() {
			u.takeAddresses(p, after.Addresses, a.State.At)
		}
	}
}

// elsewhere returns the addresses that others have put on interfaces that are no uplinks.
func (s *State) elsewhere(have routes.State) []routes.Address {
	owner := Owner(s.Config)
	if len(s.Config.LAN) == 0 {
		return have.Elsewhere
	}
	list := slices.Clone(have.Elsewhere)
	for _, a := range have.Addresses {
		if s.On(a.Interface) == nil && !owner.OwnsAddress(a) {
			list = append(list, a)
		}
	}
	return list
}

// takeDevice takes in what the kernel holds of an uplink's interface, as it was
// read: what we have just set up has no carrier yet.
func (u *Uplink) takeDevice(s routes.State) {
	d := &u.Device
	link, _ := s.Link(u.Config.Interface)
	if link.Index == d.Link.Index && s.At.Before(d.CarrierLostAt) {
		link.Carrier = false
	}
	if d.Read && link.Up && !d.Link.Up {
		d.LinkUpAt = s.At
	}
	if d.LinkLocal = linkLocalOf(s, u.Config.Interface); link.Index == 0 {
		d.LinkLocal = netip.Addr{}
	}
	for f := range u.Paths {
		p := &u.Paths[f]
		if link.Index != d.Link.Index {
			p.EverAssigned, p.Tentative = nil, nil
		}
		if p.Adopted.Carried && p.Health.ProvenIndex == 0 {
			p.Health.ProvenIndex = link.Index // the process before us had seen to that
		}
	}
	d.Read, d.Link = true, link
	if link.Up || slices.Contains(s.SeenUp, link.Name) {
		d.UpIndex = link.Index
	}
	if link.Index != 0 {
		d.MAC = link.MAC
	}
}

// linkLocalOf returns the IPv6 address of an interface on its link, once nobody else has it.
func linkLocalOf(s routes.State, name string) netip.Addr {
	for _, a := range s.Addresses {
		serves := a.Condition != routes.Tentative && a.Condition != routes.Duplicate
		if a.Interface == name && serves && a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast() {
			return a.Prefix.Addr()
		}
	}
	return netip.Addr{}
}

// othersLead reports for each family whether main has a default route of others that leads
// elsewhere than to the uplinks.
func (s *State) othersLead(list []routes.Route) (lead [families]bool) {
	owner := Owner(s.Config)
	elsewhere := func(h routes.NextHop) bool { return s.On(h.Interface) == nil }
	for _, r := range list {
		if f := FamilyOf(r.Dst.Addr()); r.Table == routes.TableMain && r.Dst.Bits() == 0 && r.Type == routes.Unicast &&
			!owner.OwnsRoute(r) && slices.ContainsFunc(r.NextHops, elsewhere) {
			lead[f] = true
		}
	}
	return lead
}

// takeAddresses takes in what addresses a path's interface has. Where others are to set the
// address, one that the system gave itself (169.254/16, fe80::/10) is not it.
func (u *Uplink) takeAddresses(p *Path, list []routes.Address, now time.Time) {
	tentative := p.Tentative
	p.Preferred, p.Tentative, p.Duplicate = nil, nil, nil
	var deprecated []netip.Prefix
	for _, a := range list {
		if a.Interface != u.Config.Interface || FamilyOf(a.Prefix.Addr()) != p.Family ||
			slices.Contains(p.Preferred, a.Prefix) || u.givesItself(a.Prefix.Addr()) {
			continue
		}
		switch a.Condition {
		case routes.Tentative:
			p.Tentative = append(p.Tentative, a.Prefix)
			continue
		case routes.Duplicate:
			p.Duplicate = append(p.Duplicate, a.Prefix)
			continue
		case routes.Serves:
			p.Preferred = append(p.Preferred, a.Prefix)
		case routes.Deprecated:
			deprecated = append(deprecated, a.Prefix)
		}
	}
	p.Assigned = slices.Concat(p.Preferred, deprecated)
	u.noteRefused(p, tentative, now)
}

// noteRefused notes which of the addresses that others were asked about is gone: one that ends by itself the
// kernel takes away where another host has it (addrconf_dad_stop in net/ipv6/addrconf.c), and says nothing.
func (u *Uplink) noteRefused(p *Path, tentative []netip.Prefix, now time.Time) {
	for _, a := range tentative {
		gone := !slices.Contains(p.Assigned, a) && !slices.Contains(p.Tentative, a) && !slices.Contains(p.Duplicate, a)
		if gone && u.Device.Link.Up && slices.Contains(u.Addresses(p), a) {
			p.Refused = Refused{a, now.Add(refusedFor)}
		}
	}
}

// Refused is an address that another host on the link has.
type Refused struct {
	prefix netip.Prefix
	until  time.Time // it is not tried again before
}

// refusedFor is how long an address is left alone that another host has.
const refusedFor = time.Minute

func (r Refused) has(a netip.Prefix, now time.Time) bool { return r.prefix == a && now.Before(r.until) }

// givesItself reports whether an address of a path is one that the system makes up, and nobody is
// meant to have given it.
func (u *Uplink) givesItself(a netip.Addr) bool {
	return a.IsLinkLocalUnicast() && (a.Is6() || u.Config.Address == configs.AddressExternal)
}

// othersMarks returns the bits of marks that rules of others look at before ours are asked.
func othersMarks(rules []routes.Rule, owner routes.Owner) (bits uint32) {
	for _, r := range rules {
		if !r.V6 && !owner.OwnsRule(r) && r.Priority < owner.RulePriority {
			bits |= r.Mask
		}
	}
	return bits
}

// othersRules6 reports whether others lead IPv6 elsewhere by rules after ours: a tunnel, a table of the operator's.
func othersRules6(rules []routes.Rule, owner routes.Owner) bool {
	return slices.ContainsFunc(rules, func(r routes.Rule) bool {
		after := r.Priority > owner.RulePriority+ruleNowhere && r.Priority < ruleMain
		return r.V6 && !owner.OwnsRule(r) && after && r.Table != routes.TableMain && !r.Unreachable
	})
}

// ruleMain is the priority of the kernel's rule of main (fib6_rules_net_init in net/ipv6/fib6_rules.c).
const ruleMain = 32766

// FamilyOf returns the family of an address.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// adopt looks for what a process before us left: its part of the default route,
// its lease's address, the next hop of its table.
func (s *State) adopt(have routes.State) {
	for i := range s.Uplinks {
		for p := range s.Uplinks[i].Present() {
			s.adoptPath(&s.Uplinks[i], p, have)
		}
	}
}

func (s *State) adoptPath(u *Uplink, p *Path, have routes.State) {
	s.adoptRoutes(u, p, have)
	s.adoptAddress(u, p, have)
}

func (s *State) adoptRoutes(u *Uplink, p *Path, have routes.State) {
	owner := Owner(s.Config)
	for _, r := range have.Routes {
		if !owner.OwnsRoute(r) || r.Dst.Bits() != 0 || FamilyOf(r.Dst.Addr()) != p.Family {
			continue
		}
		for _, hop := range r.NextHops {
			switch {
			case hop.Interface != u.Config.Interface:
			case r.Table == u.Config.Table:
				p.Adopted.Gateway, p.Adopted.OnLink = hop.Gateway, hop.OnLink
			case r.Table == s.Config.Routes.Table && r.Metric == MetricIn(p.Family, s.Config.Routes.Metric):
				p.Adopted.Carried = true
			}
		}
	}
}

func (s *State) adoptAddress(u *Uplink, p *Path, have routes.State) {
	owner := Owner(s.Config)
	mode := u.In(p.Family).Address
	if mode != configs.AddressDHCP && mode != configs.AddressAuto {
		return
	}
	// An address that the kernel had made of what a router said, before us, is in use where our rule says so.
	inUse := func(a routes.Address) bool {
		return owner.OwnsAddress(a) || p.Family == IPv6 && slices.ContainsFunc(have.Rules, func(r routes.Rule) bool {
			return owner.OwnsRule(r) && r.Table == u.Config.Table && r.From == hostPrefix(a.Prefix.Addr())
		})
	}
	for _, a := range have.Addresses {
		if a.Interface == u.Config.Interface && FamilyOf(a.Prefix.Addr()) == p.Family &&
			a.Condition == routes.Serves && inUse(a) {
			p.Adopted.Prefix, p.Adopted.Preferred, p.Adopted.Until = a.Prefix, a.Preferred, a.Until
		}
	}
}
