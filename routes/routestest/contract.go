package routestest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uplinkd/routes"
)

// A World is what the contract needs around a Kernel: two interfaces, up0 which
// is up and has 192.0.2.5/24 of someone else, and down0 which is down and bare;
// and a way to act as another program.
type World struct {
	Kernel routes.Kernel

	// Foreign puts a default route of another owner (protocol 4) in the table.
	Foreign func(table uint32, metric uint32, gateway netip.Addr) error

	NoMPTCP bool // this kernel has none
}

var (
	owner   = routes.Owner{Protocol: 201, RulePriority: 20000}
	dst     = routes.DefaultDst(netip.IPv4Unspecified())
	gateway = netip.MustParseAddr("192.0.2.1")
	sysctl  = "net/ipv4/conf/up0/rp_filter"
	scope   = routes.Scope{
		Owner: owner, Links: []string{"up0", "down0"}, Tables: []uint32{501}, Shared: []uint32{254},
		Settings: []routes.Setting{routes.NewSysctl(sysctl, "")},
	}
	leased   = netip.MustParsePrefix("198.51.100.7/24")
	leaseGW  = netip.MustParseAddr("198.51.100.1")
	timesAre = cmpopts.EquateApproxTime(2 * time.Second)
)

func route(table uint32, metric uint32, hops ...routes.NextHop) routes.Route {
	key := routes.RouteKey{Table: table, Dst: dst, Metric: metric}
	return routes.Route{RouteKey: key, NextHops: hops, Protocol: owner.Protocol}
}

func hop(name string, gw netip.Addr, weight int) routes.NextHop {
	return routes.NextHop{Interface: name, Gateway: gw, Weight: weight}
}

// Contract checks that a Kernel keeps what routes.Kernel promises. Each part
// gets a world of its own.
func Contract(t *testing.T, world func(*testing.T) World) {
	t.Helper()
	parts := []struct {
		name string
		run  func(*testing.T, World)
	}{
		{"route", contractRoute},
		{"weights", contractWeights},
		{"options", contractOptions},
		{"route refused", contractRefused},
		{"conflict", contractConflict},
		{"rules", contractRules},
		{"address", contractAddress},
		{"sysctl", contractSysctl},
		{"link", contractLink},
		{"gone", contractGone},
		{"endpoints", contractEndpoints},
		{"cleanup", contractCleanup},
	}
	for _, part := range parts {
		t.Run(part.name, func(t *testing.T) { part.run(t, world(t)) })
	}
}

