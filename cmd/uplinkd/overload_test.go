package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// The tests of this file take something away that every program needs. The daemon may be
// late, is right, and says what it lacks.

// falls returns what the events after one say of uplinks that fell, or were doubted.
func (b *bench) falls(after uint64) (list []string) {
	b.Helper()
	events, err := b.client.Events(b.Context(), after, false)
	b.ok(err)
	for _, e := range events.Events {
		if e.Kind == api.EventState && (e.To == string(api.Down) || e.To == string(api.Doubtful)) {
			list = append(list, fmt.Sprintf("%s: %s, %s %v", e.Uplink, e.To, e.Reason, e.Evidence))
		}
	}
	return list
}

// Without a descriptor no service can be asked. Such checks counted as misses, and would
// have ended all connections of healthy links. What needs no new descriptor goes on: a dead
// gateway is found, and the default route follows.
func TestNoDescriptors(t *testing.T) {
	b := newBench(t, 3)
	lines := b.static(1, 1, 1)
	lines[0] += fmt.Sprintf(", probe: {targets: ['tcp://198.18.0.53:%d'], interval: 100ms}", lab.Port)
	lines[1] += fmt.Sprintf(", probe: {targets: ['tcp://198.18.1.53:%d'], interval: 100ms}", lab.Port)
	b.configure(lines, "")
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	last := b.lastEvent()
	limit := func(n uint64) {
		b.ok(unix.Prlimit(b.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: 4096}, nil))
	}
	load := b.world.Load()
	limit(3)
	time.Sleep(3 * time.Second)
	calls := load.End()
	if failed, _ := lab.Failures(calls, time.Now()); failed > 0 {
		t.Errorf("%d of %d connections failed while the daemon had no descriptors", failed, len(calls))
	}
	b.ok(b.world.ISPs[2].Silence(true))
	b.until("the dead gateway leaves the default route", 5*time.Second, func() bool {
		return !strings.Contains(b.kernel("ip route show default proto 201"), b.world.ISPs[2].Interface)
	})
	limit(4096)
	b.untilStates(5*time.Second, "up", "up", "down")
	for _, fall := range b.falls(last) {
		if !strings.HasPrefix(fall, "isp3:") {
			t.Error(fall)
		}
	}
	if !strings.Contains(b.log.String(), "this host cannot probe") {
		t.Error("the journal does not say that descriptors are missing")
	}
}

// A stopped process hears nothing, and what the kernel has to say overflows its sockets
// (ENOBUFS). When it goes on nothing has been missed for good, and no healthy uplink falls
// for the answers that nobody read; a dead one does.
func TestStoppedAndContinued(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 3)
	b.configure(b.static(1, 1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	before := b.kernel(everything...)
	flood := filepath.Join(b.dir, "flood")
	var text strings.Builder
	for n := range 20_000 {
		fmt.Fprintf(&text, "route replace 10.%d.%d.0/24 dev lo table 99\n", n>>8&0x7f, n&0xff)
	}
	b.ok(os.WriteFile(flood, []byte(text.String()), 0o600))
	for round, dies := range []bool{false, true} {
		last := b.lastEvent()
		b.ok(b.cmd.Process.Signal(syscall.SIGSTOP))
		b.kernel("ip -batch "+flood, "ip rule del pref 20100", "ip route flush table 99")
		if dies {
			b.ok(b.world.ISPs[2].Silence(true))
		}
		time.Sleep(2 * time.Second)
		b.ok(b.cmd.Process.Signal(syscall.SIGCONT))
		went := time.Now()
		b.until("the rule is back", 5*time.Second, func() bool {
			return strings.Contains(b.kernel("ip rule show pref 20100"), "20100")
		})
		back := time.Since(went)
		if dies {
			b.untilStates(5*time.Second, "up", "up", "down")
			t.Logf("the rule was back after %v, the dead uplink down after %v", back, time.Since(went))
		} else {
			t.Logf("the rule was back after %v", back)
		}
		time.Sleep(time.Second)
		for _, fall := range b.falls(last) {
			if !dies || !strings.HasPrefix(fall, "isp3:") {
				t.Errorf("round %d: %s", round, fall)
			}
		}
		if limit := time.Second * slowFactor; back > limit {
			t.Errorf("the rule was back after %v, want %v at the most", back, limit)
		}
	}
	b.ok(b.world.ISPs[2].Silence(false))
	b.untilStates(30*time.Second, "up", "up", "up")
	if after := b.kernel(everything...); after != before {
		t.Errorf("the kernel holds\n%s\nand held\n%s", after, before)
	}
}

// A machine whose processors are all taken, four times over: no healthy uplink is down for
// it, no connection fails, and a dead one is still found.
func TestProcessorsTaken(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 3)
	b.configure(b.static(1, 1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	last := b.lastEvent()
	ctx, cancel := context.WithCancel(t.Context())
	for range 4 * runtime.NumCPU() {
		hog := exec.CommandContext(ctx, "sh", "-c", "while :; do :; done")
		b.ok(hog.Start())
		t.Cleanup(func() { cancel(); _ = hog.Wait() })
	}
	time.Sleep(5 * time.Second)
	for _, fall := range b.falls(last) {
		if !strings.Contains(fall, ": "+string(api.Doubtful)) {
			t.Error(fall)
		}
	}
	b.ok(b.world.ISPs[2].Silence(true))
	dead := time.Now()
	b.until("the dead uplink is down", 10*time.Second, func() bool {
		s := b.status()
		return s.Uplinks[2].State == api.Down && len(s.DefaultRoute.NextHops) == 2
	})
	t.Logf("with %d busy processes on %d processors: down %v after the last packet",
		4*runtime.NumCPU(), runtime.NumCPU(), time.Since(dead).Round(time.Millisecond))
	cancel()
}

// On a full disk the daemon starts, leads traffic and fails over; what cannot be kept over
// a restart is said where it was asked for, and kept as soon as there is room.
func TestFullDisk(t *testing.T) {
	b := newBench(t, 2)
	state := filepath.Join(b.dir, "state")
	b.ok(os.Mkdir(state, 0o700))
	b.ok(unix.Mount("tmpfs", state, "tmpfs", 0, "size=64k,mode=0700"))
	t.Cleanup(func() { _ = unix.Unmount(state, unix.MNT_DETACH) })
	full := filepath.Join(state, "full")
	if err := os.WriteFile(full, make([]byte, 128<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	b.configure(b.static(1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	load := b.world.Load()
	out, err := b.run("drain", "isp1", "-c", b.config)
	if err == nil || !strings.Contains(out, "no space left on device") {
		t.Errorf("drain with nowhere to keep it: %v, %s", err, out)
	}
	b.until("the order is not followed, or followed and told", time.Second, func() bool {
		s := b.status()
		return s.Uplinks[0].State != api.Drained || s.Daemon.OrdersError != ""
	})
	if out, err := b.run("enable", "isp1", "-c", b.config); err == nil {
		t.Logf("enable: %s", out)
	}
	if failed, _ := lab.Failures(load.End(), time.Now()); failed > 0 {
		t.Errorf("%d connections failed", failed)
	}
	b.ok(b.world.ISPs[1].Silence(true))
	b.untilStates(5*time.Second, "up", "down")
	b.ok(os.Remove(full))
	b.ok(b.world.ISPs[1].Silence(false))
	b.untilStates(30*time.Second, "up", "up")
	if out, err := b.run("drain", "isp1", "-c", b.config); err != nil {
		t.Errorf("drain with room again: %v, %s", err, out)
	}
	b.kill(syscall.SIGKILL)
	b.start()
	b.untilStates(5*time.Second, "drained", "up")
}
