package probe_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uplinkd/probe"
)

var (
	normal = probe.Pace{
		Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond, Confirm: 100 * time.Millisecond,
		DownAfter: 3, UpAfter: 5,
	}
	fast = probe.Pace{
		Interval: 50 * time.Millisecond, Timeout: 50 * time.Millisecond, Confirm: 50 * time.Millisecond,
		DownAfter: 3, UpAfter: 5,
	}
	gateway = netip.MustParseAddr("192.0.2.1")
	far     = netip.MustParseAddr("198.51.100.1")
)

// A network is a Conn that answers as answer says: after a time, or never.
type network struct {
	answer  func(target int, sent time.Time) (time.Duration, bool)
	answers chan probe.Answer
	closed  chan struct{}
	once    sync.Once
}

func (n *network) Send(target int, seq uint16) error {
	sent := time.Now()
	delay, ok := n.answer(target, sent)
	if ok {
		time.AfterFunc(delay, func() {
			select {
			case n.answers <- probe.Answer{Target: target, Seq: seq, At: time.Now(), RTT: delay}:
			case <-n.closed:
			}
		})
	}
	return nil
}

func (n *network) Receive() (probe.Answer, error) {
	select {
	case a := <-n.answers:
		return a, nil
	case <-n.closed:
		return probe.Answer{}, errors.New("closed")
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.closed) })
	return nil
}

type event struct {
	probe.Change
	after time.Duration // since the start
}

// run probes for a time in a bubble and returns the changes of the verdict.
func run(t *testing.T, spec probe.Spec, length time.Duration, answer func(target int, at time.Duration) (time.Duration, bool)) []event {
	t.Helper()
	var events []event
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		p := probe.New(func(probe.Spec) (probe.Conn, error) {
			return &network{
				answer:  func(target int, sent time.Time) (time.Duration, bool) { return answer(target, sent.Sub(start)) },
				answers: make(chan probe.Answer, 1000), closed: make(chan struct{}),
			}, nil
		}, func(c probe.Change) { events = append(events, event{c, c.At.Sub(start)}) })
		p.Set(&spec)
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		time.Sleep(length)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return events
}

func spec(pace probe.Pace, quorum int, targets ...netip.Addr) probe.Spec {
	return probe.Spec{Interface: "eth1", Index: 2, Targets: targets, Quorum: quorum, Pace: pace}
}

func healthy(int, time.Duration) (time.Duration, bool) { return 8 * time.Millisecond, true }

func verdicts(events []event) []probe.Verdict {
	var list []probe.Verdict
	for _, e := range events {
		list = append(list, e.Verdict)
	}
	return list
}

func TestUpAfterFiveAnswersAtThePaceOfConfirm(t *testing.T) {
	events := run(t, spec(normal, 1, gateway), time.Minute, healthy)
	if len(events) != 1 || events[0].Verdict != probe.Up || events[0].after != 408*time.Millisecond {
		t.Errorf("got %+v, want up once after 4 confirm and one round trip, 408ms", events)
	}
	if events[0].LastRTT != 8*time.Millisecond {
		t.Errorf("last RTT %v, want 8ms", events[0].LastRTT)
	}
}

func TestDownWhenNothingEverAnswers(t *testing.T) {
	events := run(t, spec(normal, 1, gateway), time.Minute, func(int, time.Duration) (time.Duration, bool) { return 0, false })
	if len(events) != 1 || events[0].Verdict != probe.Down || events[0].after != 600*time.Millisecond {
		t.Errorf("got %+v, want down once after 2 confirm and one timeout, 600ms", events)
	}
}

// The time from a silent death to the verdict, at every phase of the steady
// pace: at most interval, the first sign of lateness, one confirm and timeout.
func TestTimeToDown(t *testing.T) {
	for _, tt := range []struct {
		name  string
		pace  probe.Pace
		worst time.Duration
	}{
		{"default", normal, 1050 * time.Millisecond},
		{"fast", fast, 165 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var worst time.Duration
			for phase := range 50 {
				dies := 10*time.Second + tt.pace.Interval*time.Duration(phase)/50
				events := run(t, spec(tt.pace, 1, gateway), 15*time.Second, func(_ int, at time.Duration) (time.Duration, bool) {
					return 8 * time.Millisecond, at < dies
				})
				if len(events) != 2 || events[1].Verdict != probe.Down {
					t.Fatalf("phase %d: got %+v, want up, then down", phase, events)
				}
				worst = max(worst, events[1].after-dies)
				if first := events[1].FirstMiss.Sub(events[1].At.Add(-events[1].after)); first < dies {
					t.Errorf("first miss sent at %v, before the fault at %v", first, dies)
				}
				if events[1].Misses != 3 {
					t.Errorf("%d misses in the evidence, want 3", events[1].Misses)
				}
			}
			t.Logf("worst time from fault to verdict: %v", worst)
			if worst > tt.worst {
				t.Errorf("worst time to down %v, want at most %v", worst, tt.worst)
			}
		})
	}
}

func TestComesBack(t *testing.T) {
	events := run(t, spec(normal, 1, gateway), 20*time.Second, func(_ int, at time.Duration) (time.Duration, bool) {
		return time.Millisecond, at < 5*time.Second || at > 10*time.Second
	})
	if len(events) != 3 || events[2].Verdict != probe.Up {
		t.Fatalf("got %v, want up down up", verdicts(events))
	}
	if took := events[2].after - 10*time.Second; took > 500*time.Millisecond+4*100*time.Millisecond+2*time.Millisecond {
		t.Errorf("back after %v, want one interval and four confirm at most", took)
	}
}

