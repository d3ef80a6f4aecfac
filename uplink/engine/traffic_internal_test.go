package engine

import (
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/latest"
	"uplinkd/routes/flows"
	"uplinkd/uplink"
)

// A rate is of what has gone over the same interface since the look before; where that is not known, it is not.
func TestTrafficRates(t *testing.T) {
	start := time.Unix(1_800_000_000, 0)
	at := func(seconds float64, rx, tx uint64) count {
		return count{flows.Traffic{RxBytes: rx, TxBytes: tx}, start.Add(time.Duration(seconds * float64(time.Second)))}
	}
	was := traffic{}.next(2, at(0, 1000, 5000))
	if was.rated {
		t.Errorf("a rate of one look: %+v", was)
	}
	for name, tt := range map[string]struct {
		index  int
		now    count
		rated  bool
		rx, tx uint64
	}{
		"half a second":           {2, at(0.5, 126_000, 5000), true, 2_000_000, 0},
		"two seconds":             {2, at(2, 1000, 255_000), true, 0, 1_000_000},
		"no look since":           {2, at(0, 1000, 5000), false, 0, 0},
		"a clock that went back":  {2, at(-1, 2000, 6000), false, 0, 0},
		"counters that went back": {2, at(1, 999, 6000), false, 0, 0},
		"another interface":       {3, at(1, 126_000, 6000), false, 0, 0},
	} {
		got := was.next(tt.index, tt.now)
		if got.rated != tt.rated || got.rx != tt.rx || got.tx != tt.tx || got.index != tt.index || got.count != tt.now {
			t.Errorf("%s: %+v", name, got)
		}
	}
	rated := was.next(2, at(1, 126_000, 5000))
	if again := rated.next(2, at(1, 126_000, 5000)); again != rated {
		t.Errorf("without a new look: %+v, was %+v", again, rated)
	}
}

// What the kernel does not tell is not known, and said once; an interface that has gone is no failure.
func TestTrafficUnknown(t *testing.T) {
	var log strings.Builder
	var err error
	l := newListener(func(int, bool) (flows.Link, error) {
		return flows.Link{Traffic: flows.Traffic{RxBytes: 1}}, err
	}, func() {}, slog.New(slog.NewTextHandler(&log, nil)))
	ears := l.adopt(nil, []heardLink{{index: 2}, {index: 3}})
	look := func(known bool, failure string) {
		t.Helper()
		l.trouble = nil
		for _, e := range ears {
			l.listen(e, time.Now(), false)
		}
		l.tell(l.trouble)
		if _, ok := l.countOf(2); ok != known || l.failure() != failure {
			t.Errorf("known %v, want %v; failure %q, want %q", ok, known, l.failure(), failure)
		}
	}
	look(true, "")
	err = unix.ENODEV
	look(false, "")
	err = errors.New("no answer")
	look(false, "traffic: no answer")
	look(false, "traffic: no answer")
	err = nil
	look(true, "")
	if n := strings.Count(log.String(), "what=traffic"); n != 2 {
		t.Errorf("told %d times, want when it began and when it ended:\n%s", n, &log)
	}
	l.adopt(ears, nil)
	if _, ok := l.countOf(2); ok {
		t.Error("the traffic of an interface that is no uplink's any longer is still known")
	}
}

// Connections are counted often while somebody looks at them, at once for who looks first, and seldom while nobody does.
func TestConnectionsWhileShown(t *testing.T) {
	m := &meter{connections: &gauge[map[netip.Addr]int]{wake: latest.NewWake()}}
	every := func() time.Duration { return m.connectionsEvery(uplink.Meter{}) }
	woken := func() bool {
		select {
		case <-m.connections.wake:
			return true
		default:
			return false
		}
	}
	if got := every(); got != unseenEvery {
		t.Errorf("each %v before anybody looks", got)
	}
	m.show()
	if got := every(); got != shownEvery || !woken() {
		t.Errorf("each %v while somebody looks", got)
	}
	if m.show(); woken() {
		t.Error("counted at once for who looks again")
	}
	m.shown.Store(time.Now().Add(-shownFor).UnixNano())
	if got := every(); got != unseenEvery {
		t.Errorf("each %v after everybody has gone", got)
	}
}
