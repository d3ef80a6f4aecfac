package routestest

import (
	"fmt"
	"net/netip"

	"uplinkd/routes"
)

// Owner is the tag of what tests call ours.
var Owner = routes.Owner{Protocol: 201, RulePriority: 20000}

// A Wan is one uplink as tests of the plan need it.
type Wan struct {
	N       int // its interface is eth and this number
	Address string
	Gateway string
	Table   uint32
	Carries bool // it is in the shared default route, with its number as weight
}

// Two uplinks that carry.
var (
	One = Wan{1, "192.0.2.5/24", "192.0.2.1", 501, true}
	Two = Wan{2, "198.51.100.5/24", "198.51.100.1", 502, true}
)

// Interface returns the name of the uplink's interface.
func (w Wan) Interface() string { return fmt.Sprintf("eth%d", w.N) }

// Prefix returns the uplink's address with its prefix length.
func (w Wan) Prefix() netip.Prefix { return netip.MustParsePrefix(w.Address) }

// DefaultRoute returns a default route of ours.
func DefaultRoute(table, metric uint32, hops ...routes.NextHop) routes.Route {
	return routes.Route{
		RouteKey: routes.RouteKey{Table: table, Dst: netip.MustParsePrefix("0.0.0.0/0"), Metric: metric},
		NextHops: hops, Protocol: Owner.Protocol,
	}
}

// Set returns what is wanted for those uplinks.
func Set(prune bool, wans ...Wan) routes.Set {
	s := routes.Set{Owner: Owner, Prune: prune, Observe: []string{"eth1", "eth2", "eth3"}}
	s.Rules = append(s.Rules, routes.Rule{Priority: 20000, Table: 254, SuppressDefault: true, Protocol: 201})
	var hops []routes.NextHop
	for _, w := range wans {
		prefix := w.Prefix()
		s.Settings = append(s.Settings, routes.NewSysctl("net/ipv4/conf/"+w.Interface()+"/rp_filter", "2"))
		s.Addresses = append(s.Addresses, routes.Address{Interface: w.Interface(), Prefix: prefix, Protocol: 201})
		hop := routes.NextHop{Interface: w.Interface(), Gateway: netip.MustParseAddr(w.Gateway), Weight: 1}
		beneath := DefaultRoute(w.Table, 65535)
		beneath.Type = routes.Prohibit
		s.Tables = append(s.Tables, DefaultRoute(w.Table, 0, hop), beneath)
		s.Rules = append(s.Rules,
			routes.Rule{Priority: 20100 + uint32(w.N), Mark: uint32(w.N), Mask: 0xff, Table: w.Table, Protocol: 201},
			routes.Rule{
				Priority: 20300 + uint32(w.N), From: netip.PrefixFrom(prefix.Addr(), 32), Table: w.Table, Protocol: 201,
			})
		if w.Carries {
			hop.Weight = w.N
			hops = append(hops, hop)
		}
	}
	if len(hops) > 0 {
		s.Default = []routes.Route{DefaultRoute(254, 0, hops...)}
	}
	return s
}

// ThreeLinks returns a Fake with the interfaces eth1 to eth3, all up.
func ThreeLinks() *Fake {
	f := &Fake{}
	f.Edit(func(s *routes.State) {
		s.MainRule = true
		for n := 1; n <= 3; n++ {
			name := fmt.Sprintf("eth%d", n)
			s.Links = append(s.Links, routes.Link{Name: name, Index: n + 1, Up: true, Carrier: true})
			s.Settings = append(s.Settings, routes.NewSysctl("net/ipv4/conf/"+name+"/rp_filter", "0"))
		}
	})
	return f
}
