package kernel_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
)

var owner = routes.Owner{Protocol: 201, RulePriority: 20000}

// wires gives this namespace two interfaces, wan1 and wan2, up and bare.
func wires(tb testing.TB) *lab.Namespace {
	tb.Helper()
	host, err := lab.Host()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(host.Close)
	for _, name := range []string{"wan1", "wan2"} {
		if err := host.Wire(name, host, name+"x"); err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = host.DeleteLink(name) })
	}
	return host
}

func full() routes.Set {
	route := func(table, metric uint32, hops ...routes.NextHop) routes.Route {
		return routes.Route{
			RouteKey: routes.RouteKey{Table: table, Dst: netip.MustParsePrefix("0.0.0.0/0"), Metric: metric},
			NextHops: hops, Protocol: 201,
			Options: routes.Options{InitCwnd: 70, InitRwnd: 70, QuickAck: true, RTOMin: 40 * time.Millisecond, MTU: 1400, AdvMSS: 1360},
		}
	}
	beneath := route(501, 65535)
	beneath.Type, beneath.Options = routes.Prohibit, routes.Options{}
	one := routes.NextHop{Interface: "wan1", Gateway: netip.MustParseAddr("192.0.2.1"), Weight: 1}
	two := routes.NextHop{Interface: "wan2", Gateway: netip.MustParseAddr("203.0.113.1"), OnLink: true, Weight: 256}
	bare := routes.NextHop{Interface: "wan2", Weight: 1}
	return routes.Set{
		Owner: owner, Prune: true, Observe: []string{"wan1", "wan2"},
		Settings: []routes.Setting{{Name: "net/ipv4/conf/wan1/rp_filter", Value: "2"}, {Name: "net/ipv4/fib_multipath_hash_policy", Value: "1"}},
		Addresses: []routes.Address{
			{Interface: "wan1", Prefix: netip.MustParsePrefix("192.0.2.5/24"), Protocol: 201},
			{Interface: "wan2", Prefix: netip.MustParsePrefix("198.51.100.5/32"), Protocol: 201, Until: time.Now().Add(time.Hour)},
		},
		Tables: []routes.Route{route(501, 0, one), beneath, route(70000, 0, bare)},
		Rules: []routes.Rule{
			{Priority: 20000, Table: 254, SuppressDefault: true, Protocol: 201},
			{Priority: 20100, Mark: 0x97, Mask: 0xff, Table: 501, Protocol: 201},
			{Priority: 20300, From: netip.MustParsePrefix("192.0.2.5/32"), Table: 70000, Protocol: 201},
		},
		Default: []routes.Route{route(254, 0, one, two)},
	}
}

func read(tb testing.TB, k *kernel.Kernel, want routes.Set) routes.State {
	tb.Helper()
	have, err := k.Read(context.Background(), routes.ScopeOf(want))
	if err != nil {
		tb.Fatal(err)
	}
	return have
}

