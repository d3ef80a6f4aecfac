package routes

import (
	"fmt"
	"slices"
)

// A Plan is the ordered operations that make the kernel match, and what stands
// in their way. A plan without operations means: in sync.
type Plan struct {
	Ops       []Op
	Conflicts []Conflict
}

// A Conflict is a foreign object where one of ours belongs. It is left alone.
type Conflict struct {
	Want   string `json:"want"`
	Have   string `json:"have"`
	Remedy string `json:"remedy"`
}

// Diff returns the plan that leads from have to want. It is pure.
//
// The order is what keeps traffic flowing when the plan stops after any of its
// operations: what others rest upon comes first (links, settings, addresses,
// each uplink's table, the rules that lead there, marks, the default route, endpoints), what is
// no longer wanted goes last and in reverse, so that nothing is ever taken away
// while something still points to it. The site's interfaces get their addresses when the nft table
// translates them: hosts take the network from there, and would send before.
func Diff(want Set, have State) Plan {
	d := differ{want: want, have: have}
	outside, inside := d.addressPuts()
	puts := slices.Concat(d.linkPuts(), d.settingPuts(), outside, d.routePuts(want.Tables), d.rulePuts())
	if have.Firewall == "" {
		puts = slices.Concat(puts, d.firewallPuts(), d.routePuts(want.Default))
	} else {
		// A table that only changes can wait the moment that a dead uplink's route cannot.
		puts = slices.Concat(puts, d.routePuts(want.Default), d.firewallPuts())
	}
	puts = slices.Concat(puts, inside, d.endpointPuts())
	d.precedents()
	plan := Plan{Ops: puts, Conflicts: d.conflicts}
	if want.Prune {
		plan.Ops = slices.Concat(puts, d.endpointDeletes(), d.firewallDeletes(), d.ruleDeletes(), d.routeDeletes(),
			d.addressDeletes(), d.settingDeletes(), d.linkDeletes())
	}
	return plan
}

// Cleanup returns the plan that gives back everything that is ours: the routes,
// rules, addresses and settings found in have, and nothing foreign.
func Cleanup(owner Owner, have State) Plan {
	return Diff(Set{Owner: owner, Prune: true, Leave: true}, have)
}

type differ struct {
	want      Set
	have      State
	conflicts []Conflict
	reused    map[uint8]bool // numbers of endpoints that are put in the place of one that is to go
}

func (d *differ) linkPuts() (ops []Op) {
	for _, name := range d.want.Links {
		if l, ok := d.have.Link(name); ok && !l.Up {
			ops = append(ops, SetLinkUp{Interface: name})
		}
	}
	return ops
}

func (d *differ) linkDeletes() (ops []Op) {
	if !d.want.Leave {
		return nil
	}
	for _, name := range d.have.RaisedUp {
		if !slices.Contains(d.want.Observe, name) && !d.inUseByOthers(name) {
			ops = append(ops, SetLinkDown{Interface: name})
		}
	}
	return ops
}

// inUseByOthers reports whether someone has meanwhile put an address on a link
// that we once set up; then it is no longer ours to set down. Link-local
// addresses come by themselves.
func (d *differ) inUseByOthers(name string) bool {
	if l, ok := d.have.Link(name); ok && l.InUse {
		return true
	}
	return slices.ContainsFunc(d.have.Addresses, func(a Address) bool {
		return a.Interface == name && !d.want.Owner.OwnsAddress(a) && !a.Prefix.Addr().IsLinkLocalUnicast()
	})
}

func (d *differ) settingPuts() (ops []Op) {
	for _, w := range d.want.Settings {
		if value, ok := d.have.setting(w); ok && value != w.Value {
			ops = append(ops, WriteSetting{Setting: w})
		}
	}
	return ops
}

func (d *differ) settingDeletes() (ops []Op) {
	for _, saved := range d.have.Saved {
		if !slices.ContainsFunc(d.want.Settings, saved.same) {
			ops = append(ops, RestoreSetting{Saved: saved})
		}
	}
	return ops
}

// addressPuts returns what puts the addresses of uplinks, and of the site's interfaces.
func (d *differ) addressPuts() (outside, inside []Op) {
	for _, w := range d.want.Addresses {
		if _, ok := d.have.Link(w.Interface); !ok {
			continue
		}
		i := slices.IndexFunc(d.have.Addresses, w.same)
		if i >= 0 {
			h := d.have.Addresses[i]
			// An address someone else put there serves as well and stays theirs; but in IPv6 one may end
			// before ours, as those that the kernel makes of what a router says, or serve no more.
			ends := w.Prefix.Addr().Is6() && (!h.Until.IsZero() || h.Condition == Deprecated)
			serves := !d.want.Owner.OwnsAddress(h) && !ends
			if serves || w.lifetimesFit(h, d.have.At) {
				continue
			}
		}
		put := PutAddress{Address: w, Now: d.have.At}
		if slices.Contains(d.want.Inside, w.Interface) {
			inside = append(inside, put)
			continue
		}
		outside = append(outside, put)
	}
	return outside, inside
}

func (d *differ) addressDeletes() (ops []Op) {
	for _, h := range d.have.Addresses {
		if d.want.Owner.OwnsAddress(h) && !slices.ContainsFunc(d.want.Addresses, h.same) {
			ops = append(ops, DeleteAddress{Address: h})
		}
	}
	return ops
}

func (d *differ) routePuts(want []Route) (ops []Op) {
	for _, w := range want {
		if usable, ok := d.usable(w); ok {
			if op := d.routeOp(usable); op != nil {
				ops = append(ops, op)
			}
		}
	}
	return ops
}

