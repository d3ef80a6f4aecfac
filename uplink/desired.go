package uplink

import (
	"net/netip"
	"slices"
	"strconv"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
)

// Our rule priorities, counted from routes.rule_priority. The gaps are for the
// administrator. A packet is asked in this order:
//
//	+0        lookup main suppress_prefixlength 0   the LAN and all that is not the Internet
//	+50+i     oif INTERFACE lookup TABLE            what a program has bound to an uplink
//	+100+i    fwmark M/MASK lookup TABLE            what was marked for an uplink
//	+300+i    from ADDRESS lookup TABLE             what has an uplink's address
//	+900      lookup TABLE                          the shared default route, where that is not in main
//
// A mark comes before an address because two uplinks may have the same address
// (carrier-grade NAT), and then only the mark tells them apart. What matches
// none goes on to main's own rule (32766), and so to the shared default route.
const (
	ruleSuppress = 0
	ruleOut      = 50
	ruleMark     = 100
	ruleFrom     = 300
	ruleShared   = 900
)

// prohibitMetric is that of the route beneath an uplink's default route: worse
// than any other, so that it answers only when the uplink cannot.
const prohibitMetric = 65535

// Desired returns what the kernel is to hold. It is pure.
func Desired(s State) routes.Set {
	d := desired{state: &s, set: routes.Set{Owner: s.owner(), Prune: s.Settled}}
	if !s.Read {
		// Nothing is known yet, not even what is there of ours: look first.
		for i := range s.Uplinks {
			d.set.Observe = append(d.set.Observe, s.Uplinks[i].Config.Interface)
		}
		d.set.Prune = false
		return d.set
	}
	d.globals()
	for i := range s.Uplinks {
		d.uplink(i, &s.Uplinks[i])
	}
	d.firewall()
	d.sharedDefault()
	return d.set
}

type desired struct {
	state *State
	set   routes.Set
}

func (d *desired) sysctl(name, value string) {
	d.set.Sysctls = append(d.set.Sysctls, routes.Sysctl{Name: name, Value: value})
}

func (d *desired) globals() {
	if hash := d.state.Config.Routes.Hash; hash != configs.HashKeep {
		d.sysctl("net/ipv4/fib_multipath_hash_policy", map[configs.Hash]string{
			configs.HashL3: "0", configs.HashL4: "1", configs.HashInner: "2",
		}[hash])
	}
	d.sysctl("net/ipv4/fib_multipath_use_neigh", "1")
	d.rule(routes.Rule{Priority: ruleSuppress, Table: routes.TableMain, SuppressDefault: true})
	if table := d.state.Config.Routes.Table; table != routes.TableMain {
		d.rule(routes.Rule{Priority: ruleShared, Table: table})
	}
}

// rule adds a rule; its priority is counted from our first.
func (d *desired) rule(r routes.Rule) {
	r.Priority += d.set.Owner.RulePriority
	r.Protocol = d.set.Owner.Protocol
	d.set.Rules = append(d.set.Rules, r)
}

func (d *desired) uplink(i int, u *Uplink) {
	name := u.Config.Interface
	d.set.Observe = append(d.set.Observe, name)
	// Once it has been up, down is somebody's will.
	if !u.Disabled() && u.Link.Index != 0 && u.Raised != u.Link.Index {
		d.set.Links = append(d.set.Links, name)
	}
	d.sysctl("net/ipv4/conf/"+name+"/ignore_routes_with_linkdown", "1")
	d.sysctl("net/ipv4/conf/"+name+"/rp_filter", "2")
	// Without it, taking the old address of a network away takes the new one along.
	d.sysctl("net/ipv4/conf/"+name+"/promote_secondaries", "1")

	if mtu := u.mtu(); mtu != 0 {
		d.sysctl(routes.LinkMTU(name), strconv.Itoa(mtu))
	}

	d.rule(routes.Rule{
		Priority: ruleMark + uint32(i), Table: u.Config.Table,
		Mark: u.Config.FwMark, Mask: d.state.Config.Routes.FwMarkMask,
	})
	// An address, or a socket bound to the interface, leads to the table only once
	// something is there, or was: until the uplink has worked once, whoever is logged
	// in over it stays on the route that brought him.
	_, routable := d.routable(u)
	leads := routable || u.Proved != 0
	// A bound socket comes before its mark, which a policy may have set.
	if leads && i < ruleMark-ruleOut {
		d.rule(routes.Rule{Priority: ruleOut + uint32(i), Out: name, Table: u.Config.Table})
	}
	for _, a := range u.Addresses() {
		if u.Config.Address != configs.AddressExternal {
			a.Protocol = d.set.Owner.Protocol
			d.set.Addresses = append(d.set.Addresses, a)
		}
		if leads {
			host := netip.PrefixFrom(a.Prefix.Addr(), a.Prefix.Addr().BitLen())
			d.rule(routes.Rule{Priority: ruleFrom + uint32(i), From: host, Table: u.Config.Table})
		}
	}
	d.table(u)
}

