package engine

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/bubble"
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
		"too soon for a rate":     {2, at(0.05, 126_000, 5000), false, 0, 0},
		"half a second":           {2, at(0.5, 126_000, 5000), true, 2_000_000, 0},
		"two seconds":             {2, at(2, 1000, 255_000), true, 0, 1_000_000},
		"no look since":           {2, at(0, 1000, 5000), false, 0, 0},
		"a clock that went back":  {2, at(-1, 2000, 6000), false, 0, 0},
		"counters that went back": {2, at(1, 999, 6000), false, 0, 0},
		"another interface":       {3, at(1, 126_000, 6000), false, 0, 0},
	} {
		got := was.next(tt.index, tt.now)
		kept := name == "too soon for a rate" && got == was
		if got.rated != tt.rated || got.rx != tt.rx || got.tx != tt.tx || got.index != tt.index || got.count != tt.now && !kept {
			t.Errorf("%s: %+v", name, got)
		}
	}
	rated := was.next(2, at(1, 126_000, 5000))
	if again := rated.next(2, at(1, 126_000, 5000)); again != rated {
		t.Errorf("without a new look: %+v, was %+v", again, rated)
	}
}

// What the kernel does not tell is said once, and is known for a while yet; an interface that has gone is no failure. One
// link that fails is not forgotten while another is looked at more often.
func TestTrafficUnknown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var log strings.Builder
		fails, packets := map[int]error{}, uint64(0)
		set := func(index int, err error) {
			mu.Lock()
			fails[index] = err
			mu.Unlock()
			time.Sleep(3 * time.Second)
		}
		l := newListener(func(index int, _ bool) (flows.Link, error) {
			mu.Lock()
			defer mu.Unlock()
			if packets += 100; index == 2 { // which is busy
				return flows.Link{RxPackets: packets, TxPackets: packets}, fails[index]
			}
			return flows.Link{Traffic: flows.Traffic{RxBytes: 1}}, fails[index]
		}, func() {}, slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.run(ctx) }()
		l.links.Put([]heardLink{{index: 2}, {index: 3}})
		expect := func(what string, known bool, failure string) {
			t.Helper()
			if _, ok := l.countOf(3); ok != known || l.failure() != failure {
				t.Errorf("%s: known %v, want %v; failure %q, want %q", what, ok, known, l.failure(), failure)
			}
		}
		set(3, nil)
		expect("at first", true, "")
		set(3, unix.ENODEV)
		expect("gone", false, "")
		set(3, nil)
		expect("there again", true, "")
		set(3, errors.New("no answer"))
		expect("failing", true, "traffic: no answer")
		set(3, nil)
		expect("mended", true, "")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "what=traffic"); n != 2 {
			t.Errorf("told %d times, want when it began and when it ended:\n%s", n, &log)
		}
	})
}

// A kernel that does not answer is told of, though the round of looks has not ended.
func TestTrafficHangs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := newListener(func(int, bool) (flows.Link, error) {
			time.Sleep(time.Second)
			return flows.Link{}, unix.EAGAIN
		}, func() {}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- l.run(ctx) }()
		links := make([]heardLink, 20)
		for i := range links {
			links[i].index = i + 1
		}
		l.links.Put(links)
		time.Sleep(10 * time.Second)
		if got := l.failure(); !strings.HasPrefix(got, "traffic: the kernel has not answered for ") {
			t.Errorf("told %q", got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
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