func read(t *testing.T, w World) routes.State {
	t.Helper()
	state, err := w.Kernel.Read(context.Background(), scope)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// do carries operations out, each twice unless once is what its contract says.
func do(t *testing.T, w World, ops ...routes.Op) {
	t.Helper()
	for _, op := range ops {
		if err := w.Kernel.Do(context.Background(), op); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		if _, once := op.(routes.AddRoute); once {
			continue
		}
		if err := w.Kernel.Do(context.Background(), op); err != nil {
			t.Fatalf("second %s: %v", op, err)
		}
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(), cmpopts.EquateEmpty(), timesAre,
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func contractRoute(t *testing.T, w World) {
	t.Helper()
	first := route(501, 0, hop("up0", gateway, 1))
	beneath := route(501, 65535)
	beneath.Type = routes.Prohibit
	do(t, w, routes.AddRoute{Route: first}, routes.AddRoute{Route: beneath})
	same(t, "added", []routes.Route{first, beneath}, read(t, w).Routes)

	second := route(501, 0, hop("up0", netip.MustParseAddr("192.0.2.2"), 1))
	do(t, w, routes.ReplaceRoute{Route: second})
	same(t, "replaced", []routes.Route{second, beneath}, read(t, w).Routes)

	onLink := route(501, 0, hop("up0", netip.MustParseAddr("203.0.113.9"), 1))
	onLink.NextHops[0].OnLink = true
	do(t, w, routes.ReplaceRoute{Route: onLink})
	same(t, "onlink", []routes.Route{onLink, beneath}, read(t, w).Routes)

	bare := route(501, 0, hop("up0", netip.Addr{}, 1))
	do(t, w, routes.ReplaceRoute{Route: bare})
	same(t, "no gateway", []routes.Route{bare, beneath}, read(t, w).Routes)

	do(t, w, routes.DeleteRoute{Route: bare}, routes.DeleteRoute{Route: beneath})
	same(t, "deleted", []routes.Route(nil), read(t, w).Routes)
}

// A weight of n is n-1 on the wire, in one byte.
func contractWeights(t *testing.T, w World) {
	t.Helper()
	do(t, w, routes.SetLinkUp{Interface: "down0"}, routes.PutAddress{Address: leaseAddress(time.Time{})})
	for _, weight := range []int{1, 2, 255, 256} {
		want := route(routes.TableMain, 0, hop("up0", gateway, weight), hop("down0", leaseGW, 1))
		do(t, w, routes.ReplaceRoute{Route: want})
		same(t, "weight", []routes.Route{want}, read(t, w).Routes)
	}
}

func leaseAddress(until time.Time) routes.Address {
	return routes.Address{Interface: "down0", Prefix: leased, Protocol: owner.Protocol, Until: until}
}

func contractOptions(t *testing.T, w World) {
	t.Helper()
	want := route(501, 0, hop("up0", gateway, 1))
	want.Options = routes.Options{
		InitCwnd: 70, InitRwnd: 71, MTU: 1400, AdvMSS: 1300, RTOMin: 50 * time.Millisecond, QuickAck: true,
	}
	do(t, w, routes.AddRoute{Route: want})
	same(t, "options", []routes.Route{want}, read(t, w).Routes)
	want.Options = routes.Options{}
	do(t, w, routes.ReplaceRoute{Route: want})
	same(t, "no options", []routes.Route{want}, read(t, w).Routes)
}

func contractRefused(t *testing.T, w World) {
	t.Helper()
	for _, r := range []routes.Route{
		route(501, 0, hop("up0", netip.MustParseAddr("203.0.113.1"), 1)),           // not on the link
		route(254, 0, hop("up0", gateway, 1), hop("down0", gateway, 1)),            // one member is down
		route(254, 0, hop("up0", gateway, 1), hop("none0", gateway, 1)),            // one does not exist
		route(501, 0, routes.NextHop{Interface: "down0", OnLink: true, Weight: 1}), // down
	} {
		if err := w.Kernel.Do(context.Background(), routes.AddRoute{Route: r}); err == nil {
			t.Errorf("%s: no error", r)
		}
	}
	same(t, "nothing added", []routes.Route(nil), read(t, w).Routes)
}

func contractConflict(t *testing.T, w World) {
	t.Helper()
	if err := w.Foreign(routes.TableMain, 0, gateway); err != nil {
		t.Fatal(err)
	}
	mine := route(routes.TableMain, 0, hop("up0", netip.MustParseAddr("192.0.2.2"), 1))
	if err := w.Kernel.Do(context.Background(), routes.AddRoute{Route: mine}); !errors.Is(err, routes.ErrConflict) {
		t.Errorf("adding over a foreign route: got %v, want ErrConflict", err)
	}
	do(t, w, routes.DeleteRoute{Route: mine})
	foreign := route(routes.TableMain, 0, hop("up0", gateway, 1))
	foreign.Protocol = 4
	same(t, "the foreign route stands", []routes.Route{foreign}, read(t, w).Routes)
}

func contractRules(t *testing.T, w World) {
	t.Helper()
	rules := []routes.Rule{
		{Priority: 20000, Table: routes.TableMain, SuppressDefault: true, Protocol: 201},
		{Priority: 20001, Table: 70000, SuppressDefault: true, Protocol: 201},
		{Priority: 20100, Mark: 0x97, Mask: 0xff, Table: 501, Protocol: 201},
		{Priority: 20300, From: netip.MustParsePrefix("192.0.2.5/32"), Table: 501, Protocol: 201},
		{Priority: 20300, From: netip.MustParsePrefix("192.0.2.6/32"), Table: 70000, Protocol: 201},
		{Priority: 20500, To: netip.MustParsePrefix("192.0.2.53/32"), Table: 501, Protocol: 201},
		{Priority: 20500, To: netip.MustParsePrefix("192.0.2.54/32"), Table: 501, Protocol: 201},
	}
	for _, r := range rules {
		do(t, w, routes.AddRule{Rule: r})
	}
	same(t, "added", rules, read(t, w).Rules)
	for len(rules) > 0 {
		do(t, w, routes.DeleteRule{Rule: rules[0]})
		rules = rules[1:]
		same(t, "one deleted", rules, read(t, w).Rules)
	}
}

func contractAddress(t *testing.T, w World) {
	t.Helper()
	do(t, w, routes.SetLinkUp{Interface: "down0"})
	until := time.Now().Add(time.Hour)
	before := read(t, w).Addresses
	put := func(a routes.Address) routes.PutAddress { return routes.PutAddress{Address: a, Now: time.Now()} }
	do(t, w, put(leaseAddress(until)))
	same(t, "added", append(slices.Clone(before), leaseAddress(until)), read(t, w).Addresses)
	do(t, w, put(leaseAddress(until.Add(time.Hour))))
	same(t, "extended", append(slices.Clone(before), leaseAddress(until.Add(time.Hour))), read(t, w).Addresses)
	do(t, w, put(leaseAddress(time.Time{})))
	same(t, "for ever", append(slices.Clone(before), leaseAddress(time.Time{})), read(t, w).Addresses)
	do(t, w, routes.DeleteAddress{Address: leaseAddress(until)})
	same(t, "deleted", before, read(t, w).Addresses)
}

func contractSysctl(t *testing.T, w World) {
	t.Helper()
	was := read(t, w).Settings
	if len(was) != 1 || was[0].Value == "2" {
		t.Fatalf("the contract needs %s to be there and not 2: %v", sysctl, was)
	}
	do(t, w, routes.WriteSetting{Setting: routes.NewSysctl(sysctl, "2")})
	state := read(t, w)
	same(t, "written", []routes.Setting{routes.NewSysctl(sysctl, "2")}, state.Settings)
	saved := []routes.Saved{{Setting: was[0], Set: "2"}}
	same(t, "saved", saved, state.Saved)
	do(t, w, routes.RestoreSetting{Saved: saved[0]})
	same(t, "restored", was, read(t, w).Settings)
	same(t, "forgotten", []routes.Saved(nil), read(t, w).Saved)
}

func contractLink(t *testing.T, w World) {
	t.Helper()
	up := func() bool { l, _ := read(t, w).Link("down0"); return l.Up }
	if up() {
		t.Fatal("down0 is up before the test")
	}
	do(t, w, routes.SetLinkUp{Interface: "down0"})
	same(t, "up", true, up())
	same(t, "remembered", []string{"down0"}, read(t, w).RaisedUp)
	do(t, w, routes.SetLinkDown{Interface: "down0"})
	same(t, "down", false, up())
	same(t, "forgotten", []string(nil), read(t, w).RaisedUp)
}

func contractGone(t *testing.T, w World) {
	t.Helper()
	for _, op := range []routes.Op{
		routes.SetLinkUp{Interface: "none0"},
		routes.PutAddress{Address: routes.Address{Interface: "none0", Prefix: leased}},
		routes.AddRoute{Route: route(501, 0, hop("none0", gateway, 1))},
		routes.WriteSetting{Setting: routes.NewSysctl("net/ipv4/conf/none0/rp_filter", "2")},
	} {
		if err := w.Kernel.Do(context.Background(), op); !errors.Is(err, routes.ErrGone) {
			t.Errorf("%s: got %v, want ErrGone", op, err)
		}
	}
}

func contractCleanup(t *testing.T, w World) {
	t.Helper()
	before := read(t, w)
	set := routes.Set{
		Owner: owner, Prune: true, Observe: scope.Links, Links: []string{"down0"},
		Settings:  []routes.Setting{routes.NewSysctl(sysctl, "2")},
		Addresses: []routes.Address{leaseAddress(time.Time{})},
		Tables:    []routes.Route{route(501, 0, hop("up0", gateway, 1))},
		Rules:     []routes.Rule{{Priority: 20100, Mark: 0x97, Mask: 0xff, Table: 501, Protocol: 201}},
		Default:   []routes.Route{route(routes.TableMain, 0, hop("up0", gateway, 2), hop("down0", leaseGW, 1))},
	}
	plan := routes.Diff(set, before)
	if len(plan.Ops) != 6 {
		t.Fatalf("want 6 operations, got %d: %v", len(plan.Ops), plan.Ops)
	}
	do(t, w, plan.Ops...)
	if again := routes.Diff(set, read(t, w)); len(again.Ops) != 0 {
		t.Errorf("the second plan is not empty: %v", again.Ops)
	}
	do(t, w, routes.Cleanup(owner, read(t, w)).Ops...)
	after := read(t, w)
	before.At, after.At = time.Time{}, time.Time{}
	before.SeenUp, after.SeenUp = nil, nil // a memory, not the kernel's
	for i := range before.Links {
		after.Links[i].Carrier = before.Links[i].Carrier // comes late, and is not ours
	}
	same(t, "everything given back", before, after)
}
