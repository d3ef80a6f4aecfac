package probe_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"uplinkd/probe"
)

var learned = probe.Pace{
	Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond, Confirm: 100 * time.Millisecond,
	DownAfter: 3, UpAfter: 5, Rule: probe.Learned, DownWithin: time.Second, DownWithinMax: 10 * time.Second,
}

// A film is what a Machine made of a link, in time of its own.
type film struct {
	changes []probe.Change
	sent    []time.Duration // when each probe was
	status  probe.TargetStatus
}

// play runs a Machine over a link of one target that answers as answer says.
func play(spec probe.Spec, length time.Duration, answer func(at time.Duration) (time.Duration, bool)) film {
	return playTold(spec, length, answer, func(*probe.Machine, time.Time) {})
}

// playTold is play with a Machine that is told something at the start.
func playTold(spec probe.Spec, length time.Duration, answer func(at time.Duration) (time.Duration, bool),
	tell func(m *probe.Machine, start time.Time),
) film {
	start := time.Unix(1_700_000_000, 0)
	type pending struct {
		at     time.Duration
		answer probe.Answer
	}
	var m probe.Machine
	var f film
	var waiting []pending
	m.Set(&spec)
	tell(&m, start)
	for now, next := time.Duration(0), time.Duration(0); now < length; {
		now = max(next, now)
		if len(waiting) > 0 {
			now = min(now, waiting[0].at)
		}
		for len(waiting) > 0 && waiting[0].at <= now {
			a := waiting[0].answer
			a.At = start.Add(now)
			m.Receive(a)
			waiting = waiting[1:]
		}
		next = m.Turn(start.Add(now), func(target int, seq uint16) error {
			f.sent = append(f.sent, now)
			if rtt, ok := answer(now); ok {
				waiting = append(waiting, pending{now + rtt, probe.Answer{Target: target, Seq: seq, RTT: rtt}})
				slices.SortStableFunc(waiting, func(a, b pending) int { return int(a.at - b.at) })
			}
			return nil
		}).Sub(start)
		if c, ok := m.News(start.Add(now)); ok {
			f.changes = append(f.changes, c)
		}
		next = max(next, now+time.Microsecond)
	}
	f.status = m.Statuses(start.Add(length))[0]
	return f
}

// first returns when something first held from a time on; -1: never.
func (f *film) first(from time.Duration, is func(probe.Evidence) bool) time.Duration {
	for _, c := range f.changes {
		if at := c.At.Sub(time.Unix(1_700_000_000, 0)); at >= from && is(c.Targets[0]) {
			return at
		}
	}
	return -1
}

func isDoubtful(e probe.Evidence) bool { return e.Doubtful }
func isDown(e probe.Evidence) bool     { return e.Verdict == probe.Down }

func learnedSpec() probe.Spec {
	return probe.Spec{Series: 1, Targets: []probe.Target{{Name: "gateway", IP: gateway}}, Pace: learned, Limits: probe.Limits{Loss: 15, ReturnLoss: 5}}
}

// What is lost is counted whether or not answers take longer than the interval: nothing was, where a probe was always
// under way (found by a failing TestPolicySLA). A silence counts as one lost probe.
func TestLossIsCounted(t *testing.T) {
	for _, interval := range []time.Duration{100 * time.Millisecond, 500 * time.Millisecond} {
		for _, rtt := range []time.Duration{5, 90, 110, 350, 700, 1500} {
			rtt *= time.Millisecond
			spec := learnedSpec()
			spec.Limits = probe.Limits{}
			spec.Pace.Interval = interval
			const runs, length = 40, 2 * time.Minute
			sum := 0.0
			for seed := range uint64(runs) {
				random := rand.New(rand.NewPCG(seed, 1))
				one := play(spec, length, func(time.Duration) (time.Duration, bool) { return rtt, random.IntN(10) > 0 })
				if one.status.Loss < 1 || one.status.Loss > 25 {
					t.Errorf("every %s with a round trip of %s, one in ten lost: %.1f%% loss", interval, rtt, one.status.Loss)
				}
				sum += one.status.Loss
			}
			// Two in a row are one silence.
			if mean := sum / runs; mean < 8 || mean > 11 {
				t.Errorf("every %s with a round trip of %s, one in ten lost: %.1f%% loss", interval, rtt, mean)
			}
			pause := play(spec, length, func(at time.Duration) (time.Duration, bool) {
				return rtt, at < length-8*time.Second || at > length-6*time.Second
			})
			if pause.status.Loss > 1 {
				t.Errorf("every %s with a round trip of %s, silent for 2 s: %.1f%% loss", interval, rtt, pause.status.Loss)
			}
		}
	}
}