// table adds what stands in the uplink's own table. The route stays while the
// uplink is down: what is bound to this ISP goes by it or not at all, and the
// probes need it.
func (d *desired) table(u *Uplink) {
	if hop, ok := d.routable(u); ok {
		hop.Weight = 1
		d.set.Tables = append(d.set.Tables, d.route(u.Config.Table, 0, u.Config.Options, hop))
	}
	beneath := d.route(u.Config.Table, prohibitMetric, configs.RouteOptions{})
	beneath.Type = routes.Prohibit
	d.set.Tables = append(d.set.Tables, beneath)
}

// routable returns the uplink's next hop if the kernel would take it: the link
// is up, or is to be, and the gateway is in reach.
func (d *desired) routable(u *Uplink) (routes.NextHop, bool) {
	hop, ok := u.NextHop()
	if !ok || u.Link.Index == 0 || len(u.Addresses()) == 0 || u.gatewayObstacle().why != "" {
		return routes.NextHop{}, false
	}
	return hop, u.Link.Up || slices.Contains(d.set.Links, u.Config.Interface)
}

func (d *desired) route(table, metric uint32, o configs.RouteOptions, hops ...routes.NextHop) routes.Route {
	return routes.Route{
		RouteKey: routes.RouteKey{Table: table, Dst: routes.DefaultDst(netip.IPv4Unspecified()), Metric: metric},
		NextHops: hops, Protocol: d.set.Owner.Protocol,
		Options: routes.Options{
			InitCwnd: o.InitCwnd, InitRwnd: o.InitRwnd, MTU: o.MTU, AdvMSS: o.AdvMSS,
			RTOMin: o.RTOMin, QuickAck: o.QuickAck,
		},
	}
}

func (d *desired) sharedDefault() {
	var hops []routes.NextHop
	for _, i := range Active(*d.state) {
		if hop, ok := d.routable(&d.state.Uplinks[i]); ok {
			hops = append(hops, hop)
		}
	}
	if len(hops) > 0 {
		c := d.state.Config.Routes
		d.set.Default = []routes.Route{d.route(c.Table, c.Metric, c.Options, hops...)}
	}
}

// Active returns the uplinks that carry new connections: those that are up and
// not capped, of the lowest tier that has one. Before it has been judged an uplink
// that carried under the process before us still does. When all have been judged
// and none is up, and last_resort is keep, it is those that are only held down
// for having fallen often, or else those whose link and address still stand:
// perhaps only the probes fail. What the operator has taken out stays out.
func Active(s State) []int {
	active := lowestTier(s.Uplinks, func(u *Uplink) bool {
		return !u.Capped && u.Order.State == OrderNone &&
			(u.Phase == Up || u.Phase == Starting && u.Adopted.Carried && u.obstacle().why == "")
	})
	if len(active) > 0 || !s.Settled || s.Config.Routes.LastResort == configs.LastResortNone {
		return active
	}
	free := func(u *Uplink) bool { return u.Order.State == OrderNone && !u.Capped && u.obstacle().why == "" }
	held := lowestTier(s.Uplinks, func(u *Uplink) bool { return free(u) && u.Verdict == probe.Up })
	if len(held) > 0 {
		return held
	}
	return lowestTier(s.Uplinks, free)
}

func lowestTier(uplinks []Uplink, fit func(*Uplink) bool) []int {
	var list []int
	for i := range uplinks {
		if !fit(&uplinks[i]) {
			continue
		}
		tier := uplinks[i].Config.Tier
		if len(list) > 0 && tier < uplinks[list[0]].Config.Tier {
			list = list[:0]
		}
		if len(list) == 0 || tier == uplinks[list[0]].Config.Tier {
			list = append(list, i)
		}
	}
	return list
}
