package main

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// runsOr returns how often a measurement is made: UPLINKD_RUNS, or a few times.
func runsOr(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("UPLINKD_RUNS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// How soon new connections go elsewhere when a steady link dies without a word, by the
// defaults: under a hundred new connections a second, and idle. `make bench-long` does 50.
func TestTimeToDoubt(t *testing.T) {
	labtest.Measured(t)
	for name, tt := range map[string]struct {
		bench func(t *testing.T) *bench
		load  bool
		most  time.Duration // the 95th of 50
		last  time.Duration // when the last connection that fails begins
	}{
		"10 ms, under load":  {tenMilliseconds, true, 250 * time.Millisecond, 300 * time.Millisecond},
		"10 ms, idle":        {tenMilliseconds, false, 650 * time.Millisecond, 0},
		"0.1 ms, under load": {func(t *testing.T) *bench { t.Helper(); return newBench(t, 2) }, true, 150 * time.Millisecond, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := tt.bench(t)
			b.configure(b.static(2, 1), normalProbe)
			b.start()
			b.untilStates(10*time.Second, "up", "up")
			time.Sleep(5 * time.Second) // what the link is like is known by then
			var doubts, lasts []time.Duration
			for range runsOr(t, 1) {
				doubt, last := b.doubtOnce(tt.load)
				doubts, lasts = append(doubts, doubt), append(lasts, last)
			}
			slices.Sort(doubts)
			slices.Sort(lasts)
			at := (len(doubts) - 1) * 95 / 100
			t.Logf("%d deaths: doubt after %v in the median, 95th %v, worst %v; the last failed connection began %v after, at the worst",
				len(doubts), doubts[len(doubts)/2], doubts[at], doubts[len(doubts)-1], lasts[len(lasts)-1])
			slack := time.Duration(1)
			if os.Getenv("UPLINKD_RUNS") == "" {
				slack = 2 // a single run on a busy machine
			}
			if worst := doubts[at]; worst > tt.most*slack*slowFactor {
				t.Errorf("doubt after %v, want %v", worst, tt.most)
			}
			if worst := lasts[at]; tt.last > 0 && worst > tt.last*slack*slowFactor {
				t.Errorf("the last failed connection began %v after the death, want %v", worst, tt.last)
			}
		})
	}
}

func tenMilliseconds(t *testing.T) *bench {
	t.Helper()
	b := slowBench(t, 2)
	for _, isp := range b.world.ISPs {
		b.ok(isp.Delay(linkDelay, 200*time.Microsecond))
	}
	return b
}

// doubtOnce silences an uplink until it is doubted, and returns how long that took, and
// when the last connection that failed began.
func (b *bench) doubtOnce(load bool) (doubt, last time.Duration) {
	b.Helper()
	before := b.lastEvent()
	var l *lab.Load
	if load {
		l = b.world.Load()
		time.Sleep(1500 * time.Millisecond)
	}
	// The moment of the death falls anywhere in the pace of the probes.
	time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
	died := time.Now()
	b.ok(b.world.ISPs[0].Silence(true))
	doubt = b.verdictTime(before, "doubtful").Sub(died)
	b.ok(b.world.ISPs[0].Silence(false))
	b.untilStates(3*time.Second, "up", "up")
	if load {
		_, last = lab.Failures(l.End(), died)
	}
	time.Sleep(500 * time.Millisecond)
	return doubt, last
}

// A link that never paused and then is dead for good is down within a second of the last
// answer; its connections are ended, and those of others are not.
func TestTimeToDownByDefault(t *testing.T) {
	labtest.Measured(t)
	b := tenMilliseconds(t)
	b.configure(b.static(1, 1), normalProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	time.Sleep(15 * time.Second) // the first round trip's deviation is a guess
	var times []time.Duration
	for n := range min(runsOr(t, 1), 10) {
		if n > 0 { // it was dead for good: longer than any link pauses
			time.Sleep(11 * time.Second)
			b.ok(b.world.ISPs[0].Silence(false))
			b.untilStates(3*time.Second, "up", "up")
			time.Sleep(time.Second)
		}
		before := b.lastEvent()
		time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
		died := time.Now()
		b.ok(b.world.ISPs[0].Silence(true))
		times = append(times, b.verdictTime(before, "down").Sub(died))
	}
	slices.Sort(times)
	t.Logf("%d deaths: down after %v in the median, worst %v", len(times), times[len(times)/2], times[len(times)-1])
	if worst := times[len(times)-1]; worst > 1050*time.Millisecond*slowFactor {
		t.Errorf("down after %v, want a second", worst)
	}
}
