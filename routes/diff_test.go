package routes_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uplinkd/routes"
	"uplinkd/routes/firewall"
	"uplinkd/routes/routestest"
)

var owner = routestest.Owner

func read(t *testing.T, f *routestest.Fake, want routes.Set) routes.State {
	t.Helper()
	have, err := f.Read(context.Background(), routes.ScopeOf(want))
	if err != nil {
		t.Fatal(err)
	}
	return have
}

func apply(t *testing.T, f *routestest.Fake, want routes.Set) routes.Plan {
	t.Helper()
	plan := routes.Diff(want, read(t, f, want))
	for _, op := range plan.Ops {
		if err := f.Do(context.Background(), op); err != nil {
			t.Fatalf("%s: %v", op, err)
		}
	}
	return plan
}

func text(plan routes.Plan) string {
	lines := make([]string, len(plan.Ops))
	for i, op := range plan.Ops {
		lines[i] = op.String()
	}
	return strings.Join(lines, "\n")
}

var (
	one   = routestest.One
	two   = routestest.Two
	three = routestest.Wan{N: 3, Address: "203.0.113.5/24", Gateway: "203.0.113.1", Table: 503, Carries: true}
)

// The order of a plan, as the text people know.
func TestPlanText(t *testing.T) {
	f := routestest.ThreeLinks()
	want := strings.TrimSpace(`
sysctl -w net/ipv4/conf/eth1/rp_filter=2
ip addr replace 192.0.2.5/24 dev eth1 proto 201
ip route add default via 192.0.2.1 dev eth1 table 501 proto 201
ip route add prohibit default table 501 metric 65535 proto 201
ip rule add pref 20000 lookup main suppress_prefixlength 0 protocol 201
ip rule add pref 20101 fwmark 0x1/0xff lookup 501 protocol 201
ip rule add pref 20301 from 192.0.2.5 lookup 501 protocol 201
ip route add default via 192.0.2.1 dev eth1 table main proto 201`)
	if diff := cmp.Diff(want, text(apply(t, f, routestest.Set(true, one)))); diff != "" {
		t.Errorf("from nothing (-want +got):\n%s", diff)
	}
	want = strings.TrimSpace(`
sysctl -w net/ipv4/conf/eth2/rp_filter=2
ip addr replace 198.51.100.5/24 dev eth2 proto 201
ip route add default via 198.51.100.1 dev eth2 table 502 proto 201
ip route add prohibit default table 502 metric 65535 proto 201
ip rule add pref 20102 fwmark 0x2/0xff lookup 502 protocol 201
ip rule add pref 20302 from 198.51.100.5 lookup 502 protocol 201
ip route replace default table main proto 201 nexthop via 192.0.2.1 dev eth1 weight 1 nexthop via 198.51.100.1 dev eth2 weight 2`)
	if diff := cmp.Diff(want, text(apply(t, f, routestest.Set(true, one, two)))); diff != "" {
		t.Errorf("a second uplink (-want +got):\n%s", diff)
	}
	want = strings.TrimSpace(`
ip route replace default via 198.51.100.1 dev eth2 table main proto 201
ip rule del pref 20101 fwmark 0x1/0xff lookup 501 protocol 201
ip rule del pref 20301 from 192.0.2.5 lookup 501 protocol 201
ip route del default table 501 metric 0 proto 201
ip route del prohibit default table 501 metric 65535 proto 201
ip addr del 192.0.2.5/24 dev eth1
sysctl -w net/ipv4/conf/eth1/rp_filter=0`)
	if diff := cmp.Diff(want, text(apply(t, f, routestest.Set(true, two)))); diff != "" {
		t.Errorf("the first taken out (-want +got):\n%s", diff)
	}
	if plan := apply(t, f, routestest.Set(true, two)); len(plan.Ops) != 0 {
		t.Errorf("a second time: %s", text(plan))
	}
}

// Before everything is known nothing is deleted.
func TestNothingIsPrunedAtFirst(t *testing.T) {
	f := routestest.ThreeLinks()
	apply(t, f, routestest.Set(true, one, two))
	if plan := routes.Diff(routestest.Set(false, two), read(t, f, routestest.Set(false, two))); strings.Contains(text(plan), " del ") {
		t.Errorf("deletes:\n%s", text(plan))
	}
}

