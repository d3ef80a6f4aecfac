package uplink

import (
	"net/netip"
	"slices"

	"uplinkd/routes"
)

// An Effect is what becomes of an uplink's connections under another configuration.
type Effect struct {
	Uplink    string
	Addresses []netip.Prefix // what has one of them as its own is concerned
	Ends      bool           // it ends; otherwise it goes on by another gateway
	Why       string
}

// Effects returns what becomes of connections by the step from one configuration to
// another: of those that have an address which no uplink has afterwards, and of those that
// get another gateway. It is pure.
func Effects(before, after *State) []Effect {
	var list []Effect
	for i := range before.Uplinks {
		old := &before.Uplinks[i]
		u := after.On(old.Config.Interface)
		for p := range old.Present() {
			addresses := old.Addresses(p)
			left := after.Left(old.Config.Interface, addresses)
			switch {
			case len(left) > 0 && u == nil:
				list = append(list, Effect{old.Config.Name, left, true, "the uplink is removed"})
			case len(left) > 0:
				list = append(list, Effect{old.Config.Name, left, true, "the uplink leaves the address"})
			case u == nil && len(addresses) > 0:
				list = append(list, Effect{old.Config.Name, addresses, true, "the address goes to another interface"})
			case u != nil && otherGateway(old, u, p.Family):
				list = append(list, Effect{old.Config.Name, addresses, false, "the uplink has another gateway"})
			}
		}
	}
	return list
}

func otherGateway(old, u *Uplink, family Family) bool {
	was, known := old.NextHop(&old.Paths[family])
	is, ok := u.NextHop(&u.Paths[family])
	return known && ok && was.Gateway != is.Gateway
}

// Concerned returns what becomes of one connection of this host, whose packets go a way as
// the kernel says: the uplink that it goes by, "" when it goes by none, and why it may end,
// "" when it goes on. It is pure.
func Concerned(before, after *State, effects []Effect, own netip.Addr, way routes.Way) (uplink, why string) {
	has := func(a netip.Prefix) bool { return a.Addr() == own }
	for _, e := range effects {
		if slices.ContainsFunc(e.Addresses, has) {
			return e.Uplink, e.Why
		}
	}
	for i := range before.Uplinks {
		u := &before.Uplinks[i]
		for p := range u.Present() {
			if slices.ContainsFunc(u.Addresses(p), has) {
				return u.Config.Name, "" // its `from` rule leads it by that uplink, before and after
			}
		}
	}
	if way.Table != before.Config.Routes.Table && way.Table != routes.TableMain || !way.Gateway.IsValid() {
		return "", "" // the site's own network
	}
	return byDefault(before, after, FamilyOf(own), way.Interface)
}

// byDefault returns what becomes of a connection that goes by the shared default route over
// an interface, with an address that no uplink has: any uplink may have it afterwards.
func byDefault(before, after *State, f Family, over string) (uplink, why string) {
	if before.Config.Routes.Table != after.Config.Routes.Table {
		return "", "it goes by the default route, which is in another table then"
	}
	if !before.Has(f) {
		return "", "it goes by the default route, which is ours then"
	}
	for i := range after.Uplinks {
		name := after.Uplinks[i].Config.Interface
		if old := before.On(name); name != over && after.Uplinks[i].Has(f) && (old == nil || !old.Has(f)) {
			return "", "it goes by the default route, which leads to " + name + " too then"
		}
	}
	old, u := before.On(over), after.On(over)
	switch {
	case old == nil || !old.Has(f):
		return "", ""
	case u == nil || !u.Has(f):
		return old.Config.Name, "it goes by the default route of an uplink that is removed"
	case otherGateway(old, u, f):
		return old.Config.Name, "it goes by the default route, which has another gateway then"
	case old.In(f).Tier != u.In(f).Tier:
		return old.Config.Name, "it goes by the default route of an uplink that has another tier then"
	}
	return old.Config.Name, ""
}
