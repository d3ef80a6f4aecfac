package uplink

import (
	"net/netip"
	"slices"
	"strconv"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// Our rule priorities, counted from routes.rule_priority. The gaps are for the
// administrator. A packet is asked in this order:
//
//	+0        lookup main suppress_prefixlength 0   the LAN and all that is not the Internet
//	+50+i     oif INTERFACE lookup TABLE            what a program has bound to an uplink
//	+100+i    fwmark M/MASK lookup TABLE            what was marked for an uplink
//	+200      unreachable                           IPv6, while no uplink carries it
//	+300+i    from ADDRESS lookup TABLE             what has an uplink's address
//	+500+i    to NAMESERVER lookup TABLE            queries to an uplink's DNS servers
//	+900      lookup TABLE                          the shared default route, where nothing else leads there
//
// A mark comes before an address because two uplinks may have the same address
// (carrier-grade NAT), and then only the mark tells them apart. What matches
// none goes on to main's own rule (32766), and so to the shared default route.
const (
	ruleSuppress = 0
	ruleOut      = 50
	ruleMark     = 100
	ruleNowhere  = 200
	ruleFrom     = 300
	ruleDNS      = 500
	ruleShared   = 900
)

// prohibitMetric is that of the route beneath an uplink's default route: worse
// than any other, so that it answers only when the uplink cannot.
const prohibitMetric = 65535

// Desired returns what the kernel is to hold. It is pure.
func Desired(s *State) routes.Set {
	d := desired{state: s, set: routes.Set{Owner: Owner(s.Config), Prune: s.Settled}}
	n := len(s.Uplinks)
	d.set.Observe = make([]string, 0, n)
	d.set.IPv6 = s.Has(IPv6)
	if !s.Read {
		// Nothing is known yet, not even what is there of ours: look first.
		for i := range s.Uplinks {
			d.set.Observe = append(d.set.Observe, s.Uplinks[i].Config.Interface)
		}
		d.set.Prune = false
		return d.set
	}
	d.set.Settings = make([]routes.Setting, 0, 3*n+2)
	d.set.Rules = make([]routes.Rule, 0, 3*n+2)
	d.set.Tables = make([]routes.Route, 0, 2*n)
	d.globals()
	for i := range s.Uplinks {
		d.uplink(i, &s.Uplinks[i])
	}
	d.lan()
	d.firewall()
	for f := range families {
		d.sharedDefault(f)
	}
	d.endpoints()
	return d.set
}

type desired struct {
	state *State
	set   routes.Set
}

func (d *desired) sysctl(name, value string) {
	d.set.Settings = append(d.set.Settings, routes.NewSysctl(name, value))
}

func (d *desired) globals() {
	if hash := d.state.Config.Routes.Hash; hash != configs.HashKeep {
		policy := map[configs.Hash]string{configs.HashL3: "0", configs.HashL4: "1", configs.HashInner: "2"}[hash]
		d.sysctl("net/ipv4/fib_multipath_hash_policy", policy)
		if d.state.Has(IPv6) {
			d.sysctl("net/ipv6/fib_multipath_hash_policy", policy)
		}
	}
	d.sysctl("net/ipv4/fib_multipath_use_neigh", "1")
	for f := range families {
		if !d.state.Has(f) {
			continue
		}
		d.rule(f, routes.Rule{Priority: ruleSuppress, Table: routes.TableMain, SuppressDefault: true})
		// Main has a rule of the kernel's own, behind those of all others: WireGuard's
		// and the administrator's. Only where that is gone is one of ours needed.
		if table := d.state.Config.Routes.Table; table != routes.TableMain || d.state.NoMainRule[f] {
			d.rule(f, routes.Rule{Priority: ruleShared, Table: table})
		}
	}
}

// unspecified is the address of a family that stands for none: of 0.0.0.0/0.
var unspecified = [families]netip.Addr{IPv4: netip.IPv4Unspecified(), IPv6: netip.IPv6Unspecified()}

// MetricIn returns a metric as a family has it: where IPv6 is given 0 it takes 1024, which is
// that of every router the kernel hears of (IP6_RT_PRIO_USER in include/uapi/linux/ipv6_route.h).
func MetricIn(f Family, metric uint32) uint32 {
	if f == IPv6 && metric == 0 {
		return 1
	}
	return metric
}

// rule adds a rule; its priority is counted from our first.
func (d *desired) rule(f Family, r routes.Rule) {
	r.Priority += d.set.Owner.RulePriority
	r.Protocol = d.set.Owner.Protocol
	r.V6 = unspecified[f].Is6()
	d.set.Rules = append(d.set.Rules, r)
}

func (d *desired) uplink(i int, u *Uplink) {
	name := u.Config.Interface
	d.set.Observe = append(d.set.Observe, name)
	// Once it has been up, down is somebody's will.
	if link := &u.Device.Link; !u.Disabled() && link.Index != 0 && u.Device.UpIndex != link.Index {
		d.set.Links = append(d.set.Links, name)
	}
	d.sysctl("net/ipv4/conf/"+name+"/ignore_routes_with_linkdown", "1")
	d.sysctl("net/ipv4/conf/"+name+"/rp_filter", "2")
	// Without it, taking the old address of a network away takes the new one along.
	d.sysctl("net/ipv4/conf/"+name+"/promote_secondaries", "1")
	for p := range u.Present() {
		d.path(i, u, p)
	}
	if u.Has(IPv6) {
		d.ipv6Settings(u)
	}
}

// ipv6Settings are what an uplink's interface needs in IPv6. The kernel hears no routers there: it
// would lead whatever network they name to them, and drop all they say beside a default route
// of its metric (net/ipv6/ndisc.c). It takes no address of another interface as source, and no way
// over a link without a carrier.
func (d *desired) ipv6Settings(u *Uplink) {
	at := "net/ipv6/conf/" + u.Config.Interface + "/"
	if u.Config.IPv6.Address != configs.AddressExternal {
		d.sysctl(at+"accept_ra", "0")
	}
	d.sysctl(at+"use_oif_addrs_only", "1")
	d.sysctl(at+"ignore_routes_with_linkdown", "1")
}

// path adds what one path of an uplink needs. An address, or a socket bound to the
// interface, leads to the uplink's table only once something is there, or was: until
// the path has worked once, whoever is logged in over it stays on the route that
// brought him.
func (d *desired) path(i int, u *Uplink, p *Path) {
	if mtu := u.mtu(p); mtu != 0 {
		d.set.Settings = append(d.set.Settings, routes.NewMTU(u.Config.Interface, strconv.Itoa(mtu)))
	}
	d.rule(p.Family, routes.Rule{
		Priority: ruleMark + uint32(i), Table: u.Config.Table,
		Mark: u.Config.FwMark, Mask: d.state.Config.Routes.FwMarkMask,
	})
	hop, routable := d.routable(u, p)
	leads := routable || p.Health.ProvenIndex != 0
	// A bound socket comes before its mark, which a policy may have set.
	if leads && i < ruleMark-ruleOut {
		d.rule(p.Family, routes.Rule{Priority: ruleOut + uint32(i), Out: u.Config.Interface, Table: u.Config.Table})
	}
	if routable {
		d.toNameservers(i, u, p)
	}
	lent := u.lent(p)
	for _, l := range lent {
		if u.In(p.Family).Address != configs.AddressExternal {
			d.set.Addresses = append(d.set.Addresses, routes.Address{
				Interface: u.Config.Interface, Prefix: l.Prefix, Until: l.Until, Preferred: l.Preferred,
				Protocol: d.set.Owner.Protocol, NoPrefixRoute: u.keepsApart(l.Prefix),
			})
		}
		if leads {
			from := hostPrefix(l.Prefix.Addr())
			d.rule(p.Family, routes.Rule{Priority: ruleFrom + uint32(i), From: from, Table: u.Config.Table})
		}
	}
	// The route stays while the path is down: what is bound to this ISP goes by it or
	// not at all, and the probes need it.
	if routable {
		hop.Weight = 1
		for _, l := range lent {
			if u.keepsApart(l.Prefix) {
				d.set.Tables = append(d.set.Tables, d.network(u, p.Family, l.Prefix))
			}
		}
		d.set.Tables = append(d.set.Tables, d.route(p.Family, u.Config.Table, 0, u.Config.Options, hop))
	}
	beneath := d.route(p.Family, u.Config.Table, prohibitMetric, configs.RouteOptions{})
	beneath.Type = routes.Prohibit
	d.set.Tables = append(d.set.Tables, beneath)
}

// hostPrefix is the prefix that is one address.
func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// routable returns the path's next hop if the kernel would take it: the link
// is up, or is to be, and the gateway is in reach.
func (d *desired) routable(u *Uplink, p *Path) (routes.NextHop, bool) {
	hop, ok := u.NextHop(p)
	if !ok || u.Device.Link.Index == 0 || len(u.Addresses(p)) == 0 || u.gatewayObstacle(p).reason != "" {
		return routes.NextHop{}, false
	}
	// Without a route to its network the kernel would not know where the gateway is.
	apart := slices.ContainsFunc(u.Addresses(p), u.keepsApart) && hop.Gateway.IsValid()
	hop.OnLink = hop.OnLink || apart && (p.Family == IPv4 || !hop.Gateway.IsLinkLocalUnicast())
	return hop, u.Device.Link.Up || slices.Contains(d.set.Links, u.Config.Interface)
}

// network is the route to the network of an address, in the uplink's own table.
func (d *desired) network(u *Uplink, f Family, a netip.Prefix) routes.Route {
	return routes.Route{
		RouteKey: routes.RouteKey{Table: u.Config.Table, Dst: a.Masked(), Metric: MetricIn(f, 0)},
		NextHops: []routes.NextHop{{Interface: u.Config.Interface, Weight: 1}}, Protocol: d.set.Owner.Protocol,
	}
}

func (d *desired) route(f Family, table, metric uint32, o configs.RouteOptions, hops ...routes.NextHop) routes.Route {
	return routes.Route{
		RouteKey: routes.RouteKey{Table: table, Dst: routes.DefaultDst(unspecified[f]), Metric: MetricIn(f, metric)},
		NextHops: hops, Protocol: d.set.Owner.Protocol, Options: routes.Options(o),
	}
}

// idle reports whether nothing goes by a family any more. A connection over an uplink that takes no new ones
// goes by its mark, if it has one.
func (s *State) idle(f Family) bool {
	return s.Config.Marks || !s.any(func(u *Uplink) bool {
		return u.Has(f) && (u.Paths[f].OperState == api.Drained || u.Paths[f].OperState == api.Doubtful)
	})
}

func (d *desired) sharedDefault(f Family) {
	var hops []routes.NextHop
	for _, i := range d.state.carriers(f) {
		u := &d.state.Uplinks[i]
		if hop, ok := d.routable(u, &u.Paths[f]); ok {
			hops = append(hops, hop)
		}
	}
	if len(hops) > 0 {
		c := &d.state.Config.Routes
		d.set.Default = append(d.set.Default, d.route(f, c.Table, c.Metric, c.Options, hops...))
		return
	}
	// Without a default route the kernel picks any address for a connection, and the rule of that
	// leads it to its uplink, dead or not (ip6_dst_lookup_tail in net/ipv6/ip6_output.c).
	others := d.state.OthersLead[f] || d.state.OthersRules6
	if f == IPv6 && d.state.Has(f) && d.state.Settled && !others && d.state.idle(f) {
		d.rule(f, routes.Rule{Priority: ruleNowhere, Unreachable: true})
	}
}
