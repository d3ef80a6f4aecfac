package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/routestest"
	"uplinkd/uplink"
)

// The plan of a reload that takes a lease's MTU over did not say so (review).
func TestPlanKnowsMTU(t *testing.T) {
	cfg := func(text string) configs.Config {
		c, err := configs.Parse(strings.NewReader(text), configs.Options{File: "t"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := cfg("uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease}]")
	after := cfg("uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease, dhcp: {mtu: accept}}]")
	fake := &routestest.Fake{}
	fake.Edit(func(s *routes.State) {
		s.MainRule = true
		s.Links = []routes.Link{{Name: "eth1", Index: 2, Up: true, Carrier: true, MAC: "02:00:00:00:00:01"}}
		s.Settings = []routes.Setting{routes.NewMTU("eth1", "1500")}
	})
	now := time.Now()
	s := uplink.New(before, now)
	for range 3 {
		set := uplink.Desired(&s)
		have, _ := fake.Read(t.Context(), routes.ScopeOf(set))
		plan := routes.Diff(set, have)
		for _, op := range plan.Ops {
			if err := fake.Do(t.Context(), op); err != nil {
				t.Fatal(op, err)
			}
		}
		s = uplink.Step(s, uplink.Observed{Applied: routes.Applied{State: have, Observed: set.Observe, At: now, Plan: plan, Done: plan.Ops}}, now)
		lease := &uplink.Lease{Prefix: netip.MustParsePrefix("100.64.0.5/24"), Router: netip.MustParseAddr("100.64.0.1"), MTU: 1400, Expire: now.Add(time.Hour)}
		s = uplink.Step(s, uplink.LeaseChanged{Interface: "eth1", Report: uplink.LeaseReport{State: "bound", Lease: lease, Confirmed: true}}, now)
	}
	// what Engine.Plan does
	next := uplink.Step(s, uplink.Reloaded{Config: after}, now)
	have, _ := fake.Read(t.Context(), planScope(&s, &next))
	said := uplink.Plan(s, uplink.Reloaded{Config: after}, have, now)
	// what a reload does
	s2 := uplink.Step(s, uplink.Reloaded{Config: after}, now)
	set := uplink.Desired(&s2)
	have, _ = fake.Read(t.Context(), routes.ScopeOf(set))
	done := routes.Diff(set, have)
	if len(said.Ops) != len(done.Ops) {
		t.Errorf("plan said %v, a reload does %v", said.Ops, done.Ops)
	}
}

// Where one uplink alone leads out, its weight was 1 in status once the kernel had been read, which keeps none of a
// sole next hop: TestAgent failed by it in one run of thirty.
func TestWeightOfASoleNextHop(t *testing.T) {
	c, err := configs.Parse(strings.NewReader(
		"uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, weight: 7}]"), configs.Options{File: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for _, read := range []int{7, 1} {
		route := routestest.DefaultRoute(c.Routes.Table, c.Routes.Metric,
			routes.NextHop{Interface: "eth1", Gateway: netip.MustParseAddr("192.0.2.1"), Weight: read})
		route.Protocol = c.Routes.Protocol
		v := view{
			state:   uplink.New(c, time.Unix(0, 0)),
			applied: routes.Applied{State: routes.State{Routes: []routes.Route{route}}},
		}
		d := defaultRoute(v, uplink.IPv4)
		if len(d.NextHops) != 1 || d.NextHops[0].Weight != 7 {
			t.Errorf("read as %d: %+v, want one of weight 7", read, d.NextHops)
		}
	}
}
