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
	"sync"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
)

// A router with the Internet's routes, of which five change each second. Each change
// had all of them read: 90 % of a core beside 200,000 routes, and beside 1,000,000 a
// dead uplink's route 1.4 to 2 s late (c82b5ea). UPLINKD_ROUTES says how many to make.
func TestManyForeignRoutes(t *testing.T) {
	labtest.Measured(t)
	n, runs := 50_000, 1
	if text := os.Getenv("UPLINKD_ROUTES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
		runs = 21
	}
	without := besideRoutes(t, 0, runs)
	with := besideRoutes(t, n, runs)
	for routes, c := range map[int]routesCost{0: without, n: with} {
		t.Logf("%d foreign routes, 5 changed each second: %.2f%% of a core, the new route %v after doubt",
			routes, c.percent, c.late.Round(100*time.Microsecond))
	}
	if with.percent > 5 {
		t.Errorf("%.1f%% of a core used beside the routes of others, want 5%% at most", with.percent)
	}
	if with.late > 200*time.Millisecond {
		t.Errorf("the new route came %v after doubt, want 200 ms at most", with.late)
	}
}

// routesCost is what routes of others cost: part of a core, in percent, while five of them change
// each second, and the time from doubt to the new default route.
type routesCost struct {
	percent float64
	late    time.Duration
}

// besideRoutes measures that beside so many, in the median of so many switches.
func besideRoutes(t *testing.T, n, runs int) (cost routesCost) {
	t.Helper()
	b := newBench(t, 2)
	b.configure(b.static(2, 1), "probe: {max_loss: 0, hold_down: 0s}\n")
	program := b.build()
	undo := b.manyRoutes(n)
	b.launch(exec.Command(program, "run", "-c", b.config))
	b.untilStates(30*time.Second, "up", "up")

	stop := b.changeRoutes(n)
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
		changed := b.defaultWithout(b.world.ISPs[0].Interface)
		b.ok(b.world.ISPs[0].Silence(true))
		doubt := b.verdictTime(last, "doubtful") // by then new connections go elsewhere
		select {
		case at := <-changed:
			lates = append(lates, at.Sub(doubt))
		case <-time.After(5 * time.Second):
			t.Fatal("the dead uplink stays in the default route")
		}
		b.ok(b.world.ISPs[0].Silence(false))
		b.untilStates(30*time.Second, "up", "up")
	}
	slices.Sort(percents)
	slices.Sort(lates)
	cost = routesCost{percents[len(percents)/2], lates[len(lates)/2]}
	stop()
	b.kill(15)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Errorf("cleanup: %v\n%s", err, out)
	}
	b.world.Close()
	undo()
	return cost
}

// manyRoutes gives the host n routes of a routing daemon's, to a router in the LAN, until they
// are undone.
func (b *bench) manyRoutes(n int) (undo func()) {
	b.Helper()
	b.kernel("ip link add bgp0 type veth peer name bgp1 && ip link set bgp0 up && ip link set bgp1 up",
		"ip addr add 192.168.78.1/24 dev bgp0")
	undo = sync.OnceFunc(func() { _ = exec.Command("ip", "link", "del", "bgp0").Run() })
	b.Cleanup(undo)
	var batch strings.Builder
	for i := range n {
		fmt.Fprintf(&batch, "route add %s via 192.168.78.2 proto bird\n", publicNetwork(i))
	}
	file := filepath.Join(b.dir, "routes")
	b.ok(os.WriteFile(file, []byte(batch.String()), 0o600))
	b.kernel("ip -batch " + file)
	return undo
}

// publicNetwork returns one of some million networks that no lab uses.
func publicNetwork(i int) string {
	return fmt.Sprintf("%d.%d.%d.0/24", 20+i>>16, i>>8&0xff, i&0xff)
}

// changeRoutes adds and removes routes, five changes a second, until it is told to stop.
func (b *bench) changeRoutes(from int) (stop func()) {
	b.Helper()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(200 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			verb := []string{"add", "del"}[i%2]
			_ = exec.Command("ip", "route", verb, publicNetwork(from), "via", "192.168.78.2", "proto", "bird").Run()
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
func (b *bench) defaultWithout(name string) <-chan time.Time {
	b.Helper()
	cmd := exec.Command("ip", "-o", "monitor", "route")
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