func (d *differ) routeDeletes() (ops []Op) {
	wanted := map[RouteKey]bool{}
	for _, w := range d.want.Routes() {
		if _, ok := d.usable(w); ok {
			wanted[w.RouteKey] = true
		}
	}
	for _, h := range d.have.Routes {
		if d.want.Owner.OwnsRoute(h) && !wanted[h.RouteKey] {
			ops = append(ops, DeleteRoute{Route: h})
		}
	}
	return ops
}

// usable returns the route without the nexthops that the kernel would refuse
// now, and whether any is left. One member whose link is down makes the kernel
// refuse a whole multipath route (fib_check_nh, ENETDOWN), so a link that went
// down a moment ago must not keep the others from being changed.
func (d *differ) usable(r Route) (Route, bool) {
	if r.Type != Unicast {
		return r, true
	}
	hops := make([]NextHop, 0, len(r.NextHops))
	for _, hop := range r.NextHops {
		link, ok := d.have.Link(hop.Interface)
		if ok && (link.Up || slices.Contains(d.want.Links, hop.Interface)) {
			hops = append(hops, hop)
		}
	}
	r.NextHops = hops
	return r, len(hops) > 0
}

// routeOp returns what makes the kernel hold w, or nil when it does or may not.
func (d *differ) routeOp(w Route) Op {
	var own, foreign *Route
	foreignFirst := false
	for i := range d.have.Routes {
		h := &d.have.Routes[i]
		switch {
		case h.RouteKey != w.RouteKey:
		case d.want.Owner.OwnsRoute(*h):
			own = h
		default:
			foreign, foreignFirst = h, own == nil
		}
	}
	if foreign != nil {
		d.conflict(w, foreign)
	}
	switch {
	case own != nil && own.Equal(w):
		return nil
	case foreign == nil && own == nil:
		return AddRoute{Route: w}
	case own != nil && !foreignFirst:
		// A replace takes the first of a key (fib_table_insert), which is ours.
		return ReplaceRoute{Route: w}
	case own != nil:
		// Behind the foreign one ours leads nobody, and it must not lead to a dead uplink
		// when that one goes. Ours is put back then.
		return DeleteRoute{Route: *own}
	}
	return nil
}

// conflict notes a foreign route that stands where ours belongs, or before it.
func (d *differ) conflict(w Route, foreign *Route) {
	d.conflicts = append(d.conflicts, Conflict{
		Want: w.String(), Have: foreign.String(),
		Remedy: fmt.Sprintf("remove it where it is configured (ifupdown, networkd, NetworkManager), or by hand: "+
			"ip route del %sdefault table %s metric %d",
			typeNames[foreign.Type], tableName(foreign.Table), foreign.Metric),
	})
}

// precedents notes the foreign default routes that are asked before the one all uplinks
// share: of a better metric in its table, or such as end every lookup. Rule 20000 asks
// main before all of ours, and passes over a default route, but not over one that is an
// error.
func (d *differ) precedents() {
	for _, w := range d.want.Default {
		for i := range d.have.Routes {
			h := &d.have.Routes[i]
			if h.Dst != w.Dst || d.want.Owner.OwnsRoute(*h) || h.RouteKey == w.RouteKey {
				continue
			}
			better := h.Table == w.Table && h.Metric < w.Metric && h.Type != Other
			if better || h.Table == TableMain && h.Type.endsLookups() {
				d.conflict(w, h)
			}
		}
	}
}

func (d *differ) rulePuts() (ops []Op) {
	for _, w := range d.want.Rules {
		if !slices.ContainsFunc(d.have.Rules, w.same) {
			ops = append(ops, AddRule{Rule: w})
		}
	}
	return ops
}

func (d *differ) firewallPuts() []Op {
	if w := d.want.Firewall; w != nil && w.Version() != d.have.Firewall {
		return []Op{PutFirewall{Firewall: *w}}
	}
	return nil
}

func (d *differ) firewallDeletes() []Op {
	if d.want.Firewall == nil && d.have.Firewall != "" {
		return []Op{DeleteFirewall{Table: d.want.Owner.Table()}}
	}
	return nil
}

func (d *differ) ruleDeletes() (ops []Op) {
	for _, h := range d.have.Rules {
		if d.want.Owner.OwnsRule(h) && !slices.ContainsFunc(d.want.Rules, h.same) {
			ops = append(ops, DeleteRule{Rule: h})
		}
	}
	return ops
}

// Narrower returns those default routes of want that are to lose ways, or to share out anew among those they have:
// what stands in their place in have is ours, and leads by every way that they are to have. So they need nothing that
// is not there. It is pure.
func Narrower(want Set, have State) []ReplaceRoute {
	var list []ReplaceRoute
	for _, w := range want.Default {
		i := slices.IndexFunc(have.Routes, func(r Route) bool {
			return r.RouteKey == w.RouteKey && want.Owner.OwnsRoute(r)
		})
		if i < 0 || w.Type != Unicast || have.Routes[i].Type != Unicast || len(w.NextHops) == 0 ||
			have.Routes[i].Equal(w) {
			continue
		}
		alike := have.Routes[i]
		if alike.NextHops = w.NextHops; !alike.Equal(w) {
			continue // it is to differ in more, and has its place among what else is to change
		}
		leads := func(h NextHop) bool {
			return slices.ContainsFunc(have.Routes[i].NextHops, func(o NextHop) bool {
				return h.Interface == o.Interface && h.Gateway == o.Gateway
			})
		}
		if !slices.ContainsFunc(w.NextHops, func(h NextHop) bool { return !leads(h) }) {
			list = append(list, ReplaceRoute{Route: w})
		}
	}
	return list
}
