package routes_test

import (
	"net/netip"
	"testing"

	"uplinkd/routes"
	"uplinkd/routes/routestest"
)

// Only what needs nothing new may be written before the kernel is read: a default route of ours that loses ways, or
// shares out anew.
func TestNarrower(t *testing.T) {
	hop := func(name, gateway string, weight int) routes.NextHop {
		return routes.NextHop{Interface: name, Gateway: netip.MustParseAddr(gateway), Weight: weight}
	}
	first, second, third := hop("eth1", "192.0.2.1", 1), hop("eth2", "198.51.100.1", 1), hop("eth3", "203.0.113.1", 1)
	heavier, elsewhere := hop("eth1", "192.0.2.1", 2), hop("eth1", "192.0.2.9", 1)
	ours := func(hops ...routes.NextHop) routes.Route { return routestest.DefaultRoute(254, 32, hops...) }
	theirs := ours(first, second)
	theirs.Protocol = 4
	options := ours(first, second)
	options.Options.InitCwnd = 10
	metric := ours(first, second)
	metric.Metric = 33
	for name, c := range map[string]struct {
		have routes.Route
		want []routes.NextHop
		is   bool
	}{
		"one has died":              {ours(first, second, third), []routes.NextHop{first, third}, true},
		"another share":             {ours(first, second), []routes.NextHop{heavier, second}, true},
		"the same":                  {ours(first, second), []routes.NextHop{first, second}, false},
		"one more":                  {ours(first), []routes.NextHop{first, second}, false},
		"one for another":           {ours(first, second), []routes.NextHop{first, third}, false},
		"another gateway":           {ours(first, second), []routes.NextHop{elsewhere}, false},
		"none left":                 {ours(first), nil, false},
		"its options, too":          {options, []routes.NextHop{first}, false},
		"it is somebody else's":     {theirs, []routes.NextHop{first}, false},
		"there is another one only": {metric, []routes.NextHop{first}, false},
	} {
		want := routestest.Set(true)
		want.Default = []routes.Route{ours(c.want...)}
		list := routes.Narrower(want, routes.State{Routes: []routes.Route{c.have}})
		if got := len(list) == 1; got != c.is {
			t.Errorf("%s: %v, want it written: %v", name, list, c.is)
		}
	}
}