func TestNotFooled(t *testing.T) {
	for name, answer := range map[string]func(int, time.Duration) (time.Duration, bool){
		"every fourth packet lost": func() func(int, time.Duration) (time.Duration, bool) {
			n := 0
			return func(int, time.Duration) (time.Duration, bool) { n++; return 5 * time.Millisecond, n%4 != 0 }
		}(),
		"a stall of 200 ms": func(_ int, at time.Duration) (time.Duration, bool) {
			stall := 20 * time.Second
			if at >= stall && at < stall+200*time.Millisecond {
				return stall + 200*time.Millisecond - at, true
			}
			return 5 * time.Millisecond, true
		},
		"three probes lost in a burst, answered before they are missed": func(_ int, at time.Duration) (time.Duration, bool) {
			burst := 20 * time.Second
			return 5 * time.Millisecond, at < burst || at > burst+500*time.Millisecond+100*time.Millisecond
		},
		"slow as a satellite, pace quicker than the round trip": func(int, time.Duration) (time.Duration, bool) {
			return 390 * time.Millisecond, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			events := run(t, spec(normal, 1, gateway), 10*time.Minute, answer)
			if len(events) != 1 || events[0].Verdict != probe.Up {
				t.Errorf("got %v, want up and nothing else", verdicts(events))
			}
		})
	}
}

func TestAnswerAfterTheTimeoutIsAMiss(t *testing.T) {
	events := run(t, spec(normal, 1, gateway), time.Minute, func(_ int, at time.Duration) (time.Duration, bool) {
		if at < 10*time.Second {
			return time.Millisecond, true
		}
		return 401 * time.Millisecond, true
	})
	if len(events) != 2 || events[1].Verdict != probe.Down {
		t.Errorf("got %v, want up, then down", verdicts(events))
	}
}

func TestQuorum(t *testing.T) {
	// The gateway always answers, the far target never.
	answer := func(target int, _ time.Duration) (time.Duration, bool) { return time.Millisecond, target == 0 }
	if got := verdicts(run(t, spec(normal, 1, gateway, far), time.Minute, answer)); len(got) != 1 || got[0] != probe.Up {
		t.Errorf("any: got %v, want up", got)
	}
	if got := verdicts(run(t, spec(normal, 2, gateway, far), time.Minute, answer)); len(got) != 1 || got[0] != probe.Down {
		t.Errorf("all: got %v, want down", got)
	}
}

// Nothing is counted twice: in ten minutes of a clean link the pace is kept.
func TestPaceIsKept(t *testing.T) {
	sent := 0
	run(t, spec(normal, 1, gateway), 10*time.Minute, func(int, time.Duration) (time.Duration, bool) {
		sent++
		return time.Millisecond, true
	})
	if sent < 1200 || sent > 1205 {
		t.Errorf("%d probes in ten minutes at two a second, want 1200 and the few of the start", sent)
	}
}

func TestSpecChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []probe.Change
		opens := 0
		p := probe.New(func(probe.Spec) (probe.Conn, error) {
			opens++
			return &network{
				answer:  func(int, time.Time) (time.Duration, bool) { return time.Millisecond, true },
				answers: make(chan probe.Answer, 1000), closed: make(chan struct{}),
			}, nil
		}, func(c probe.Change) { changes = append(changes, c) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()

		first := spec(normal, 1, gateway)
		first.Source = netip.MustParseAddr("192.0.2.5")
		set := func(s probe.Spec) { p.Set(&s); time.Sleep(5 * time.Second); synctest.Wait() }
		set(first)
		slower := first
		slower.Pace.Interval = time.Second
		set(slower)
		if opens != 1 || len(changes) != 1 {
			t.Errorf("another pace: %d sockets, %d verdicts, want 1 and 1", opens, len(changes))
		}
		moved := slower
		moved.Source = netip.MustParseAddr("192.0.2.6")
		set(moved)
		if opens != 2 || len(changes) != 1 {
			t.Errorf("another source: %d sockets, %d verdicts, want 2 and still 1", opens, len(changes))
		}
		other := moved
		other.Index, other.Series = 9, 1
		set(other)
		if opens != 3 || len(changes) != 2 {
			t.Errorf("another series: %d sockets, %d verdicts, want 3 and 2", opens, len(changes))
		}
		p.Set(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(changes) != 2 || len(p.Status()) != 0 {
			t.Errorf("nothing to probe: %d verdicts and %d targets, want 2 and 0", len(changes), len(p.Status()))
		}
		cancel()
		<-done
	})
}

// An interface that cannot be opened is down by misses, and the reason is told.
func TestOpenFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []probe.Change
		p := probe.New(func(probe.Spec) (probe.Conn, error) { return nil, errors.New("no such device") },
			func(c probe.Change) { changes = append(changes, c) })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		s := spec(normal, 1, gateway)
		p.Set(&s)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if len(changes) != 1 || changes[0].Verdict != probe.Down || changes[0].Err != "no such device" {
			t.Errorf("got %+v, want down because of no such device", changes)
		}
		cancel()
		<-done
	})
}
