package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// A fault is something that happens to the first of two uplinks under load.
type fault struct {
	name   string
	inject func(w *lab.World) error
	heal   func(w *lab.World) error
	down   bool          // whether the verdict has to be down
	worst  time.Duration // until new connections go elsewhere, by doubt or verdict; 0: not bounded
	watch  time.Duration // how long a verdict that must not come is waited for
}

func first(f func(*lab.ISP) error) func(*lab.World) error {
	return func(w *lab.World) error { return f(w.ISPs[0]) }
}

func nothing(*lab.World) error { return nil }

// The delay of a healthy link, one way.
const linkDelay = 5 * time.Millisecond

var faults = []fault{
	{
		"carrier", first(func(i *lab.ISP) error { return i.Carrier(false) }),
		first(func(i *lab.ISP) error { return i.Carrier(true) }), true, time.Second, 0,
	},
	{"silent gateway", first(silence), first(speak), true, 500 * time.Millisecond, 0},
	{
		"dead upstream", first(func(i *lab.ISP) error { return i.Upstream(true) }),
		first(func(i *lab.ISP) error { return i.Upstream(false) }), true, 700 * time.Millisecond, 0,
	},
	{
		"30 % loss", first(func(i *lab.ISP) error { return i.Loss(30) }),
		first(func(i *lab.ISP) error { return i.Loss(0) }), true, 0, 0,
	},
	{
		"latency x20", first(func(i *lab.ISP) error { return i.Delay(20*linkDelay, 0) }),
		first(func(i *lab.ISP) error { return i.Delay(linkDelay, 0) }), true, 0, 0,
	},
	{
		"3 % loss", first(func(i *lab.ISP) error { return i.Loss(3) }),
		first(func(i *lab.ISP) error { return i.Loss(0) }), false, 0, 5 * time.Second,
	},
	{
		"target dead everywhere",
		func(w *lab.World) error { return w.Internet.Sysctl("net/ipv4/icmp_echo_ignore_all", "1") },
		func(w *lab.World) error { return w.Internet.Sysctl("net/ipv4/icmp_echo_ignore_all", "0") },
		false, 0, 3 * time.Second,
	},
	{"one lost packet", first(func(i *lab.ISP) error { return i.LosePings(1) }), nothing, false, 0, 2 * time.Second},
	{
		"200 ms stall", first(func(i *lab.ISP) error { return i.Stall(200 * time.Millisecond) }), nothing,
		false, 0, 2 * time.Second,
	},
}

// How each fault ends: the verdict, the time to it, and what it costs of a hundred
// new connections a second. UPLINKD_RUNS says how often each is tried, and
// UPLINKD_WATCH how long a clean and a noisy link are watched beside it for
// verdicts that are false; `make bench-long` sets both.
func TestFaults(t *testing.T) {
	labtest.Measured(t)
	runs, watch := 1, time.Duration(0)
	if text := os.Getenv("UPLINKD_RUNS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		runs = n
	}
	if text := os.Getenv("UPLINKD_WATCH"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		watch = d
	}
	b := slowBench(t, 4)
	lines := b.static(1, 1, 1, 1)
	for i := range lines {
		lines[i] += ", probe: {targets: [gateway, 198.18.0.53], max_rtt: 100ms, hold_down: 0s}"
	}
	// The third stays clean and the fourth has 3 % loss; neither carries anything.
	lines[2], lines[3] = lines[2]+", tier: 2", lines[3]+", tier: 2"
	b.configure(lines, "")
	for _, isp := range b.world.ISPs {
		b.ok(isp.Delay(linkDelay, time.Millisecond))
	}
	b.ok(b.world.ISPs[3].Loss(3))
	b.start()
	b.untilStates(10*time.Second, "up", "up", "up", "up")
	started := time.Now()
	table := []string{fmt.Sprintf("%-24s %-9s %-22s %-22s %s",
		"fault", "verdict", "elsewhere after", "down after", "failed of 100/s, each: median, worst")}
	for _, f := range faults {
		table = append(table, b.tryFault(f, runs))
	}
	if rest := watch - time.Since(started); rest > 0 {
		time.Sleep(rest)
	}
	falls := map[string]int{}
	events, err := b.client.Events(t.Context(), 0, false)
	b.ok(err)
	for _, e := range events.Events {
		if e.Kind == "state" && e.To == "down" {
			falls[e.Uplink]++
		}
	}
	table = append(table, fmt.Sprintf("false verdicts in %v: %d on a clean link, %d on one with 3 %% loss",
		time.Since(started).Round(time.Second), falls["isp3"], falls["isp4"]))
	if falls["isp3"]+falls["isp4"] > 0 {
		t.Errorf("false verdicts: %v", falls)
	}
	fmt.Fprintln(os.Stdout, strings.Join(table, "\n"))
}

