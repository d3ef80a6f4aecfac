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
	s.Sysctls = slices.Clone(s.Sysctls)
	s.Saved = slices.Clone(s.Saved)
	s.RaisedUp = slices.Clone(s.RaisedUp)
	return s
}

// Read implements routes.Kernel.
func (f *Fake) Read(_ context.Context, scope routes.Scope) (routes.State, error) {
	s := f.State()
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
		return !scope.Owner.OwnsRoute(r) && (r.Dst.Bits() != 0 || !slices.Contains(scope.Tables, r.Table))
	})
	s.Sysctls = slices.DeleteFunc(s.Sysctls, func(c routes.Sysctl) bool {
		saved := slices.ContainsFunc(s.Saved, func(s routes.Saved) bool { return s.Name == c.Name })
		return !saved && !slices.Contains(scope.Sysctls, c.Name)
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
	switch op := op.(type) {
	case routes.AddRoute, routes.ReplaceRoute, routes.DeleteRoute, routes.AddRule, routes.DeleteRule:
		return f.doRouting(op)
	case routes.SetLinkUp:
		return f.setLink(op.Interface, true)
	case routes.SetLinkDown:
		return f.setLink(op.Interface, false)
	case routes.WriteSysctl:
		return f.writeSysctl(op.Sysctl)
	case routes.PutFirewall:
		f.state.Firewall = op.Firewall.Version()
	case routes.DeleteFirewall:
		f.state.Firewall = ""
	case routes.RestoreSysctl:
		f.restoreSysctl(op.Saved)
	case routes.PutAddress:
		return f.putAddress(op.Address)
	case routes.DeleteAddress:
		f.deleteAddress(op.Address)
	default:
		return fmt.Errorf("routestest: unknown operation %T", op)
	}
	return nil
}

func (f *Fake) doRouting(op routes.Op) error {
	switch op := op.(type) {
	case routes.AddRoute:
		return f.putRoute(op.Route, false)
	case routes.ReplaceRoute:
		return f.putRoute(op.Route, true)
	case routes.DeleteRoute:
		f.state.Routes = slices.DeleteFunc(f.state.Routes, func(r routes.Route) bool {
			return r.RouteKey == op.Route.RouteKey && r.Protocol == op.Route.Protocol
		})
	case routes.AddRule:
		if !slices.Contains(f.state.Rules, op.Rule) {
			f.state.Rules = append(f.state.Rules, op.Rule)
		}
	case routes.DeleteRule:
		f.state.Rules = slices.DeleteFunc(f.state.Rules, func(r routes.Rule) bool { return r == op.Rule })
	}
	return nil
}

func (f *Fake) link(name string) *routes.Link {
	for i := range f.state.Links {
		if f.state.Links[i].Name == name {
			return &f.state.Links[i]
		}
	}
	return nil
}

func (f *Fake) setLink(name string, up bool) error {
	l := f.link(name)
	if l == nil {
		return routes.ErrGone
	}
	if up && !l.Up {
		f.state.RaisedUp = append(f.state.RaisedUp, name)
	}
	if !up {
		f.state.RaisedUp = slices.DeleteFunc(f.state.RaisedUp, func(n string) bool { return n == name })
		f.flush(name)
	}
	l.Up = up
	return nil
}

// flush drops the routes that lose their last usable nexthop with a link, as
// the kernel does, silently; a route that has others left keeps all of them.
func (f *Fake) flush(name string) {
	f.state.Routes = slices.DeleteFunc(f.state.Routes, func(r routes.Route) bool {
		return r.Type == routes.Unicast && !slices.ContainsFunc(r.NextHops, func(h routes.NextHop) bool {
			l := f.link(h.Interface)
			return h.Interface != name && l != nil && l.Up
		})
	})
}

func (f *Fake) writeSysctl(s routes.Sysctl) error {
	i := slices.IndexFunc(f.state.Sysctls, func(c routes.Sysctl) bool { return c.Name == s.Name })
	if i < 0 {
		return routes.ErrGone
	}
	was := f.state.Sysctls[i].Value
	f.state.Sysctls[i].Value = s.Value
	for j := range f.state.Saved {
		if saved := &f.state.Saved[j]; saved.Name == s.Name {
			if was != saved.Set {
				saved.Value = was
			}
			saved.Set = s.Value
			return nil
		}
	}
	f.state.Saved = append(f.state.Saved, routes.Saved{Sysctl: routes.Sysctl{Name: s.Name, Value: was}, Set: s.Value})
	return nil
}

func (f *Fake) restoreSysctl(saved routes.Saved) {
	for i := range f.state.Sysctls {
		if c := &f.state.Sysctls[i]; c.Name == saved.Name && c.Value == saved.Set {
			c.Value = saved.Value
		}
	}
	f.state.Saved = slices.DeleteFunc(f.state.Saved, func(s routes.Saved) bool { return s.Name == saved.Name })
}

func (f *Fake) putAddress(a routes.Address) error {
	if f.link(a.Interface) == nil {
		return routes.ErrGone
	}
	i := slices.IndexFunc(f.state.Addresses, func(h routes.Address) bool {
		return h.Interface == a.Interface && h.Prefix == a.Prefix
	})
	if i >= 0 {
		f.state.Addresses[i] = a
		return nil
	}
	f.state.Addresses = append(f.state.Addresses, a)
	return nil
}

func (f *Fake) deleteAddress(a routes.Address) {
	f.state.Addresses = slices.DeleteFunc(f.state.Addresses, func(h routes.Address) bool {
		return h.Interface == a.Interface && h.Prefix == a.Prefix
	})
	left := slices.ContainsFunc(f.state.Addresses, func(h routes.Address) bool { return h.Interface == a.Interface })
	if !left {
		f.flush(a.Interface)
	}
}

func (f *Fake) putRoute(r routes.Route, replace bool) error {
	for _, hop := range r.NextHops {
		l := f.link(hop.Interface)
		if l == nil {
			return routes.ErrGone
		}
		if !l.Up {
			return fmt.Errorf("network is down: %s", hop.Interface)
		}
		if hop.Gateway.IsValid() && !hop.OnLink && !f.onLink(hop) {
			return fmt.Errorf("nexthop %s has invalid gateway", hop.Gateway)
		}
	}
	i := slices.IndexFunc(f.state.Routes, func(h routes.Route) bool { return h.RouteKey == r.RouteKey })
	switch {
	case i < 0:
		f.state.Routes = append(f.state.Routes, r)
	case !replace:
		return routes.ErrConflict
	default:
		f.state.Routes[i] = r
	}
	return nil
}

func (f *Fake) onLink(hop routes.NextHop) bool {
	return slices.ContainsFunc(f.state.Addresses, func(a routes.Address) bool {
		return a.Interface == hop.Interface && a.Prefix.Contains(hop.Gateway)
	})
}
