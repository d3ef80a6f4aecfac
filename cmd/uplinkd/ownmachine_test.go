package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// needOwnMachine skips a test that does something to the whole machine, where
// UPLINKD_OWN_MACHINE does not say that it may: make test-kernels boots machines for that.
func needOwnMachine(t *testing.T) {
	t.Helper()
	if os.Getenv("UPLINKD_OWN_MACHINE") == "" {
		labtest.Missing(t, "does something to the whole machine: make test-kernels runs it on one of its own")
	}
}

// The wall clock is set a year ahead, and two years back. Leases last as long as they
// would have, no uplink falls, no connection fails.
func TestClockSteps(t *testing.T) {
	needOwnMachine(t)
	b := newBench(t, 2)
	b.configure(b.dhcp(20*time.Second, 1, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	last := b.lastEvent()
	addresses := []string{b.status().Uplinks[0].Address, b.status().Uplinks[1].Address}
	load := b.world.Load()
	const year = 365 * 24 * time.Hour
	for _, step := range []time.Duration{year, -2 * year, year} {
		var now unix.Timespec
		b.ok(unix.ClockGettime(unix.CLOCK_REALTIME, &now))
		now.Sec += int64(step / time.Second)
		b.ok(unix.ClockSettime(unix.CLOCK_REALTIME, &now))
		time.Sleep(12 * time.Second) // past a renewal
		for i, u := range b.status().Uplinks {
			if u.Address != addresses[i] {
				t.Errorf("after a step of %v %s has %q, and had %q", step, u.Name, u.Address, addresses[i])
			}
		}
	}
	for _, fall := range b.falls(last) {
		if !strings.Contains(fall, ": "+string(api.Doubtful)) {
			t.Error(fall)
		}
	}
	calls := load.End()
	failed, _ := lab.Failures(calls, time.Now())
	t.Logf("%d of %d connections failed", failed, len(calls))
	if failed > 0 {
		t.Errorf("%d of %d connections failed", failed, len(calls))
	}
}

// The machine is suspended for longer than its leases last. When it wakes, no address is
// used beyond its lease, both uplinks are up again within seconds, and nothing is left of before.
func TestSuspend(t *testing.T) {
	needOwnMachine(t)
	const alarm = "/sys/class/rtc/rtc0/wakealarm"
	b := newBench(t, 2)
	b.configure(b.dhcp(20*time.Second, 1, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	before := b.kernel("ip rule", "ip route", "ip -4 addr | sed 's/valid_lft.*//'")
	b.ok(os.WriteFile(alarm, []byte("0"), 0))
	if err := os.WriteFile(alarm, []byte("+25"), 0); err != nil {
		labtest.Missing(t, "this machine has no clock that wakes it: "+err.Error())
	}
	asleep := time.Now().Round(0)
	if err := os.WriteFile("/sys/power/state", []byte("mem"), 0); err != nil {
		labtest.Missing(t, "this machine cannot be suspended: "+err.Error())
	}
	slept := time.Now().Round(0).Sub(asleep)
	if slept < 20*time.Second {
		t.Fatalf("it slept for %v: the test tests nothing", slept)
	}
	woke := time.Now()
	b.until("it has noticed, and given the leases up", 5*time.Second, func() bool {
		return strings.Contains(b.log.String(), "suspended") && strings.Count(b.log.String(), "from=up state=down") == 2
	})
	b.untilStates(20*time.Second, "up", "up")
	t.Logf("asleep for %v; both up %v after waking", slept.Round(time.Second), time.Since(woke).Round(time.Millisecond))
	if failed := b.failing(20); failed > 0 {
		t.Errorf("%d of 20 connections fail", failed)
	}
	if diff := cmp.Diff(before, b.kernel("ip rule", "ip route", "ip -4 addr | sed 's/valid_lft.*//'")); diff != "" {
		t.Errorf("the kernel is another (-before +after):\n%s", diff)
	}
}

// A daemon that may use 48 MB works as ever. One that may use 4 MB is killed by the kernel:
// connections go on, and the next start finds all as it was.
func TestMemoryLimit(t *testing.T) {
	needOwnMachine(t)
	const group = "/sys/fs/cgroup/uplinkd-test"
	b := newBench(t, 2)
	b.ok(os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0))
	b.ok(os.Mkdir(group, 0o755))
	t.Cleanup(func() { _ = os.Remove(group) })
	limit := func(bytes string) { b.ok(os.WriteFile(group+"/memory.max", []byte(bytes), 0)) }
	limit("48M")
	b.configure(b.static(1, 1), "")
	// What it had before it came into the group would not count.
	self, err := os.Executable()
	b.ok(err)
	inside := b.program()
	inside.Path = "/bin/sh"
	inside.Args = []string{"sh", "-c", `echo $$ >` + group + `/cgroup.procs && exec "$@"`, "sh", self, "run", "-c", b.config}
	b.launch(inside)
	b.untilStates(10*time.Second, "up", "up")
	before := b.kernel(everything...)
	load := b.world.Load()
	b.ok(b.world.ISPs[1].Silence(true))
	b.untilStates(10*time.Second, "up", "down")
	b.ok(b.world.ISPs[1].Silence(false))
	b.untilStates(30*time.Second, "up", "up")
	load.End()

	load = b.world.Load()
	go func() { _ = os.WriteFile(group+"/memory.max", []byte("4M"), 0) }() // it comes back when it is below
	b.until("the kernel has killed it", 10*time.Second, func() bool {
		text, err := os.ReadFile(group + "/memory.events")
		b.ok(err)
		return !strings.Contains(string(text), "oom_kill 0")
	})
	b.kill(syscall.SIGKILL) // it has ended; this only waits
	time.Sleep(time.Second)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	calls := load.End()
	if failed, _ := lab.Failures(calls, time.Now()); failed > 0 {
		t.Errorf("%d of %d connections failed", failed, len(calls))
	}
	if diff := cmp.Diff(before, b.kernel(everything...)); diff != "" {
		t.Errorf("the kernel is another (-before +after):\n%s", diff)
	}
}