// tryFault tries a fault so often, and returns its line of the table.
func (b *bench) tryFault(f fault, runs int) string {
	b.Helper()
	var doubts, times []time.Duration
	var failures []int
	for range runs {
		doubt, took, failed := b.tryOnce(f)
		failures = append(failures, failed)
		if took > 0 {
			times = append(times, took)
		}
		if doubt > 0 {
			doubts = append(doubts, doubt)
		}
	}
	slices.Sort(times)
	slices.Sort(doubts)
	slices.Sort(failures)
	verdict := "stays up"
	if len(times) > 0 {
		verdict = "down"
		if len(times) != runs {
			verdict = fmt.Sprintf("down %d/%d", len(times), runs)
		}
	}
	if f.down != (len(times) == runs) || !f.down && len(times) > 0 {
		b.Errorf("%s: down in %d of %d, want %v", f.name, len(times), runs, f.down)
	}
	limit := f.worst
	if slowFactor > 1 {
		limit = limit * 3 / 2 // the race detector's share
	}
	if f.worst > 0 && len(doubts) > 0 && doubts[len(doubts)-1] > limit {
		b.Errorf("%s: new connections went there for %v, want %v at most", f.name, doubts[len(doubts)-1], limit)
	}
	return fmt.Sprintf("%-24s %-9s %-22s %-22s %d, %d", f.name, verdict, middle(doubts), middle(times),
		failures[len(failures)/2], failures[len(failures)-1])
}

// middle tells the median and the worst of sorted times.
func middle(times []time.Duration) string {
	if len(times) == 0 {
		return "-"
	}
	return fmt.Sprintf("%v, %v", times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond))
}

// tryOnce tries a fault and returns how long it took until new connections went
// elsewhere, and until the verdict, 0 when it did not come to that, and how many
// connections failed.
func (b *bench) tryOnce(f fault) (doubt, took time.Duration, failed int) {
	b.Helper()
	events, err := b.client.Events(b.Context(), 0, false)
	b.ok(err)
	last := events.Last
	load := b.world.Load()
	// The moment of the fault falls anywhere in the pace of the probes.
	time.Sleep(300*time.Millisecond + time.Duration(time.Now().UnixNano()%500)*time.Millisecond)
	began := time.Now()
	b.ok(f.inject(b.world))
	limit := f.watch
	if f.down {
		limit = 30 * time.Second
	}
	for took == 0 && time.Since(began) < limit {
		events, err := b.client.Events(b.Context(), last, true)
		b.ok(err)
		for _, e := range events.Events {
			if e.Kind != "state" || e.Uplink != "isp1" {
				continue
			}
			if doubt == 0 && (e.To == "down" || e.To == "doubtful") {
				doubt = e.Time.Sub(began)
			}
			if took == 0 && e.To == "down" {
				took = e.Time.Sub(began)
			}
		}
		last = max(last, events.Last)
	}
	time.Sleep(300 * time.Millisecond)
	failed, _ = lab.Failures(load.End(), began)
	b.ok(f.heal(b.world))
	// What the last fault has left in the records would count in the next run.
	b.ok(b.client.Command(b.Context(), "isp1", api.Command{Action: "disable"}))
	b.untilStates(2*time.Second, "disabled", "up", "up", "up")
	b.ok(b.client.Command(b.Context(), "isp1", api.Command{Action: "enable"}))
	b.untilStates(10*time.Second, "up", "up", "up", "up")
	return doubt, took, failed
}