// So max_loss said nothing of a satellite's link.
func TestFarAndLossy(t *testing.T) {
	for _, rtt := range []time.Duration{10 * time.Millisecond, 700 * time.Millisecond} {
		random := rand.New(rand.NewPCG(1, 1))
		f := play(learnedSpec(), 2*time.Minute, func(time.Duration) (time.Duration, bool) { return rtt, random.IntN(10) > 2 })
		if f.status.Verdict != probe.Down {
			t.Errorf("a round trip of %s, three in ten lost: %v", rtt, f.status.Verdict)
		}
	}
}

// How long a link of some round trip takes to doubt and to down when it dies, at every
// phase of the probes, counted from the death: the doubt follows the round trip.
func TestLearnedTimes(t *testing.T) {
	for rtt, most := range map[time.Duration]struct{ doubt, down time.Duration }{
		100 * time.Microsecond: {600 * time.Millisecond, time.Second},
		10 * time.Millisecond:  {620 * time.Millisecond, time.Second},
		50 * time.Millisecond:  {800 * time.Millisecond, 1050 * time.Millisecond},
		600 * time.Millisecond: {1500 * time.Millisecond, 2600 * time.Millisecond},
	} {
		var doubts, downs []time.Duration
		for phase := range 25 {
			dies := time.Minute + time.Duration(phase)*20*time.Millisecond
			f := play(learnedSpec(), 2*time.Minute, func(at time.Duration) (time.Duration, bool) { return rtt, at < dies })
			doubt, down := f.first(dies, isDoubtful), f.first(dies, isDown)
			if doubt < 0 || down < 0 || down < doubt {
				t.Fatalf("round trip %v: doubt at %v, down at %v, dead at %v", rtt, doubt, down, dies)
			}
			doubts, downs = append(doubts, doubt-dies), append(downs, down-dies)
		}
		t.Logf("round trip %v: doubt after %v at the most, down after %v", rtt, slices.Max(doubts), slices.Max(downs))
		if slices.Max(doubts) > most.doubt || slices.Max(downs) > most.down {
			t.Errorf("round trip %v: doubt after %v, down after %v; want %v, %v at the most",
				rtt, slices.Max(doubts), slices.Max(downs), most.doubt, most.down)
		}
	}
}

// What must not be taken for a death, by the learned rule. "doubts" is how many there may
// be.
func TestLearnedIsNotFooled(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, tt := range []struct {
		name   string
		link   func(at time.Duration) (time.Duration, bool)
		doubts int
	}{
		{"a clean link", func(time.Duration) (time.Duration, bool) { return 10 * time.Millisecond, true }, 0},
		{"one lost packet in a hundred", func(at time.Duration) (time.Duration, bool) {
			return 10 * time.Millisecond, at < time.Minute || random.IntN(100) > 0
		}, 0},
		{"three lost packets in a hundred", func(at time.Duration) (time.Duration, bool) {
			return 10 * time.Millisecond, at < time.Minute || random.IntN(100) >= 3
		}, 2},
		{"a stall of 200 ms each minute", func(at time.Duration) (time.Duration, bool) {
			if in := at % time.Minute; in < 200*time.Millisecond && at > time.Minute {
				return 210*time.Millisecond - in, true
			}
			return 10 * time.Millisecond, true
		}, 29},
		{"a slow link that varies", func(time.Duration) (time.Duration, bool) {
			return 600*time.Millisecond + time.Duration(random.IntN(100))*time.Millisecond, true
		}, 0},
	} {
		f := play(learnedSpec(), 30*time.Minute, tt.link)
		if at := f.first(time.Minute, isDown); at >= 0 {
			t.Errorf("%s: down at %v", tt.name, at)
		}
		doubts := 0
		for _, c := range f.changes {
			if c.Targets[0].Doubtful {
				doubts++
			}
		}
		if doubts > tt.doubts {
			t.Errorf("%s: %d doubts in half an hour, want %d at the most", tt.name, doubts, tt.doubts)
		}
	}
}

