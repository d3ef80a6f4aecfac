// Package routestest has a Kernel in memory, and the contract that it and the
// real one both keep.
package routestest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"uplinkd/routes"
)

// A Fake is a Kernel in memory. It refuses what the real one refuses. The zero
// value has no interfaces.
type Fake struct {
	mu    sync.Mutex // guards what follows
	state routes.State
	ops   []routes.Op
	fail  func(routes.Op) error
	reads func() error
}

var _ routes.Kernel = (*Fake)(nil)

// Edit changes the state as another program would.
func (f *Fake) Edit(edit func(*routes.State)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	edit(&f.state)
}

// FailWith makes operations for which fail returns an error fail with it and
// change nothing. nil ends that.
func (f *Fake) FailWith(fail func(routes.Op) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

// FailReads makes readings for which fail returns an error fail with it. nil ends that.
func (f *Fake) FailReads(fail func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = fail
}

// Ops returns the operations asked for since the last call.
func (f *Fake) Ops() []routes.Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops := f.ops
	f.ops = nil
	return ops
}

// State returns a copy of everything the fake holds.
func (f *Fake) State() routes.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.copy()
}

func (f *Fake) copy() routes.State {
	s := f.state
	s.At = time.Now()
	s.Links = slices.Clone(s.Links)
	s.Addresses = slices.Clone(s.Addresses)
	s.Routes = slices.Clone(s.Routes)
	s.Rules = slices.Clone(s.Rules)
	s.Endpoints = slices.Clone(s.Endpoints)
	s.Settings = slices.Clone(s.Settings)
	s.Saved = slices.Clone(s.Saved)
	s.RaisedUp = slices.Clone(s.RaisedUp)
	return s
}

// Read implements routes.Kernel.
func (f *Fake) Read(_ context.Context, scope routes.Scope) (routes.State, error) {
	f.mu.Lock()
	fail := f.reads
	f.mu.Unlock()
	if fail != nil {
		if err := fail(); err != nil {
			return routes.State{}, err
		}
	}
	s := f.State()
	s.MPTCP = true
	asked := func(name string) bool { return slices.Contains(scope.Links, name) }
	s.Addresses = slices.DeleteFunc(s.Addresses, func(a routes.Address) bool {
		elsewhere := !asked(a.Interface) && !scope.Owner.OwnsAddress(a)
		if elsewhere && !a.Prefix.Addr().IsLoopback() {
			s.Elsewhere = append(s.Elsewhere, a)
		}
		return elsewhere
	})
	named := func(name string) bool {
		return asked(name) || slices.Contains(s.RaisedUp, name) ||
			slices.ContainsFunc(s.Addresses, func(a routes.Address) bool { return a.Interface == name })
	}
	s.Links = slices.DeleteFunc(s.Links, func(l routes.Link) bool { return !named(l.Name) })
	s.Routes = slices.DeleteFunc(s.Routes, func(r routes.Route) bool {
		asked := slices.Contains(scope.Tables, r.Table) || slices.Contains(scope.Shared, r.Table)
		return !scope.Owner.OwnsRoute(r) && (r.Dst.Bits() != 0 || !asked)
	})
	s.Settings = slices.DeleteFunc(s.Settings, func(c routes.Setting) bool {
		saved := slices.ContainsFunc(s.Saved, func(s routes.Saved) bool { return s.ID() == c.ID() })
		return !saved && !slices.ContainsFunc(scope.Settings, func(w routes.Setting) bool { return w.ID() == c.ID() })
	})
	return s, nil
}

// Do implements routes.Kernel.
func (f *Fake) Do(_ context.Context, op routes.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ops = append(f.ops, op)
	if f.fail != nil {
		if err := f.fail(op); err != nil {
			return err
		}
	}
	if err := f.refusal(op); err != nil {
		return err
	}
	f.state = routes.Apply(f.state, op)
	return nil
}

// refusal returns why the kernel would not carry an operation out.
func (f *Fake) refusal(op routes.Op) error {
	switch op := op.(type) {
	case routes.SetLinkUp:
		return f.exists(op.Interface)
	case routes.SetLinkDown:
		return f.exists(op.Interface)
	case routes.PutAddress:
		return f.exists(op.Address.Interface)
	case routes.WriteSetting:
		if !slices.ContainsFunc(f.state.Settings, func(c routes.Setting) bool { return c.ID() == op.Setting.ID() }) {
			return routes.ErrGone
		}
	case routes.AddRoute:
		if slices.ContainsFunc(f.state.Routes, func(h routes.Route) bool { return h.RouteKey == op.Route.RouteKey }) {
			return routes.ErrConflict
		}
		return f.ways(op.Route)
	case routes.ReplaceRoute:
		return f.ways(op.Route)
	}
	return nil
}

func (f *Fake) exists(name string) error {
	if _, ok := f.state.Link(name); !ok {
		return routes.ErrGone
	}
	return nil
}

// ways returns why a route's nexthops are not taken (fib_check_nh).
func (f *Fake) ways(r routes.Route) error {
	for _, hop := range r.NextHops {
		l, ok := f.state.Link(hop.Interface)
		switch {
		case !ok:
			return routes.ErrGone
		case !l.Up:
			return fmt.Errorf("network is down: %s", hop.Interface)
		case hop.Gateway.IsValid() && !hop.OnLink && !f.onLink(hop):
			return fmt.Errorf("nexthop %s has invalid gateway", hop.Gateway)
		}
	}
	return nil
}

func (f *Fake) onLink(hop routes.NextHop) bool {
	return slices.ContainsFunc(f.state.Addresses, func(a routes.Address) bool {
		return a.Interface == hop.Interface && a.Prefix.Contains(hop.Gateway)
	})
}
