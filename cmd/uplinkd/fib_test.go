package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab/labtest"
)

// A router with the Internet's routes, of which five change each second. Each change
// had all of them read: 90 % of a core beside 200,000 routes, and beside 1,000,000 a
// dead uplink's route 1.4 to 2 s late (c82b5ea). UPLINKD_ROUTES says how many to make.
func TestManyForeignRoutes(t *testing.T) {
	labtest.Measured(t)
	runs, counts := 1, []int{50_000}
	if text := os.Getenv("UPLINKD_ROUTES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		runs, counts = runsOr(t, 21), []int{0, n}
	}
	table := figures.Table{
		Title:   "Beside routes",
		About:   "So many routes of others, of which five change each second: what the daemon takes, and the time from doubt to the new default route.",
		Command: "UPLINKD_ROUTES=1000000 go test -run TestManyForeignRoutes ./cmd/uplinkd",
		Limit:   "each change of a route is one event to read; of IPv6's the kernel lists a table whole, or not at all.",
		Columns: []string{"family", "routes of others", "of a core, %", "new route after doubt, ms"},
	}
	for _, name := range []string{"IPv4", "IPv6"} {
		internet := map[string]internet{"IPv4": internet4, "IPv6": internet6}[name]
		t.Run(name, func(t *testing.T) {
			var with routesCost
			for _, routes := range counts {
				t.Run(fmt.Sprint(routes), func(t *testing.T) { with = besideRoutes(t, internet, routes, runs) })
				t.Logf("%d foreign routes, 5 changed each second: %.2f%% of a core, the new route %v after doubt",
					routes, with.percent, with.late.Round(100*time.Microsecond))
				table.Rows = append(table.Rows, []string{
					name, figures.Number(float64(routes)), figures.Number(with.percent), figures.Number(with.late.Seconds() * 1000),
				})
			}
			if with.percent > 5 {
				t.Errorf("%.1f%% of a core used beside the routes of others, want 5%% at most", with.percent)
			}
			if with.late > 200*time.Millisecond {
				t.Errorf("the new route came %v after doubt, want 200 ms at most", with.late)
			}
		})
	}
	if len(counts) > 1 {
		if err := table.Keep(); err != nil {
			t.Fatal(err)
		}
	}
}

// An internet is a family's: where its routes lead to, by which router in the LAN.
type internet struct {
	v6              bool
	address, router string
	network         func(i int) string // one of some million networks that no lab uses
}

var (
	internet4 = internet{address: "192.168.78.1/24", router: "192.168.78.2", network: func(i int) string {
		return fmt.Sprintf("%d.%d.%d.0/24", 20+i>>16, i>>8&0xff, i&0xff)
	}}
	internet6 = internet{v6: true, address: "fd78::1/64 nodad", router: "fd78::2", network: func(i int) string {
		return fmt.Sprintf("2003:%x:%x::/48", i>>16, i&0xffff)
	}}
)

// ip returns a command of ip(8).
func (i internet) ip(args ...string) *exec.Cmd {
	if i.v6 {
		args = append([]string{"-6"}, args...)
	}
	return exec.Command("ip", args...)
}

// routesCost is what routes of others cost: part of a core, in percent, while five of them change
// each second, and the time from doubt to the new default route.
type routesCost struct {
	percent float64
	late    time.Duration
}

// benchFor returns two uplinks up, in both families where it is about IPv6, and the program that
// runs them, beside n routes of others.
func benchFor(t *testing.T, of internet, n int) *bench {
	t.Helper()
	var b *bench
	const quick = "probe: {max_loss: 0, hold_down: 0s}\n"
	if of.v6 {
		b = newBench6(t, 2)
		b.routers()
		b.configure(b.dual(2, 1), quick)
	} else {
		b = newBench(t, 2)
		b.configure(b.static(2, 1), quick)
	}
	program := b.build()
	b.manyRoutes(of, n)
	b.launch(exec.Command(program, "run", "-c", b.config))
	b.untilUp(of)
	return b
}

// untilUp waits for both uplinks.
func (b *bench) untilUp(of internet) {
	b.Helper()
	b.untilStates(30*time.Second, "up", "up")
	if of.v6 {
		b.untilStates6(30*time.Second, "up", "up")
	}
}

// besideRoutes measures that beside so many, in the median of so many switches.
func besideRoutes(t *testing.T, of internet, n, runs int) (cost routesCost) {
	t.Helper()
	b := benchFor(t, of, n)
	stop := b.changeRoutes(of, n)
	time.Sleep(time.Second)
	var percents []float64
	var lates []time.Duration
	// The median second: in few of them the survey of all routes is at work.
	for range 2*runs + 3 {
		before := cpuTime(t, b.cmd.Process.Pid)
		time.Sleep(time.Second)
		percents = append(percents, 100*(cpuTime(t, b.cmd.Process.Pid)-before).Seconds())
	}
	for range runs {
		last := b.lastEvent()
		changed := b.defaultWithout(of, b.world.ISPs[0].Interface)
		b.ok(b.world.ISPs[0].SilenceIn(of.v6, true))
		doubt := b.verdictTime(last, "doubtful") // by then new connections go elsewhere
		select {
		case at := <-changed:
			lates = append(lates, at.Sub(doubt))
		case <-time.After(5 * time.Second):
			t.Fatal("the dead uplink stays in the default route")
		}
		b.ok(b.world.ISPs[0].SilenceIn(of.v6, false))
		b.untilUp(of)
	}
	slices.Sort(percents)
	slices.Sort(lates)
	cost = routesCost{percents[len(percents)/2], lates[len(lates)/2]}
	stop()
	b.kill(15)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Errorf("cleanup: %v\n%s", err, out)
	}
	return cost
}

// manyRoutes gives the host n routes of a routing daemon's, to a router in the LAN.
func (b *bench) manyRoutes(of internet, n int) {
	b.Helper()
	b.kernel("ip link add bgp0 type veth peer name bgp1 && ip link set bgp0 up && ip link set bgp1 up",
		"ip addr add "+of.address+" dev bgp0")
	b.Cleanup(func() { _ = exec.Command("ip", "link", "del", "bgp0").Run() })
	var batch strings.Builder
	for i := range n {
		fmt.Fprintf(&batch, "route add %s via %s proto bird\n", of.network(i), of.router)
	}
	file := filepath.Join(b.dir, "routes")
	b.ok(os.WriteFile(file, []byte(batch.String()), 0o600))
	if out, err := of.ip("-batch", file).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
}

// changeRoutes adds and removes routes, five changes a second, until it is told to stop.
func (b *bench) changeRoutes(of internet, from int) (stop func()) {
	b.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			verb := []string{"add", "del"}[i%2]
			_ = of.ip("route", verb, of.network(from), "via", of.router, "proto", "bird").Run()
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// defaultWithout tells when the kernel first says that its default route, in main, leads
// by an interface no more.
func (b *bench) defaultWithout(of internet, name string) <-chan time.Time {
	b.Helper()
	cmd := of.ip("-o", "monitor", "route")
	out, err := cmd.StdoutPipe()
	b.ok(err)
	b.ok(cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	time.Sleep(50 * time.Millisecond)
	at := make(chan time.Time, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := lines.Text()
			if strings.HasPrefix(line, "default") && !strings.Contains(line, name) && !strings.Contains(line, " table ") {
				at <- time.Now()
				return
			}
		}
	}()
	return at
}
