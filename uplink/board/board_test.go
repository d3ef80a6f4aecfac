package board_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/uplink/api"
	"uplinkd/uplink/board"
)

// A host is what a board looks at.
type host struct {
	looks int
	list  []api.Uplink
}

func (h *host) report() api.Snapshot {
	h.looks++
	return api.Snapshot{Uplinks: slices.Clone(h.list)}
}

func one(state api.OperState, rtt float64) api.Uplink {
	u := api.Uplink{Name: "isp1", Family: "ipv4", State: state}
	if rtt > 0 {
		u.Probes = []api.Probe{{RTT: rtt, Sent: 1}, {RTT: 2 * rtt, Sent: 1, Loss: 50}}
		u.Counters.RxBPS = api.Known[uint64](1000)
	}
	return u
}

// The board looks once a second, whoever watches, and each watcher is told.
func TestLooks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := &host{list: []api.Uplink{one(api.Up, 10)}}
		b := board.New(h.report, func() []api.Switch { return []api.Switch{{ID: 1}, {ID: 2}} })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = b.Run(ctx) }()
		told := make(chan int, 10)
		for range 10 {
			go func() {
				n := 0
				for end := time.After(10*time.Second + 100*time.Millisecond); ; n++ {
					_, _, more := b.Newest()
					select {
					case <-more:
					case <-end:
						told <- n
						return
					}
				}
			}()
		}
		for range 10 {
			if n := <-told; n != 10 {
				t.Errorf("told of %d looks in ten seconds", n)
			}
		}
		if h.looks != 10 {
			t.Errorf("%d looks for ten watchers in ten seconds, want 10", h.looks)
		}
		if s := b.Switches(); s[0].ID != 2 {
			t.Errorf("the newest switch is not first: %v", s)
		}
	})
}

// A point is the worst of its looks; unknown stays unknown, and an hour is all there is.
func TestHistory(t *testing.T) {
	h := &host{}
	b := board.New(h.report, nil)
	now := time.Unix(1_700_000_000, 0)
	look := func(u ...api.Uplink) {
		h.list = u
		now = now.Add(time.Second)
		b.Look(now)
	}
	for range 5 {
		look(one(api.Up, 10))
	}
	look(one(api.Doubtful, 30))
	look(one(api.Down, 0))
	look(one(api.Up, 10), api.Uplink{Name: "isp2", Family: "ipv4", State: api.Up})
	got := b.History("isp1", "ipv4", 3, 4)
	if got[0].State != "" || got[0].RTT != -1 {
		t.Errorf("before the first look: %+v", got[0])
	}
	if want := (board.Point{State: api.Up, RTT: 10, Loss: 0, Silence: -1, Rx: 1000, Tx: -1}); got[1] != want {
		t.Errorf("four looks at a link that is up: %+v, want %+v", got[1], want)
	}
	if got[2].State != api.Down || got[2].RTT != 30 || got[2].Rx != 1000 {
		t.Errorf("doubtful, down and up again: %+v", got[2])
	}
	if other := b.History("isp2", "ipv4", 1, 1); other[0].State != api.Up || other[0].RTT != -1 {
		t.Errorf("one that has come: %+v", other)
	}
	look(one(api.Up, 10))
	if gone := b.History("isp2", "ipv4", 1, 1); gone[0].State != "" {
		t.Errorf("one that has gone: %+v", gone)
	}
	for range board.Kept {
		look(one(api.Up, 20))
	}
	for i, p := range b.History("isp1", "ipv4", board.Kept/10+5, 10) {
		if p.RTT > 20 || i > 8 && p.State != api.Up {
			t.Fatalf("point %d of more than an hour: %+v", i, p)
		}
	}
}

// What is not known of a switch is not told.
func TestStory(t *testing.T) {
	at := time.Date(2026, 11, 27, 12, 3, 4, 120e6, time.Local)
	s := api.Switch{From: api.Up, To: api.Down, At: at, Reason: "eth1 has no carrier", Evidence: []string{"x"}}
	if got := strings.Join(board.Story(&s), "\n"); got != "down at 12:03:04.120, after 0 ms: eth1 has no carrier\nx" {
		t.Errorf("got %s", got)
	}
	s.DoubtAt = api.When{Time: at.Add(-time.Second)}
	s.Routed, s.Ended, s.Sockets, s.Flows = api.When{Time: at}, api.When{Time: at.Add(time.Millisecond)}, api.Known(3), api.Known(0)
	want := "doubtful at 12:03:03.120, after 0 ms\ndown at 12:03:04.120, after 1000 ms: eth1 has no carrier\n" +
		"new connections moved after 1000 ms\n0 flows and 3 connections of this host ended after 1001 ms\nx"
	if got := strings.Join(board.Story(&s), "\n"); got != want {
		t.Errorf("got %s", got)
	}
}

func BenchmarkLook(b *testing.B) {
	h := &host{}
	for range 30 {
		h.list = append(h.list, one(api.Up, 10))
	}
	board := board.New(h.report, nil)
	now := time.Now()
	for b.Loop() {
		board.Look(now)
	}
}
