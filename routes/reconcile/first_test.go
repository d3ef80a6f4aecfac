package reconcile_test

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/routes/reconcile"
	"uplinkd/routes/routestest"
)

// A slow kernel takes its time to be read, and hears of default routes.
type slow struct {
	*routestest.Fake
	heard  atomic.Uint64
	doneAt atomic.Int64 // when the last operation was, in time of the bubble
}

func (s *slow) DefaultsHeard([]routes.Route) uint64 { return s.heard.Load() }

func (s *slow) Read(ctx context.Context, scope routes.Scope) (routes.State, error) {
	time.Sleep(50 * time.Millisecond)
	return s.Fake.Read(ctx, scope)
}

func (s *slow) Do(ctx context.Context, op routes.Op) error {
	if _, ok := op.(routes.ReplaceRoute); ok {
		s.doneAt.Store(time.Now().UnixNano())
	}
	return s.Fake.Do(ctx, op)
}

// A dead uplink leaves the default route before the kernel is read: with 200 uplinks that took a tenth of a second
// (from the figures). It does not when anybody has touched a default route since the last reading, and what is another's
// is then seen, and left alone.
func TestSwitchBeforeReading(t *testing.T) {
	for name, touched := range map[string]bool{"nobody has touched it": false, "somebody has": true} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				kernel := &slow{Fake: routestest.ThreeLinks()}
				var last atomic.Pointer[routes.Applied]
				r := reconcile.New(kernel, slog.New(slog.DiscardHandler), func(a routes.Applied) { last.Store(&a) })
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- r.Run(ctx) }()
				defer func() { cancel(); <-ended }()

				both := routestest.Set(true, routestest.One, routestest.Two)
				r.Want(both)
				time.Sleep(time.Second)
				if a := last.Load(); a == nil || !a.InSync {
					t.Fatalf("not in sync: %+v", a)
				}
				kernel.Ops()
				if touched {
					kernel.Edit(func(s *routes.State) {
						i := slices.IndexFunc(s.Routes, func(r routes.Route) bool { return r.Table == 254 })
						s.Routes[i].Protocol = 4 // it is another's now, on our key
					})
					kernel.heard.Add(1)
				}
				alone := both
				alone.Default = []routes.Route{both.Default[0]}
				alone.Default[0].NextHops = both.Default[0].NextHops[:1]
				began := time.Now()
				r.Want(alone)
				time.Sleep(time.Second)
				took := time.Duration(kernel.doneAt.Load() - began.UnixNano())
				switch {
				case touched && took > 0:
					t.Errorf("somebody else's route was replaced after %v", took)
				case touched && len(last.Load().Plan.Conflicts) != 1:
					t.Errorf("conflicts: %v", last.Load().Plan.Conflicts)
				case !touched && took != 0:
					t.Errorf("the route was replaced after %v, want at once", took)
				}
				if a := last.Load(); !touched && (!a.InSync || a.Ops == 0) {
					t.Errorf("afterwards: %+v", a)
				}
			})
		})
	}
}

// Events that come faster than a pass waits for more do not put it off for ever. From a review of the wait itself: a
// storm of a second stopped all repairs, and the resync with them.
func TestStormOfEvents(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := start(t)
		l.Want(routestest.Set(true, routestest.One, routestest.Two))
		l.applied()
		l.fake.Edit(func(s *routes.State) { s.Routes = nil })
		for range 100 {
			l.Wake()
			time.Sleep(time.Millisecond)
		}
		if !l.hasDefault() {
			t.Error("after a tenth of a second of events, a thousand a second, the default route was not put back")
		}
	})
}

// More switches than five in a second are a tenth of a second apart, whatever wakes meanwhile.
func TestSwitchPauseHoldsInAStorm(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := start(t)
		both := routestest.Set(true, routestest.One, routestest.Two)
		alone := both
		alone.Default = []routes.Route{both.Default[0]}
		alone.Default[0].NextHops = both.Default[0].NextHops[:1]
		l.Want(both)
		l.applied()
		l.fake.Ops()
		for n := range 1000 {
			l.Want([]routes.Set{alone, both}[n%2])
			l.Wake()
			time.Sleep(time.Millisecond)
		}
		switches := 0
		for _, op := range l.fake.Ops() {
			if _, ok := op.(routes.ReplaceRoute); ok {
				switches++
			}
		}
		if switches < 5 || switches > 20 {
			t.Errorf("%d switches in a second of a thousand Sets and events, want 5 and then ten a second", switches)
		}
		time.Sleep(time.Second)
		if a := l.applied(); !a.InSync {
			t.Errorf("afterwards: %+v", a)
		}
	})
}
