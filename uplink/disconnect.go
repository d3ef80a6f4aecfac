package uplink

import (
	"net/netip"
	"reflect"
	"slices"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// A Disconnect says which connections are to end: those of an uplink that new ones
// no longer take, or those that began while nothing translated them.
type Disconnect struct {
	Uplink     string         // "": of several
	Family     Family         // of its flows
	Mark, Mask uint32         // of its flows; no mask: flows are not looked at
	Addresses  []netip.Prefix // of its connections; none: connections are not looked at

	Moves bool // they are to begin anew by a better tier, not for this one's sake

	// Untranslated are interfaces by which forwarded flows leave with an address that no
	// answer comes back to.
	Untranslated []string
}

// Disconnected is what came of a Disconnect.
type Disconnected struct{ Flows, Sockets int }

// disconnect returns what is to end in a family of the uplink on an interface, which may be there
// no longer; nil when nothing is. Addresses are those it had before, for it may have
// lost them. One that another uplink has too tells nothing.
func (s *State) disconnect(before *State, name string, f Family) *Disconnect {
	old := before.On(name)
	if old == nil || !old.Has(f) {
		return nil
	}
	d := &Disconnect{Uplink: old.Config.Name, Family: f}
	if s.Config.OnDown.Conntrack && before.Config.Marks {
		d.Mark, d.Mask = old.Config.FwMark, before.Config.Routes.FwMarkMask
	}
	if s.Config.OnDown.Sockets {
		for _, a := range old.Addresses(&old.Paths[f]) {
			if !s.othersHave(name, a.Addr()) {
				d.Addresses = append(d.Addresses, a)
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
		for p := range u.Present() {
			same := func(a netip.Prefix) bool { return a.Addr() == address }
			if slices.ContainsFunc(u.Addresses(p), same) {
				return true
			}
		}
	}
	return false
}

// Untranslated returns what is to end when our nft table has been put where there was
// none: connection tracking keeps to what it has decided about a flow at its first
// packet. Of each family whose addresses an uplink translates.
func (s *State) Untranslated() []Disconnect {
	var list []Disconnect
	for f := range families {
		d := Disconnect{Family: f}
		for i := range s.Uplinks {
			if u := &s.Uplinks[i]; u.Has(f) && u.translates(f, s.Config.LAN) {
				d.Untranslated = append(d.Untranslated, u.Config.Interface)
			}
		}
		if d.Untranslated != nil {
			list = append(list, d)
		}
	}
	return list
}

// translates reports whether what is forwarded by the uplink may get another address.
func (u *Uplink) translates(f Family, lan []configs.LAN) bool {
	if f == IPv6 {
		return len(lan) > 0 && u.Config.IPv6.Translate
	}
	return u.Config.Masquerade
}

// failbackDisconnects returns the disconnects of the uplinks that a better tier has
// taken the place of, where their connections are to move.
func failbackDisconnects(before, after *State) []Disconnect {
	if after.Config.OnReturn != configs.OnReturnMove || !before.Settled {
		return nil
	}
	var list []Disconnect
	for f := range families {
		active := after.carriers(f)
		if len(active) == 0 {
			continue
		}
		best := after.Uplinks[active[0]].tier(f)
		for _, i := range before.carriers(f) {
			u := after.at(i, before.Uplinks[i].Config.Interface)
			if u == nil || u.Paths[f].OperState != api.Up || u.tier(f) <= best {
				continue
			}
			if d := after.disconnect(before, u.Config.Interface, f); d != nil {
				d.Moves = true
				list = append(list, *d)
			}
		}
	}
	return list
}

// configDisconnects returns the disconnects of what a new configuration, a provider, or a better tier
// that is back, has taken away or over. Those that a configuration on trial holds come when it is confirmed.
func configDisconnects(before, after *State) []Disconnect {
	list := takenDisconnects(before, after)
	switch {
	case after.OnTrial && !before.OnTrial:
		list = slices.DeleteFunc(list, func(d Disconnect) bool { return after.holds(before, &d) })
	case before.OnTrial && !after.OnTrial: // where it has gone back, nothing is held any more
		list = slices.Concat(after.held, after.downOfTrial(before), list)
	}
	return list
}

func takenDisconnects(before, after *State) []Disconnect {
	return slices.Concat(
		failbackDisconnects(before, after), removedDisconnects(before, after), addressDisconnects(before, after),
		spentDisconnects(before, after))
}

// hold notes what a configuration on trial holds. Were it ended, the flows would be noted anew by the uplink
// they leave by meanwhile, and be lost also when it has gone back: a login among them.
func (s *State) hold(before *State) {
	switch {
	case !s.OnTrial:
		s.held, s.tried = nil, nil
	case before.OnTrial: // its lists of prefixes have been read anew
	default:
		s.held = slices.DeleteFunc(takenDisconnects(before, s), func(d Disconnect) bool { return !s.holds(before, &d) })
		s.tried = nil
		for i := range s.Uplinks {
			u := &s.Uplinks[i]
			if old := before.On(u.Config.Interface); old == nil || !reflect.DeepEqual(old.Config, u.Config) {
				s.tried = append(s.tried, u.Config.Interface)
			}
		}
	}
}

// onTrial reports whether the uplink on an interface is as a configuration on trial has it. That it is down is
// its doing, maybe: what goes by it is not ended until it is confirmed.
func (s *State) onTrial(iface string) bool { return s.OnTrial && slices.Contains(s.tried, iface) }

// downOfTrial returns the disconnects of uplinks that were found down while their configuration was on trial.
func (s *State) downOfTrial(before *State) (list []Disconnect) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		for p := range u.Present() {
			if slices.Contains(s.tried, u.Config.Interface) && p.OperState == api.Down {
				if d := s.disconnect(before, u.Config.Interface, p.Family); d != nil {
					list = append(list, *d)
				}
			}
		}
	}
	return list
}

// holds reports whether connections can stay as they are during a trial: not when their mark is that of an
// uplink on another interface now, and they would be taken for its own.
func (s *State) holds(before *State, d *Disconnect) bool {
	old := before.Named(d.Uplink)
	return d.Mask == 0 || old == nil || !s.any(func(u *Uplink) bool {
		return u.Config.FwMark == d.Mark && u.Config.Interface != old.Config.Interface
	})
}

// removedDisconnects returns the disconnects of the uplinks that a new configuration
// has no more, or whose mark it has changed: their connections would be taken for
// another's.
func removedDisconnects(before, after *State) []Disconnect {
	var list []Disconnect
	for i := range before.Uplinks {
		old := &before.Uplinks[i]
		u := after.at(i, old.Config.Interface)
		for p := range old.Present() {
			if u != nil && u.Config.FwMark == old.Config.FwMark && u.Has(p.Family) {
				continue
			}
			if d := after.disconnect(before, old.Config.Interface, p.Family); d != nil {
				if u != nil && u.Has(p.Family) {
					d.Addresses = nil // what has its address stays where it is
				}
				list = append(list, *d)
			}
		}
	}
	return list
}

// addressDisconnects returns the disconnects of the uplinks that have another address
// than before, by the configuration or the provider: what had the old one hears nothing
// any more. Flows are not looked at: those that were translated to an address the kernel
// itself forgets with it (masq_inet_event in net/netfilter/nf_nat_masquerade.c), and
// what was not translated goes on. Addresses that others set are theirs to bring back.
func addressDisconnects(before, after *State) []Disconnect {
	if !after.Config.OnDown.Sockets || !before.Settled {
		return nil
	}
	var list []Disconnect
	for i := range before.Uplinks {
		old := &before.Uplinks[i]
		u := after.at(i, old.Config.Interface)
		if u == nil {
			continue
		}
		for p := range u.Present() {
			f := p.Family
			if u.In(f).Address == configs.AddressExternal || old.In(f).Address == configs.AddressExternal {
				continue
			}
			if len(u.Addresses(p)) == 0 {
				continue // it goes down, or keeps what it has until there is another
			}
			if left := after.Left(u.Config.Interface, old.Addresses(&old.Paths[f])); len(left) > 0 {
				list = append(list, Disconnect{Uplink: u.Config.Name, Family: f, Addresses: left})
			}
		}
	}
	return list
}

// Left returns those of the addresses that the uplink on an interface is to have no
// more, nor anything else of this host.
func (s *State) Left(name string, addresses []netip.Prefix) (left []netip.Prefix) {
	u := s.On(name)
	for _, a := range addresses {
		same := func(other netip.Prefix) bool { return a.Addr() == other.Addr() }
		// Its own first, which is nearly always so: to ask all others takes as long as there are uplinks.
		kept := u != nil && slices.ContainsFunc(u.Addresses(&u.Paths[FamilyOf(a.Addr())]), same) ||
			slices.ContainsFunc(s.LAN, func(other routes.Address) bool { return same(other.Prefix) }) ||
			s.othersHave(name, a.Addr())
		if !kept {
			left = append(left, a)
		}
	}
	return left
}

// AnyUp reports whether an uplink but that of a name is up in a family.
func (s *State) AnyUp(f Family, but string) bool {
	return s.any(func(u *Uplink) bool {
		return u.Has(f) && u.Paths[f].OperState == api.Up && u.Config.Name != but
	})
}
