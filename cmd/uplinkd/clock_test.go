package main

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// ownMachine says that the clock of this machine is a test's to set: make test-kernels
// boots machines for that.
const ownMachine = "UPLINKD_OWN_MACHINE"

// The wall clock is set a year ahead, and two years back. Leases last as long as they
// would have, no uplink falls, no connection fails.
func TestClockSteps(t *testing.T) {
	if os.Getenv(ownMachine) == "" {
		labtest.Missing(t, "sets the machine's clock: make test-kernels runs it")
	}
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
		t.Error(fall)
	}
	calls := load.End()
	failed, _ := lab.Failures(calls, time.Now())
	t.Logf("%d of %d connections failed", failed, len(calls))
	if failed > 0 {
		t.Errorf("%d of %d connections failed", failed, len(calls))
	}
}