func openKernel(tb testing.TB) *kernel.Kernel {
	tb.Helper()
	k, err := kernel.Open(tb.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(k.Close)
	return k
}

func do(tb testing.TB, k *kernel.Kernel, ops []routes.Op) {
	tb.Helper()
	for _, op := range ops {
		if err := k.Do(context.Background(), op); err != nil {
			tb.Fatalf("%s: %v", op, err)
		}
	}
}

// What an operation prints is what ip and sysctl take, and does the same: a plan
// carried out by hand leaves nothing to do, and so does its cleanup.
func TestPlanTextDoesTheSame(t *testing.T) {
	labtest.Need(t)
	wires(t)
	want := full()
	for i := range want.Addresses {
		want.Addresses[i].Until = time.Time{}
	}
	k := openKernel(t)
	plan := routes.Diff(want, read(t, k, want))
	if len(plan.Ops) < 10 {
		t.Fatalf("a plan of %d operations: %v", len(plan.Ops), plan.Ops)
	}
	byHand(t, plan)
	if left := routes.Diff(want, read(t, k, want)); onlyTags(left) != "" {
		t.Errorf("after the plan by hand there is left:\n%s", onlyTags(left))
	}
	do(t, k, routes.Diff(want, read(t, k, want)).Ops)
	byHand(t, routes.Cleanup(owner, read(t, k, want)))
	if left := routes.Cleanup(owner, read(t, k, want)); onlyTags(left) != "" {
		t.Errorf("after the cleanup by hand there is left:\n%s", onlyTags(left))
	}
}

func byHand(t *testing.T, plan routes.Plan) {
	t.Helper()
	for _, op := range plan.Ops {
		command := op.String()
		if strings.HasPrefix(command, "ip addr replace") {
			// iproute2 before 6.3 cannot name the protocol of an address.
			command, _, _ = strings.Cut(command, " proto ")
		}
		if strings.HasPrefix(command, "sysctl") {
			name, value, _ := strings.Cut(strings.TrimPrefix(command, "sysctl -w "), "=")
			command = "echo " + value + " > /proc/sys/" + name
		}
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}

// onlyTags leaves out what by hand cannot be said: whose an address is, and what
// a setting was.
func onlyTags(plan routes.Plan) string {
	var lines []string
	for _, op := range plan.Ops {
		switch op.(type) {
		case routes.PutAddress, routes.DeleteAddress, routes.RestoreSetting, routes.WriteSetting:
		default:
			lines = append(lines, op.String())
		}
	}
	return strings.Join(lines, "\n")
}

// Applied twice, the second time does nothing; cleaned up, nothing is left.
func TestTwiceIsOnce(t *testing.T) {
	labtest.Need(t)
	wires(t)
	k := openKernel(t)
	want := full()
	before := listing(t)
	do(t, k, routes.Diff(want, read(t, k, want)).Ops)
	if again := routes.Diff(want, read(t, k, want)); len(again.Ops) != 0 {
		t.Errorf("the second plan: %v", again.Ops)
	}
	do(t, k, routes.Cleanup(owner, read(t, k, want)).Ops)
	if after := listing(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func listing(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", "ip rule; ip route show table all; ip -4 addr").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// What others put there meanwhile stays theirs: an address that ours was before
// (from the first review), a link with a VLAN on it.
func TestCleanupLeavesOthersAlone(t *testing.T) {
	labtest.Need(t)
	host := wires(t)
	k := openKernel(t)
	want := full()
	if err := host.SetLink("wan2", false); err != nil {
		t.Fatal(err)
	}
	want.Links = []string{"wan2"}
	do(t, k, routes.Diff(want, read(t, k, want)).Ops)
	for _, command := range []string{
		"ip addr del 192.0.2.5/24 dev wan1", "ip addr add 192.0.2.5/24 dev wan1",
		"ip link add link wan2 name mv0 type macvlan",
	} {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	for _, op := range routes.Cleanup(owner, read(t, k, want)).Ops {
		// Before Linux 5.18 an address has no tag, and the one that ours was before looks like it.
		address := keepsAddressTags(t) && strings.Contains(op.String(), "addr del 192.0.2.5")
		if s := op.String(); address || strings.Contains(s, "link set dev wan2 down") {
			t.Errorf("takes what is not ours: %s", s)
		}
	}
	do(t, k, routes.Cleanup(owner, read(t, k, want)).Ops)
}

// keepsAddressTags reports whether this kernel is Linux 5.18 or later.
func keepsAddressTags(t *testing.T) bool {
	t.Helper()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	major, minor := 0, 0
	if _, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 5 || major == 5 && minor >= 18
}

func TestWatcher(t *testing.T) {
	labtest.Need(t)
	host := wires(t)
	w, err := kernel.NewWatcher(openKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan struct{}, 100)
	done := make(chan error)
	go func() {
		done <- w.Watch(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	for what, change := range map[string]func() error{
		"link":    func() error { return host.SetLink("wan1", false) },
		"address": func() error { return host.Address("wan2", netip.MustParsePrefix("192.0.2.9/24")) },
		"route":   func() error { return exec.Command("ip", "route", "add", "10.9.0.0/16", "dev", "wan2").Run() },
		"rule":    func() error { return exec.Command("ip", "rule", "add", "pref", "7", "lookup", "9").Run() },
	} {
		time.Sleep(50 * time.Millisecond)
		for len(woken) > 0 {
			<-woken
		}
		if err := change(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-woken:
		case <-time.After(2 * time.Second):
			t.Errorf("not woken by a change of a %s", what)
		}
	}
	_ = exec.Command("ip", "rule", "del", "pref", "7").Run()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkRead(b *testing.B) {
	labtest.Need(b)
	wires(b)
	k := openKernel(b)
	want := full()
	do(b, k, routes.Diff(want, read(b, k, want)).Ops)
	defer func() { do(b, k, routes.Cleanup(owner, read(b, k, want)).Ops) }()
	b.ReportAllocs()
	for b.Loop() {
		read(b, k, want)
	}
}

func BenchmarkReplaceDefault(b *testing.B) {
	labtest.Need(b)
	wires(b)
	k := openKernel(b)
	want := full()
	do(b, k, routes.Diff(want, read(b, k, want)).Ops)
	defer func() { do(b, k, routes.Cleanup(owner, read(b, k, want)).Ops) }()
	both := want.Default[0]
	alone := both
	alone.NextHops = both.NextHops[:1]
	for b.Loop() {
		do(b, k, []routes.Op{routes.ReplaceRoute{Route: alone}, routes.ReplaceRoute{Route: both}})
	}
}

// An interface's MTU is set and given back as a sysctl is, over a restart too;
// one that somebody else has set since is theirs.
func TestMTU(t *testing.T) {
	labtest.Need(t)
	wires(t)
	dir := t.TempDir()
	open := func() *kernel.Kernel {
		k, err := kernel.Open(dir, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(k.Close)
		return k
	}
	mtu := func() string {
		shown, err := exec.Command("ip", "-o", "link", "show", "dev", "wan1").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, shown)
		}
		_, rest, _ := strings.Cut(string(shown), " mtu ")
		return strings.Fields(rest)[0]
	}
	want := routes.Set{
		Owner: owner, Prune: true, Observe: []string{"wan1"},
		Settings: []routes.Setting{routes.NewMTU("wan1", "1400")},
	}
	k := open()
	plan := routes.Diff(want, read(t, k, want))
	if len(plan.Ops) != 1 || plan.Ops[0].String() != "ip link set dev wan1 mtu 1400" {
		t.Fatalf("the plan is %v", plan.Ops)
	}
	do(t, k, plan.Ops)
	if got := mtu(); got != "1400" {
		t.Errorf("the MTU is %s, want 1400", got)
	}
	if again := routes.Diff(want, read(t, k, want)); len(again.Ops) != 0 {
		t.Errorf("not settled: %v", again.Ops)
	}
	later := open()
	none := routes.Set{Owner: owner, Prune: true, Observe: []string{"wan1"}}
	do(t, later, routes.Diff(none, read(t, later, none)).Ops)
	if got := mtu(); got != "1500" {
		t.Errorf("given back as %s, want 1500", got)
	}
}
