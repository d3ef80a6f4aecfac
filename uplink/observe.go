package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
)

// observe takes in what the kernel holds.
func (s *State) observe(a routes.Applied) {
	if a.State.At.IsZero() {
		return // it could not be read
	}
	if !s.Read {
		s.adopt(a.State)
		s.Read = true
	}
	s.LAN = a.State.Elsewhere
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

// expireAdopted forgets an adopted address when its time in the kernel is up.
func (u *Uplink) expireAdopted(now time.Time) {
	if !u.Adopted.Until.IsZero() && !now.Before(u.Adopted.Until) {
		u.Adopted.Prefix, u.Adopted.Until = netip.Prefix{}, time.Time{}
	}
}
