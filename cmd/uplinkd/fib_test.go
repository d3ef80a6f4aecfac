package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
)

// A router with the Internet's routes, of which five change each second. Each change
// had all of them read: 90 % of a core beside 200,000 routes, and beside 1,000,000 a
// dead uplink's route 1.4 to 2 s late (c82b5ea). UPLINKD_ROUTES says how many to make.
func TestManyForeignRoutes(t *testing.T) {
	labtest.Measured(t)
	n := 50_000
	if text := os.Getenv("UPLINKD_ROUTES"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	b := newBench(t, 2)
	b.configure(b.static(2, 1), "")
	program := b.build()
	b.manyRoutes(n)
	b.launch(exec.Command(program, "run", "-c", b.config))
	b.untilStates(30*time.Second, "up", "up")

	stop := b.changeRoutes(n)
	const span = 5 * time.Second
	time.Sleep(time.Second) // the first survey is over
	before := cpuTime(t, b.cmd.Process.Pid)
	time.Sleep(span)
	used := cpuTime(t, b.cmd.Process.Pid) - before
	last := b.lastEvent()
	changed := b.defaultWithout(b.world.ISPs[0].Interface)
	b.ok(b.world.ISPs[0].Silence(true))
	verdict := b.verdictTime(last, "down")
	var at time.Time
	select {
	case at = <-changed:
	case <-time.After(5 * time.Second):
		t.Fatal("the dead uplink stays in the default route")
	}
	stop()
	percent := 100 * used.Seconds() / span.Seconds()
	t.Logf("%d foreign routes, 5 changed each second: %.2f%% of a core, the new route %v after the verdict",
		n, percent, at.Sub(verdict).Round(100*time.Microsecond))
	if percent > 5 {
		t.Errorf("%.1f%% of a core used beside the routes of others, want 5%% at most", percent)
	}
	if late := at.Sub(verdict); late > 200*time.Millisecond {
		t.Errorf("the new route came %v after the verdict, want 200 ms at most", late)
	}
}

// manyRoutes gives the host n routes of a routing daemon's, to a router in the LAN.
func (b *bench) manyRoutes(n int) {
	b.Helper()
	b.kernel("ip link add bgp0 type veth peer name bgp1 && ip link set bgp0 up && ip link set bgp1 up",
		"ip addr add 192.168.78.1/24 dev bgp0")
	b.Cleanup(func() { _ = exec.Command("ip", "link", "del", "bgp0").Run() })
	var batch strings.Builder
	for i := range n {
		fmt.Fprintf(&batch, "route add %s via 192.168.78.2 proto bird\n", publicNetwork(i))
	}
	file := filepath.Join(b.dir, "routes")
	b.ok(os.WriteFile(file, []byte(batch.String()), 0o600))
	b.kernel("ip -batch " + file)
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
