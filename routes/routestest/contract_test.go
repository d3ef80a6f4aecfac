package routestest_test

import (
	"net/netip"
	"testing"

	"uplinkd/routes"
	"uplinkd/routes/routestest"
)

func TestContract(t *testing.T) {
	routestest.Contract(t, func(*testing.T) routestest.World {
		fake := &routestest.Fake{}
		fake.Edit(func(s *routes.State) {
			s.Links = []routes.Link{{Name: "up0", Index: 2, Up: true, Carrier: true}, {Name: "down0", Index: 3}}
			s.Addresses = []routes.Address{{Interface: "up0", Prefix: netip.MustParsePrefix("192.0.2.5/24")}}
			s.Settings = []routes.Setting{{Name: "net/ipv4/conf/up0/rp_filter", Value: "1"}}
		})
		return routestest.World{Kernel: fake, Foreign: func(table, metric uint32, gateway netip.Addr) error {
			fake.Edit(func(s *routes.State) {
				s.Routes = append(s.Routes, routes.Route{
					RouteKey: routes.RouteKey{Table: table, Dst: routes.DefaultDst(gateway), Metric: metric},
					NextHops: []routes.NextHop{{Interface: "up0", Gateway: gateway, Weight: 1}}, Protocol: 4,
				})
			})
			return nil
		}}
	})
}
