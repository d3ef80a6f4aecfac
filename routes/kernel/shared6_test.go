package kernel_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
)

// wires6 gives this namespace two interfaces with IPv6.
func wires6(tb testing.TB) {
	tb.Helper()
	wires(tb)
	for _, args := range []string{
		"-6 address add 2001:db8:1::5/64 dev wan1 nodad", "-6 address add 2001:db8:2::5/64 dev wan2 nodad",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			tb.Fatalf("ip %s: %v\n%s", args, err, out)
		}
	}
}

// default6 returns a default route of ours over wan1 and wan2.
func default6(weights ...int) routes.Route {
	r := routes.Route{
		RouteKey: routes.RouteKey{Table: routes.TableMain, Dst: netip.MustParsePrefix("::/0"), Metric: 1}, Protocol: 201,
	}
	for i, weight := range weights {
		if weight > 0 {
			gateway := netip.MustParseAddr(fmt.Sprintf("2001:db8:%d::1", i+1))
			r.NextHops = append(r.NextHops, routes.NextHop{Interface: fmt.Sprintf("wan%d", i+1), Gateway: gateway, Weight: weight})
		}
	}
	return r
}

var scope6 = routes.Scope{Owner: owner, Links: []string{"wan1", "wan2"}, Shared: []uint32{routes.TableMain}, IPv6: true}

// watched returns a Kernel that is told what changes.
func watched(tb testing.TB) *kernel.Kernel {
	tb.Helper()
	k := openKernel(tb)
	w, err := kernel.NewWatcher(k)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error)
	go func() { done <- w.Watch(ctx, func() {}) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return k
}

// read6 returns the routes of scope6, in order.
func read6(tb testing.TB, k *kernel.Kernel) (all []string) {
	tb.Helper()
	have, err := k.Read(tb.Context(), scope6)
	if err != nil {
		tb.Fatal(err)
	}
	for _, r := range have.Routes {
		if r.Dst.Addr().Is6() {
			all = append(all, r.String())
		}
	}
	slices.Sort(all)
	return all
}

// Whatever we and others do to main, in IPv6 too, what is remembered is what the kernel lists.
func TestSharedTableIsAsTheKernelLists(t *testing.T) {
	labtest.Need(t)
	wires6(t)
	k, fresh := watched(t), openKernel(t)
	random := rand.New(rand.NewPCG(5, 2)) //nolint:gosec // the same each time
	inside := routes.Route{
		RouteKey: routes.RouteKey{Table: routes.TableMain, Dst: netip.MustParsePrefix("2001:db8:1:100::/56"), Metric: 65535},
		Type:     routes.Unreachable, Protocol: 201,
	}
	foreign := []string{
		"-6 route replace default via 2001:db8:2::9 dev wan2 metric 1",
		"-6 route append default via 2001:db8:2::9 dev wan2 metric 1",
		"-6 route add default via 2001:db8:1::9 dev wan1 metric 9",
		"-6 route del default metric 9",
		"-6 route del default metric 1",
		"-6 route del default via 2001:db8:1::1 dev wan1",
		"-6 route add 2001:db8:77::/48 via 2001:db8:1::9 proto bird",
		"-6 route del 2001:db8:77::/48",
		"-6 route add unreachable default metric 5",
		"-6 route del unreachable default metric 5",
		"-6 route del unreachable 2001:db8:1:100::/56",
		"-6 route flush default",
		"link set wan1 down",
		"link set wan1 up",
		"link set wan2 down",
		"link set wan2 up",
		"-6 address replace 2001:db8:1::5/64 dev wan1 nodad",
		"-6 address del 2001:db8:1::5/64 dev wan1",
		"-6 address replace 2001:db8:2::5/64 dev wan2 nodad",
		"-6 route append default dev wan2 metric 1",
		"-6 route replace unreachable 2001:db8:1:100::/56 metric 65535 proto static",
		"link set wan1 name wan9",
		"link set wan9 name wan1",
	}
	differ := 0
	for range 600 {
		var what string
		switch random.IntN(12) {
		case 0: // a while without IPv6
			without := scope6
			without.IPv6 = false
			_, _ = k.Read(t.Context(), without)
			what = "IPv6 off, and " + foreign[random.IntN(len(foreign))]
			_ = exec.Command("ip", strings.Fields(what)[3:]...).Run()
		case 1, 2, 3:
			ops := []routes.Op{
				routes.ReplaceRoute{Route: default6(2, 1)},
				routes.ReplaceRoute{Route: default6(0, 1)},
				routes.ReplaceRoute{Route: default6(1+random.IntN(5), 0)},
				routes.DeleteRoute{Route: default6(2, 1)},
				routes.AddRoute{Route: inside},
				routes.DeleteRoute{Route: inside},
			}
			op := ops[random.IntN(len(ops))]
			what = fmt.Sprint(op, " ", k.Do(t.Context(), op))
		default:
			what = foreign[random.IntN(len(foreign))]
			_ = exec.Command("ip", strings.Fields(what)...).Run()
		}
		var have, want []string
		for try := time.Now(); time.Since(try) < 300*time.Millisecond; time.Sleep(time.Millisecond) { // the event is on its way
			if have, want = read6(t, k), read6(t, fresh); slices.Equal(have, want) {
				break
			}
			differ++
		}
		if !slices.Equal(have, want) {
			t.Fatalf("after %s:\nremembered %q\nlisted     %q", what, have, want)
		}
	}
	t.Logf("%d of 600 reads came before the event", differ)
}

// A Read beside the Internet's routes in IPv6, after a change of ours and when nothing has
// changed. Each listed them all: the kernel lists the default route last.
func BenchmarkReadBesideManyOfIPv6(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			labtest.Need(b)
			wires6(b)
			var batch strings.Builder
			for i := range n {
				fmt.Fprintf(&batch, "route add 2002:%x:%x::/48 via 2001:db8:1::9 proto bird\n", i>>16, i&0xffff)
			}
			file := filepath.Join(b.TempDir(), "routes")
			if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
				b.Fatal(err)
			}
			if out, err := exec.Command("ip", "-6", "-batch", file).CombinedOutput(); err != nil {
				b.Fatalf("%v\n%s", err, out)
			}
			k := watched(b)
			read6(b, k)
			for i := 0; b.Loop(); i++ {
				if err := k.Do(b.Context(), routes.ReplaceRoute{Route: default6(1+i%2, 1)}); err != nil {
					b.Fatal(err)
				}
				read6(b, k)
			}
		})
	}
}
