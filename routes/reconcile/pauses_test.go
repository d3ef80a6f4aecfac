package reconcile_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/routes/reconcile"
	"uplinkd/routes/routestest"
)

// The tests of this file come from a review of the reconciler, before it was released.

// counting counts how often the kernel is read.
type counting struct {
	*routestest.Fake
	reads atomic.Int64
}

func (c *counting) Read(ctx context.Context, s routes.Scope) (routes.State, error) {
	c.reads.Add(1)
	return c.Fake.Read(ctx, s)
}

func startCounting(t *testing.T) (*counting, *reconcile.Reconciler) {
	t.Helper()
	c := &counting{Fake: routestest.ThreeLinks()}
	r := reconcile.New(c, slog.New(slog.DiscardHandler), func(routes.Applied) {})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return c, r
}

// What waited with something else was looked at a thousand times a second. One uplink
// carries; another program deletes the default route, and 50 ms later
// flushes the address, ten times a second.
func TestFightDoesNotSpin(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, r := startCounting(t)
		r.Want(routestest.Set(true, routestest.One))
		time.Sleep(time.Second)
		undo := func() {
			c.Edit(func(s *routes.State) {
				s.Routes = slices.DeleteFunc(s.Routes, func(r routes.Route) bool { return r.Table == 254 })
			})
			r.Wake()
			time.Sleep(50 * time.Millisecond)
			c.Edit(func(s *routes.State) {
				for _, a := range s.Addresses {
					if a.Interface == "eth1" {
						*s = routes.Apply(*s, routes.DeleteAddress{Address: a})
					}
				}
			})
			r.Wake()
			time.Sleep(50 * time.Millisecond)
		}
		for range 100 {
			undo()
		}
		before := c.reads.Load()
		worst := int64(0)
		for range 30 {
			b := c.reads.Load()
			for range 10 {
				undo()
			}
			worst = max(worst, c.reads.Load()-b)
		}
		t.Logf("%d reads in 30 s, at most %d in a second", c.reads.Load()-before, worst)
		if worst > 60 {
			t.Errorf("%d reads in a second", worst)
		}
	})
}

// A route was refused; then its address is refused too.
func TestRefusedDoesNotSpin(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, r := startCounting(t)
		c.FailWith(func(op routes.Op) error {
			if add, ok := op.(routes.AddRoute); ok && add.Route.Table == 501 && add.Route.Metric == 0 {
				return errors.New("refused")
			}
			return nil
		})
		r.Want(routestest.Set(true, routestest.One))
		time.Sleep(30 * time.Second)
		c.FailWith(func(op routes.Op) error {
			switch op := op.(type) {
			case routes.AddRoute:
				if op.Route.Table == 501 && op.Route.Metric == 0 {
					return errors.New("refused")
				}
			case routes.PutAddress:
				return errors.New("refused")
			}
			return nil
		})
		c.Edit(func(s *routes.State) { s.Addresses = nil })
		r.Wake()
		before := c.reads.Load()
		time.Sleep(time.Minute) // nobody wakes it
		n := c.reads.Load() - before
		t.Logf("%d reads in a minute in which nothing happens", n)
		if n > 100 {
			t.Errorf("%d reads in a minute", n)
		}
	})
}

// A second address that was refused held the uplink's routes back for ever.
func TestSecondAddressRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, r := startCounting(t)
		second := netip.MustParsePrefix("192.0.2.77/24")
		c.FailWith(func(op routes.Op) error {
			if put, ok := op.(routes.PutAddress); ok && put.Address.Prefix == second {
				return errors.New("invalid scope value")
			}
			return nil
		})
		set := routestest.Set(true, routestest.One)
		set.Addresses = append(set.Addresses, routes.Address{Interface: "eth1", Prefix: second, Protocol: 201})
		r.Want(set)
		time.Sleep(time.Hour)
		for _, route := range c.State().Routes {
			if route.Table == 254 {
				return
			}
		}
		t.Errorf("after an hour no default route: %v", c.State().Routes)
	})
}

// A fight over a second address kept the default route away for 8.5 s.
func TestFightOverSecondAddress(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, r := startCounting(t)
		second := netip.MustParsePrefix("192.0.2.77/24")
		set := routestest.Set(true, routestest.One)
		set.Addresses = append(set.Addresses, routes.Address{Interface: "eth1", Prefix: second, Protocol: 201})
		r.Want(set)
		time.Sleep(time.Second)
		away, most := 0, 0
		for n := range 3000 {
			c.Edit(func(s *routes.State) {
				s.Addresses = slices.DeleteFunc(s.Addresses, func(a routes.Address) bool { return a.Prefix == second })
				if n%317 == 7 { // once in 30 s
					s.Routes = slices.DeleteFunc(s.Routes, func(r routes.Route) bool { return r.Table == 254 })
				}
			})
			r.Wake()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if slices.ContainsFunc(c.State().Routes, func(r routes.Route) bool { return r.Table == 254 }) {
				away = 0
			} else {
				away++
			}
			most = max(most, away)
		}
		t.Logf("default route away for up to %d00 ms", most)
		if most > 11 {
			t.Error("too long")
		}
	})
}

// lineCounter counts what is logged.
type lineCounter struct{ atomic.Int64 }

func (c *lineCounter) Write(p []byte) (int, error) {
	c.Add(1)
	return len(p), nil
}

// An address with a lifetime that was refused was told again each second, for the time
// that is left is another.
func TestRefusalIsToldOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		fake := routestest.ThreeLinks()
		fake.FailWith(func(op routes.Op) error {
			if _, ok := op.(routes.PutAddress); ok {
				return errors.New("refused")
			}
			return nil
		})
		lines := &lineCounter{}
		r := reconcile.New(fake, slog.New(slog.NewTextHandler(lines, nil)), func(routes.Applied) {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		set := routestest.Set(true, routestest.One)
		set.Addresses[0].Until = time.Now().Add(time.Hour)
		r.Want(set)
		for range 600 {
			r.Wake()
			time.Sleep(100 * time.Millisecond)
		}
		if n := lines.Load(); n != 1 {
			t.Errorf("%d lines in a minute, want one", n)
		}
	})
}

// What is wanted in another form than the Set's, for a link is gone, was tried twenty
// times a second when the kernel refused it.
func TestRefusedInPartPauses(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c, r := startCounting(t)
		r.Want(routestest.Set(true, routestest.One, routestest.Two))
		time.Sleep(time.Second)
		tries := 0
		c.FailWith(func(op routes.Op) error {
			if key := routes.KeyOf(op); key.Kind == routes.KindRoute && key.Table == 254 {
				tries++
				return errors.New("refused")
			}
			return nil
		})
		c.Edit(func(s *routes.State) {
			s.Links = slices.DeleteFunc(s.Links, func(l routes.Link) bool { return l.Name == "eth2" })
		})
		for range 600 {
			r.Wake()
			time.Sleep(100 * time.Millisecond)
		}
		if tries < 2 || tries > 70 {
			t.Errorf("tried %d times in a minute, want growing pauses up to a second", tries)
		}
	})
}
