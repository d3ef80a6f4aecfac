package uplink

import (
	"net/netip"
	"slices"

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
		s.Read = true
	}
	s.Site = a.State.Site
	s.LAN, s.NoMainRule = a.State.Elsewhere, !a.State.MainRule
	s.OthersMarks = othersMarks(a.State.Rules, Owner(s.Config))
	s.Conflicts, s.Fights = a.Plan.Conflicts, a.Fights
	after := a.After()
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if !slices.Contains(a.Observed, u.Config.Interface) {
			continue // it has come with a configuration that was not yet in force
		}
		u.takeDevice(a.State)
		for f := range u.Paths {
			u.Paths[f].Assigned = assignedOf(after, u, Family(f))
		}
	}
}

// takeDevice takes in what the kernel holds of an uplink's interface, as it was
// read: what we have just set up has no carrier yet.
func (u *Uplink) takeDevice(s routes.State) {
	d := &u.Device
	link, _ := s.Link(u.Config.Interface)
	if d.Read && link.Up && !d.Link.Up {
		d.LinkUpAt = s.At
	}
	for f := range u.Paths {
		p := &u.Paths[f]
		if link.Index != d.Link.Index {
			p.EverAssigned = nil
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

// assignedOf returns the addresses of an uplink's interface in one family. Where
// others are to set the address, one that the system gave itself (169.254/16) is
// not it.
func assignedOf(s routes.State, u *Uplink, f Family) []netip.Prefix {
	var list []netip.Prefix
	for _, a := range s.Addresses {
		if a.Interface != u.Config.Interface || familyOf(a.Prefix.Addr()) != f || slices.Contains(list, a.Prefix) ||
			u.Config.Address == configs.AddressExternal && a.Prefix.Addr().IsLinkLocalUnicast() {
			continue
		}
		list = append(list, a.Prefix)
	}
	return list
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

// familyOf returns the family of an address; families when no path is of it.
func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return families
}

// adopt looks for what a process before us left: its part of the default route,
// its lease's address, the next hop of its table.
func (s *State) adopt(have routes.State) {
	for i := range s.Uplinks {
		for f := range s.Uplinks[i].Paths {
			s.adoptPath(&s.Uplinks[i], &s.Uplinks[i].Paths[f], have)
		}
	}
}

func (s *State) adoptPath(u *Uplink, p *Path, have routes.State) {
	owner := Owner(s.Config)
	for _, r := range have.Routes {
		if !owner.OwnsRoute(r) || r.Dst.Bits() != 0 || familyOf(r.Dst.Addr()) != p.Family {
			continue
		}
		for _, hop := range r.NextHops {
			switch {
			case hop.Interface != u.Config.Interface:
			case r.Table == u.Config.Table:
				p.Adopted.Gateway, p.Adopted.OnLink = hop.Gateway, hop.OnLink
			case r.Table == s.Config.Routes.Table && r.Metric == s.Config.Routes.Metric:
				p.Adopted.Carried = true
			}
		}
	}
	for _, a := range have.Addresses {
		if owner.OwnsAddress(a) && a.Interface == u.Config.Interface && u.Config.Address == configs.AddressDHCP &&
			familyOf(a.Prefix.Addr()) == p.Family {
			p.Adopted.Prefix, p.Adopted.Until = a.Prefix, a.Until
		}
	}
}
