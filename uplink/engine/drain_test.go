package engine_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/probe"

	"uplinkd/routes"
	"uplinkd/routes/routestest"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/engine"
)

// These come from a review of the engine, before it was released.

// `drain --wait` over a restart ended with "drained no longer: it is starting".
func TestDrainBeforeTheFirstStep(t *testing.T) {
	e := engine.New(parse(t, two), engine.Deps{
		Kernel: &routestest.Fake{}, Log: slog.New(slog.DiscardHandler),
		Orders: map[string]api.Order{"a": {State: api.AdminDrained, By: "x", Since: time.Now()}},
	})
	p, err := e.Drain("a")
	if err != nil || p.State == api.DrainEnded {
		t.Errorf("before the first step: %+v %v", p, err)
	}
}

// An order from a clock that has been set back since was never done.
func TestDrainAfterTheClockWentBack(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := openWith(t, two, nil, map[string]api.Order{"a": {State: api.AdminDrained, By: "x", Since: time.Now().Add(24 * time.Hour).Round(0)}})
		h.wait(time.Hour)
		if p, _ := h.engine.Drain("a"); p.State != api.DrainDone {
			t.Errorf("after an hour: %+v", p)
		}
	})
}

// A drain was done on a count of flows that had found one.
func TestDrainGoesByTwoCounts(t *testing.T) {
	for phase := range 10 {
		bubble.Test(t, func(t *testing.T) {
			fake := &routestest.Fake{}
			fake.Edit(func(s *routes.State) {
				s.MainRule = true
				for n := 1; n <= 2; n++ {
					s.Links = append(s.Links, routes.Link{Name: []string{"", "eth1", "eth2"}[n], Index: n + 1, Up: true, Carrier: true, MAC: "02:00:00:00:00:01"})
				}
			})
			flowReads := 0
			zero := func(a []netip.Addr) map[netip.Addr]int {
				m := map[netip.Addr]int{}
				for _, x := range a {
					m[x] = 0
				}
				return m
			}
			e := engine.New(parse(t, two), engine.Deps{
				Kernel: fake, Log: slog.New(slog.DiscardHandler),
				Watch:     func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil },
				OpenProbe: func(probe.Spec) (probe.Conn, error) { return nil, errors.New("none") },
				Meters: engine.Meters{
					Connections: func(_ context.Context, a []netip.Addr) (map[netip.Addr]int, error) { return zero(a), nil },
					Flows: func(_ context.Context, a []netip.Addr) (map[netip.Addr]int, error) {
						flowReads++
						time.Sleep(20 * time.Millisecond)
						m := zero(a)
						if flowReads >= 3 {
							m[netip.MustParseAddr("192.0.2.5")] = 1
						}
						return m, nil
					},
				},
			})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- e.Run(ctx) }()
			defer func() { cancel(); <-done }()
			time.Sleep(5*time.Second + time.Duration(phase)*100*time.Millisecond)
			if err := e.Do(ctx, uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Drain}}); err != nil {
				t.Fatal(err)
			}
			for range 2000 {
				time.Sleep(10 * time.Millisecond)
				e.Send(uplink.NeighbourFailed{Index: 99}) // any event
				synctest.Wait()
				p, _ := e.Drain("a")
				if p.State == api.DrainDone {
					t.Errorf("phase %d: done after %d counts of flows, the last of which found one: %+v", phase, flowReads, p)
					break
				}
			}
		})
	}
}
