package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/routes"
	"uplinkd/routes/routestest"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// The second renew asked the same server again, for any news of the lease was taken for
// an answer to the first (review).
func TestRenewGoesFurther(t *testing.T) {
	c, err := configs.Parse(strings.NewReader("uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease}]"), configs.Options{File: "t"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s := uplink.New(c, now)
	have := routes.State{At: now, MainRule: true, Links: []routes.Link{{Name: "eth1", Index: 2, Up: true, Carrier: true, MAC: "02:00:00:00:00:01"}}}
	s = uplink.Step(s, uplink.Observed{Applied: routes.Applied{State: have, Observed: []string{"eth1"}, At: now}}, now)
	lease := &dhcp.Lease{Prefix: netip.MustParsePrefix("100.64.0.5/24"), Router: netip.MustParseAddr("100.64.0.1"), Server: netip.MustParseAddr("100.64.0.1"), Expire: now.Add(time.Hour)}
	var reports reporter
	tell := func(st dhcp.State) {
		s = uplink.Step(s, uplink.LeaseChanged{Interface: "eth1", Report: reports.of(dhcp.Change{State: st, Lease: lease, Confirmed: true})}, now)
	}
	renew := func() {
		s = uplink.Step(s, uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Renew}}, now)
	}
	tell(dhcp.Bound)
	renew()
	tell(dhcp.Renewing) // what Confirm(1) leads to; the lease is the same one
	renew()
	if n := uplink.Want(&s).Work[0].Lease.ConfirmRequests; n != 2 {
		t.Errorf("second renew without an answer: ConfirmRequests = %d, want 2", n)
	}
}

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
	have, _ := fake.Read(t.Context(), planScope(s, after, now))
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
