package main

import (
	"math/rand/v2"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// One family of an uplink dies without a word, the other one goes on, in turns: how soon each is
// doubted and down, by the same bounds. `make bench-long` does 50.
func TestTimeToDownOfEachFamily(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedDevice(t, "/dev/net/tun")
	b := newBench6Of(t, func() (*lab.World, error) { return lab.NewSlowWorld(2) })
	for _, isp := range b.world.ISPs {
		b.ok(isp.Delay(linkDelay, 200*time.Microsecond))
	}
	b.routers()
	b.configure(b.dual(1, 1), normalProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.untilStates6(10*time.Second, "up", "up")
	time.Sleep(15 * time.Second) // the first round trip's deviation is a guess
	doubts, downs := map[bool][]time.Duration{}, map[bool][]time.Duration{}
	runs := runsOr(t, 1)
	for run := range runs {
		for _, v6 := range []bool{false, true} {
			before := b.lastEvent()
			time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
			died := time.Now()
			b.ok(b.world.ISPs[0].SilenceIn(v6, true))
			doubts[v6] = append(doubts[v6], b.verdictTime(before, "doubtful").Sub(died))
			downs[v6] = append(downs[v6], b.verdictTime(before, "down").Sub(died))
			events, err := b.client.Events(b.Context(), before, false)
			b.ok(err)
			for _, e := range events.Events {
				if e.Kind == "state" && (e.Uplink != "isp1" || (e.Family == "ipv6") != v6) {
					t.Errorf("IPv6 %v of isp1 has died: %s in %s is %s", v6, e.Uplink, e.Family, e.To)
				}
			}
			if run == runs-1 && v6 {
				break
			}
			time.Sleep(11 * time.Second) // it was dead for good: longer than any link pauses
			b.ok(b.world.ISPs[0].SilenceIn(v6, false))
			b.untilStates(5*time.Second, "up", "up")
			b.untilStates6(5*time.Second, "up", "up")
			time.Sleep(time.Second)
		}
	}
	for v6, name := range map[bool]string{false: "IPv4", true: "IPv6"} {
		slices.Sort(doubts[v6])
		slices.Sort(downs[v6])
		n := len(downs[v6])
		t.Logf("%d deaths of %s: doubt after %v in the median, worst %v; down after %v in the median, worst %v", n, name,
			doubts[v6][n/2], doubts[v6][n-1], downs[v6][n/2], downs[v6][n-1])
		if worst := doubts[v6][n-1]; worst > 2*650*time.Millisecond*slowFactor {
			t.Errorf("%s was doubted after %v", name, worst)
		}
		if worst := downs[v6][n-1]; worst > 1050*time.Millisecond*slowFactor {
			t.Errorf("%s was down after %v", name, worst)
		}
	}
}

// What a second family costs an idle daemon: the same one, with it and without, in turns.
func TestIdleOfTwoFamilies(t *testing.T) {
	labtest.Bench(t)
	b := newBench6(t, 3)
	b.routers()
	const rounds, settle, span, most = 3, 15 * time.Second, 10 * time.Second, 1.5
	one, two := b.static(1, 1, 1), b.dual(1, 1, 1)
	b.configure(one, "")
	b.launch(exec.Command(b.build(), "run", "-c", b.config))
	b.untilStates(10*time.Second, "up", "up", "up")
	used := func(lines []string) float64 {
		b.configure(lines, "")
		b.ok(b.cmd.Process.Signal(syscall.SIGHUP))
		if len(lines) > 0 && &lines[0] == &two[0] {
			b.untilStates6(10*time.Second, "up", "up", "up")
		} else {
			b.until("one family", 10*time.Second, func() bool { return b.status().Uplinks[0].IPv6 == nil })
		}
		time.Sleep(settle) // what is steady is probed less often
		before := cpuTime(t, b.cmd.Process.Pid)
		time.Sleep(span)
		return (cpuTime(t, b.cmd.Process.Pid) - before).Seconds() / span.Seconds()
	}
	var ratios, ones, twos []float64
	before := used(one)
	for range rounds {
		both := used(two)
		after := used(one)
		ones, twos = append(ones, after), append(twos, both)
		ratios = append(ratios, 2*both/(before+after))
		before = after
	}
	slices.Sort(ones)
	slices.Sort(twos)
	slices.Sort(ratios)
	t.Logf("idle with 3 uplinks: IPv4 %.2f %% of a core, with IPv6 %.2f %%: %.2f times as much (%.2f to %.2f)",
		100*ones[rounds/2], 100*twos[rounds/2], ratios[rounds/2], ratios[0], ratios[rounds-1])
	if ratios[rounds/2] > most {
		t.Errorf("%.2f times as much with a second family, want %.1f at most", ratios[rounds/2], most)
	}
}
