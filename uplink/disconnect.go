package uplink

import (
	"net/netip"
	"slices"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// A Disconnect says whose connections are to end: those of an uplink that new ones
// no longer take.
type Disconnect struct {
	Uplink     string
	Mark, Mask uint32         // of its flows; no mask: flows are not looked at
	Addresses  []netip.Prefix // of its connections; none: connections are not looked at
}

// Disconnected is what came of a Disconnect.
type Disconnected struct{ Flows, Sockets int }

// disconnect returns what is to end of the uplink on an interface, which may be there
// no longer; nil when nothing is. Addresses are those it had before, for it may have
// lost them. One that another uplink has too tells nothing.
func (s *State) disconnect(before *State, name string) *Disconnect {
	old := before.On(name)
	if old == nil {
		return nil
	}
	d := &Disconnect{Uplink: old.Config.Name}
	if s.Config.OnDown.Conntrack && before.Config.Marks {
		d.Mark, d.Mask = old.Config.FwMark, before.Config.Routes.FwMarkMask
	}
	if s.Config.OnDown.Sockets {
		for f := range old.Paths {
			for _, a := range old.Addresses(&old.Paths[f]) {
				if !s.othersHave(name, a.Addr()) {
					d.Addresses = append(d.Addresses, a)
				}
			}
		}
	}
	if d.Mask == 0 && len(d.Addresses) == 0 {
		return nil
	}
	return d
}

// othersHave reports whether another uplink than the one on an interface has an
// address.
func (s *State) othersHave(name string, address netip.Addr) bool {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if u.Config.Interface == name {
			continue
		}
		for f := range u.Paths {
			same := func(a netip.Prefix) bool { return a.Addr() == address }
			if slices.ContainsFunc(u.Addresses(&u.Paths[f]), same) {
				return true
			}
		}
	}
	return false
}

// failbackDisconnects returns the disconnects of the uplinks that a better tier has
// taken the place of, where their connections are to move.
func failbackDisconnects(before, after *State) []Disconnect {
	if after.Config.OnReturn != configs.OnReturnMove || !before.Settled {
		return nil
	}
	active := after.carriers(IPv4)
	if len(active) == 0 {
		return nil
	}
	best := after.Uplinks[active[0]].Config.Tier
	var list []Disconnect
	for _, i := range before.carriers(IPv4) {
		u := after.at(i, before.Uplinks[i].Config.Interface)
		if u == nil || u.OperState() != api.Up || u.Config.Tier <= best {
			continue
		}
		if d := after.disconnect(before, u.Config.Interface); d != nil {
			list = append(list, *d)
		}
	}
	return list
}

// removedDisconnects returns the disconnects of the uplinks that a new configuration
// has no more, or whose mark it has changed: their connections would be taken for
// another's.
func removedDisconnects(before, after *State) []Disconnect {
	var list []Disconnect
	for i := range before.Uplinks {
		old := &before.Uplinks[i]
		u := after.at(i, old.Config.Interface)
		if u != nil && u.Config.FwMark == old.Config.FwMark {
			continue
		}
		if d := after.disconnect(before, old.Config.Interface); d != nil {
			if u != nil {
				d.Addresses = nil // what has its address stays where it is
			}
			list = append(list, *d)
		}
	}
	return list
}

// AnyUp reports whether an uplink but that of a name is up.
func (s *State) AnyUp(but string) bool {
	return slices.ContainsFunc(s.Uplinks, func(u Uplink) bool {
		return u.OperState() == api.Up && u.Config.Name != but
	})
}