// Loss at random is a matter of the slow path, as with the fixed rule.
func TestLearnedLoss(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	worst := time.Duration(0)
	for range 20 {
		f := play(learnedSpec(), 3*time.Minute, func(at time.Duration) (time.Duration, bool) {
			return 10 * time.Millisecond, at < time.Minute || random.IntN(10) >= 3
		})
		at := f.first(time.Minute, isDown)
		if at < 0 {
			t.Fatal("30 of 100 lost, and not down")
		}
		worst = max(worst, at-time.Minute)
	}
	t.Logf("30 %% loss: down within %v", worst)
	if worst > time.Minute {
		t.Errorf("down after %v, want a minute at the most", worst)
	}
}

// A silence that the link survives raises the bound for the next one; an hour later it
// counts for half, and in the next series it is remembered.
func TestSurvivedSilence(t *testing.T) {
	pause := func(from, to time.Duration) func(at time.Duration) (time.Duration, bool) {
		return func(at time.Duration) (time.Duration, bool) { return 10 * time.Millisecond, at < from || at > to }
	}
	const began = time.Minute - 200*time.Millisecond // before a probe of the steady pace
	f := play(learnedSpec(), 2*time.Minute, pause(began, began+600*time.Millisecond))
	if at := f.first(time.Minute, isDown); at >= 0 {
		t.Fatalf("down at %v by a silence of 0.6 s", at)
	}
	if f.status.DownAfter < 2*time.Second || f.status.DownAfter > 4*time.Second {
		t.Errorf("after a silence of 0.6 to 1.1 s the bound is %v", f.status.DownAfter)
	}
	later := play(learnedSpec(), 2*time.Hour, pause(began, began+600*time.Millisecond))
	if later.status.DownAfter >= f.status.DownAfter/2+100*time.Millisecond {
		t.Errorf("two hours later it is %v, of %v", later.status.DownAfter, f.status.DownAfter)
	}
	again := learnedSpec()
	again.Learned = []probe.Character{f.status.Learned}
	next := play(again, time.Minute, pause(30*time.Second, 31*time.Second))
	if at := next.first(10*time.Second, isDown); at >= 0 {
		t.Errorf("down at %v by a silence of a second, which the link has survived before", at)
	}
	dead := play(learnedSpec(), 2*time.Minute, pause(time.Minute, time.Minute+20*time.Second))
	if dead.status.DownAfter > 1100*time.Millisecond {
		t.Errorf("an outage of 20 s raises the bound to %v: it was a death", dead.status.DownAfter)
	}
}

// A silence that is made on purpose raises no bound: after a drill of three seconds one of two passed for what the
// link survives. One that begins later does.
func TestMadeSilence(t *testing.T) {
	const began = time.Minute - 200*time.Millisecond
	link := func(at time.Duration) (time.Duration, bool) {
		return 10 * time.Millisecond, at < began || at > began+600*time.Millisecond
	}
	for until, raised := range map[time.Duration]bool{began + time.Second: false, began - 10*time.Second: true} {
		f := playTold(learnedSpec(), 2*time.Minute, link, func(m *probe.Machine, start time.Time) { m.Excuse(start.Add(until)) })
		if got := f.status.DownAfter > 1100*time.Millisecond; got != raised {
			t.Errorf("excused until %v, a silence from %v on: the bound is %v", until, began, f.status.DownAfter)
		}
	}
}

// In doubt a link is asked no faster than it can answer, and no slower than that at first.
func TestPaceInDoubt(t *testing.T) {
	for rtt, want := range map[time.Duration]time.Duration{
		100 * time.Microsecond: 20 * time.Millisecond, 150 * time.Millisecond: 150 * time.Millisecond,
		600 * time.Millisecond: 500 * time.Millisecond, // the steady pace is faster, and the user's
	} {
		dies := time.Minute - 200*time.Millisecond
		f := play(learnedSpec(), dies+900*time.Millisecond, func(at time.Duration) (time.Duration, bool) { return rtt, at < dies })
		least := time.Hour
		for i, at := range f.sent {
			if at > dies+510*time.Millisecond && i > 0 {
				least = min(least, at-f.sent[i-1])
			}
		}
		if least < want-time.Millisecond || least > want+25*time.Millisecond && least != time.Hour {
			t.Errorf("round trip %v: a probe each %v in doubt, want %v", rtt, least, want)
		}
	}
}