// A new lease, with another address and gateway, is one plan: the new ones in
// place before the old ones go.
func TestAnotherLease(t *testing.T) {
	f := routestest.ThreeLinks()
	apply(t, f, routestest.Set(true, one, two))
	moved := one
	moved.Address, moved.Gateway = "192.0.3.9/24", "192.0.3.1"
	want := strings.TrimSpace(`
ip addr replace 192.0.3.9/24 dev eth1 proto 201
ip route replace default via 192.0.3.1 dev eth1 table 501 proto 201
ip rule add pref 20301 from 192.0.3.9 lookup 501 protocol 201
ip route replace default table main proto 201 nexthop via 192.0.3.1 dev eth1 weight 1 nexthop via 198.51.100.1 dev eth2 weight 2
ip rule del pref 20301 from 192.0.2.5 lookup 501 protocol 201
ip addr del 192.0.2.5/24 dev eth1`)
	if diff := cmp.Diff(want, text(apply(t, f, routestest.Set(true, moved, two)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Hosts of the LAN take their network from its interface: it comes there when our nft table translates it, whether
// that is new or changes. From a failure of TestIPv6Policies: 1 of 20 connections left by one provider with the
// other's address.
func TestLANIsTranslatedFirst(t *testing.T) {
	for name, have := range map[string]string{"a new table": "", "a changed one": "another"} {
		lan := routes.Address{Interface: "lan0", Prefix: netip.MustParsePrefix("2001:db8:1:101::1/64"), Protocol: 201}
		wan := routes.Address{Interface: "eth1", Prefix: netip.MustParsePrefix("2001:db8:1::5/64"), Protocol: 201}
		plan := routes.Diff(routes.Set{
			Owner: owner, Observe: []string{"eth1", "lan0"}, Inside: []string{"lan0"},
			Addresses: []routes.Address{lan, wan}, Firewall: &firewall.Table{Name: "uplinkd"},
		}, routes.State{Links: []routes.Link{{Name: "eth1", Up: true}, {Name: "lan0", Up: true}}, Firewall: have})
		order := []string{}
		for _, op := range plan.Ops {
			switch op := op.(type) {
			case routes.PutAddress:
				order = append(order, op.Address.Interface)
			case routes.PutFirewall:
				order = append(order, "table")
			}
		}
		if want := []string{"eth1", "table", "lan0"}; !slices.Equal(order, want) {
			t.Errorf("%s: %v, want %v", name, order, want)
		}
	}
}

// One member whose link has just gone down must not keep the rest from changing.
func TestMemberGone(t *testing.T) {
	f := routestest.ThreeLinks()
	apply(t, f, routestest.Set(true, one, two, three))
	f.Edit(func(s *routes.State) { s.Links[0].Up = false })
	plan := routes.Diff(routestest.Set(true, one, two, three), read(t, f, routestest.Set(true, one, two, three)))
	for _, op := range plan.Ops {
		if replace, ok := op.(routes.ReplaceRoute); ok && slices.ContainsFunc(replace.Route.NextHops, func(h routes.NextHop) bool {
			return h.Interface == "eth1"
		}) {
			t.Errorf("would send to a link that is down: %s", op)
		}
	}
}

// Whose a route is decides. A replace takes the first of a key: ours is replaced before a
// foreign one, and behind it deleted, so that it leads to no dead uplink when the foreign
// one goes; none of ours is added beside it. From the first review, and from an attack:
// ours was frozen, with a dead nexthop, as long as the foreign one was there.
func TestForeignRouteOnOurKey(t *testing.T) {
	for place, want := range map[string]string{
		"alone": "", "before ours": "ip route del default table main metric 0 proto 201",
		"behind ours": "ip route replace default table main proto 201 nexthop via 192.0.2.1 dev eth1 weight 1 " +
			"nexthop via 198.51.100.1 dev eth2 weight 2",
	} {
		f := routestest.ThreeLinks()
		apply(t, f, routestest.Set(true, one))
		f.Edit(func(s *routes.State) {
			foreign := routestest.DefaultRoute(254, 0, routes.NextHop{Interface: "eth3", Gateway: netip.MustParseAddr("10.0.0.9"), Weight: 1})
			foreign.Protocol = 4
			s.Routes = slices.DeleteFunc(s.Routes, func(r routes.Route) bool { return r.Table == 254 && place == "alone" })
			if place == "behind ours" {
				s.Routes = append(s.Routes, foreign)
			} else {
				s.Routes = append([]routes.Route{foreign}, s.Routes...)
			}
		})
		plan := routes.Diff(routestest.Set(true, one, two), read(t, f, routestest.Set(true, one, two)))
		if len(plan.Conflicts) != 1 {
			t.Errorf("%s: %d conflicts, want 1", place, len(plan.Conflicts))
		}
		onKey := ""
		for line := range strings.Lines(text(plan)) {
			if strings.Contains(line, "default table main") {
				onKey += strings.TrimSpace(line)
			}
		}
		if onKey != want {
			t.Errorf("%s: does %q, want %q", place, onKey, want)
		}
	}
}

func TestLifetimes(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		have, want time.Duration // 0: for ever
		ops        int
	}{
		{0, 0, 0},
		{time.Hour, time.Hour, 0},
		{time.Hour - time.Minute, time.Hour, 0},        // a daemon started again a minute after
		{time.Hour - 10*time.Minute, time.Hour, 1},     // renewed
		{time.Hour + time.Minute, time.Hour, 1},        // it must not outlive the lease
		{time.Minute, time.Minute + 10*time.Second, 1}, // near the end the slack is small
		{0, time.Hour, 1},
		{time.Hour, 0, 1},
	} {
		until := func(d time.Duration) time.Time {
			if d == 0 {
				return time.Time{}
			}
			return now.Add(d)
		}
		address := routes.Address{Interface: "eth1", Prefix: netip.MustParsePrefix("192.0.2.5/24"), Protocol: 201}
		have, want := address, address
		have.Until, want.Until = until(tt.have), until(tt.want)
		plan := routes.Diff(routes.Set{Owner: owner, Addresses: []routes.Address{want}}, routes.State{
			At: now, Links: []routes.Link{{Name: "eth1", Index: 2, Up: true}}, Addresses: []routes.Address{have},
		})
		if len(plan.Ops) != tt.ops {
			t.Errorf("has %v, wants %v: %d operations, want %d", tt.have, tt.want, len(plan.Ops), tt.ops)
		}
	}
	// What another program has set is as good, and not ours to change; but in IPv6 that which ends before ours.
	for prefix, tt := range map[string]struct {
		ends bool // the foreign one
		ops  int
	}{"192.0.2.5/24": {false, 0}, "192.0.2.6/24": {true, 0}, "2001:db8::5/64": {false, 0}, "2001:db8::6/64": {true, 1}} {
		foreign := routes.Address{Interface: "eth1", Prefix: netip.MustParsePrefix(prefix)}
		mine := foreign
		mine.Protocol, mine.Until = 201, now.Add(time.Hour)
		if tt.ends {
			foreign.Until = now.Add(time.Minute)
		}
		plan := routes.Diff(routes.Set{Owner: owner, Prune: true, Addresses: []routes.Address{mine}}, routes.State{
			At: now, Links: []routes.Link{{Name: "eth1", Index: 2, Up: true}}, Addresses: []routes.Address{foreign},
		})
		if len(plan.Ops) != tt.ops {
			t.Errorf("a foreign address %s: %s", prefix, text(plan))
		}
	}
}

// The promise the order is for: from any state to any other, after every prefix
// of the plan, a packet that had a live uplink before and has one afterwards has
// one all the while; and at the end the kernel holds what is wanted.
func TestEveryPrefixKeepsTraffic(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() []routestest.Wan {
		var list []routestest.Wan
		for n := 1; n <= 3; n++ {
			if random.IntN(4) == 0 {
				continue
			}
			net := random.IntN(2) + n*10
			list = append(list, routestest.Wan{
				N: n, Address: fmt.Sprintf("10.0.%d.%d/24", net, 5+random.IntN(2)), Gateway: fmt.Sprintf("10.0.%d.1", net),
				Table: uint32(500 + n + 10*random.IntN(2)), Carries: random.IntN(3) > 0,
			})
		}
		return list
	}
	for round := range 2000 {
		from, to := pick(), pick()
		f := routestest.ThreeLinks()
		apply(t, f, routestest.Set(true, from...))
		want := routestest.Set(true, to...)
		plan := routes.Diff(want, read(t, f, want))
		packets := packetsOf(from, to)
		before := lookups(f.State(), packets)
		states := []map[string]string{}
		for _, op := range plan.Ops {
			if err := f.Do(context.Background(), op); err != nil {
				t.Fatalf("round %d: %s: %v\nplan:\n%s", round, op, err, text(plan))
			}
			states = append(states, lookups(f.State(), packets))
		}
		after := lookups(f.State(), packets)
		for i, s := range states {
			for packet, exit := range s {
				if exit == "" && before[packet] != "" && after[packet] != "" {
					t.Fatalf("round %d: after %d operations %s has no way out (before %s, at the end %s)\nplan:\n%s",
						round, i+1, packet, before[packet], after[packet], text(plan))
				}
				// Of an address that keeps its uplink the way must be the right one, not just one.
				if packet != "packet from "+(netip.Addr{}).String() && before[packet] == after[packet] && exit != after[packet] {
					t.Fatalf("round %d: after %d operations %s leaves by %q (before and at the end %q)\nplan:\n%s",
						round, i+1, packet, exit, after[packet], text(plan))
				}
			}
		}
		if again := routes.Diff(want, read(t, f, want)); len(again.Ops) != 0 {
			t.Fatalf("round %d: the second plan is not empty:\n%s", round, text(again))
		}
	}
}

// packetsOf returns the packets that matter to those uplinks: without a source,
// and with each source address.
func packetsOf(lists ...[]routestest.Wan) []netip.Addr {
	packets := []netip.Addr{{}}
	for _, w := range slices.Concat(lists...) {
		packets = append(packets, netip.MustParsePrefix(w.Address).Addr())
	}
	return packets
}

// lookups returns the interfaces each packet to the Internet may leave by, as the
// kernel would find them.
func lookups(s routes.State, packets []netip.Addr) map[string]string {
	exits := map[string]string{}
	for _, source := range packets {
		exits["packet from "+source.String()] = lookup(s, source)
	}
	return exits
}

func lookup(s routes.State, source netip.Addr) string {
	rules := slices.Clone(s.Rules)
	rules = append(rules, routes.Rule{Priority: 32766, Table: 254})
	slices.SortStableFunc(rules, func(a, b routes.Rule) int { return int(a.Priority) - int(b.Priority) })
	for _, rule := range rules {
		if rule.SuppressDefault || rule.Mask != 0 || rule.From.IsValid() && (!source.IsValid() || !rule.From.Contains(source)) {
			continue
		}
		var best *routes.Route
		for i := range s.Routes {
			r := &s.Routes[i]
			if r.Table == rule.Table && (best == nil || r.Metric < best.Metric) {
				best = r
			}
		}
		if best != nil {
			names := ""
			for _, hop := range best.NextHops {
				names += hop.Interface + " "
			}
			return names // a prohibit route ends the search too
		}
	}
	return ""
}

func BenchmarkDiffInSync(b *testing.B) {
	f := routestest.ThreeLinks()
	want := routestest.Set(true, one, two, three)
	have, err := f.Read(context.Background(), routes.ScopeOf(want))
	if err != nil {
		b.Fatal(err)
	}
	for _, op := range routes.Diff(want, have).Ops {
		if err := f.Do(context.Background(), op); err != nil {
			b.Fatal(err)
		}
	}
	if have, err = f.Read(context.Background(), routes.ScopeOf(want)); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if len(routes.Diff(want, have).Ops) != 0 {
			b.Fatal("not in sync")
		}
	}
}

// BenchmarkApply is what an operation makes of a state, for a plan and for what is seen after it.
func BenchmarkApply(b *testing.B) {
	f := routestest.ThreeLinks()
	want := routestest.Set(true, one, two, three)
	have, err := f.Read(context.Background(), routes.ScopeOf(want))
	if err != nil {
		b.Fatal(err)
	}
	ops := routes.Diff(want, have).Ops
	b.ReportAllocs()
	for b.Loop() {
		for _, op := range ops {
			have = routes.Apply(have, op)
		}
	}
	b.ReportMetric(float64(len(ops)), "messages/op")
}
