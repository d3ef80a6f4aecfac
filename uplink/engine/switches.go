package engine

import (
	"maps"
	"slices"
	"sync"
	"time"

	"uplinkd/internal/histogram"
	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// switchesKept is how many switches are remembered.
const switchesKept = 200

// A switchBook remembers the last switches, and what has become of them. Its methods may be called
// from any goroutine.
type switchBook struct {
	mu       sync.Mutex // guards what follows
	switches []api.Switch
	changed  uint64 // how often
	counts   map[api.SwitchCount]uint64
	figures  map[way]*api.PathFigures
}

// of returns the figures of a path. mu is held.
func (b *switchBook) of(at way) *api.PathFigures {
	f := b.figures[at]
	if f == nil {
		f = &api.PathFigures{
			Uplink: at.uplink, Family: at.family.String(), ToDoubt: new(histogram.Durations),
			ToDown: new(histogram.Durations), Routed: new(histogram.Durations),
		}
		if b.figures == nil {
			b.figures, b.counts = map[way]*api.PathFigures{}, map[api.SwitchCount]uint64{}
		}
		b.figures[at] = f
		// A rise from nothing would not show: what counts most is there from the first.
		for _, to := range []api.OperState{api.Up, api.Doubtful, api.Down} {
			for _, cause := range api.Causes {
				b.counts[api.SwitchCount{Uplink: at.uplink, Family: at.family.String(), To: to, Cause: cause}] += 0
			}
		}
	}
	return f
}

// count counts a change of state. mu is held.
func (b *switchBook) count(t uplink.Transition, now time.Time) {
	f := b.of(way{t.Uplink, t.Family})
	b.counts[api.SwitchCount{Uplink: t.Uplink, Family: t.Family.String(), To: t.To, Cause: t.Cause}]++
	switch {
	case !t.Since.Before(now):
	case t.To == api.Doubtful:
		f.ToDoubt.Add(now.Sub(t.Since))
	case t.To == api.Down:
		f.ToDown.Add(now.Sub(t.Since))
	}
}

// forget drops the figures of uplinks that are there no longer.
func (b *switchBook) forget(s *uplink.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	gone := func(name, family string) bool {
		u := s.Named(name)
		return u == nil || !slices.ContainsFunc(slices.Collect(u.Present()), func(p *uplink.Path) bool {
			return p.Family.String() == family
		})
	}
	maps.DeleteFunc(b.figures, func(at way, _ *api.PathFigures) bool { return gone(at.uplink, at.family.String()) })
	maps.DeleteFunc(b.counts, func(c api.SwitchCount, _ uint64) bool { return gone(c.Uplink, c.Family) })
}

// fill adds the figures to a snapshot's, in a steady order.
func (b *switchBook) fill(to *api.Figures) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c, n := range b.counts {
		c.N = n
		to.Switches = append(to.Switches, c)
	}
	for _, f := range b.figures {
		to.Paths = append(to.Paths, *f)
	}
}

// note takes in that an uplink's state has changed: a switch begins with it, or goes on.
func (b *switchBook) note(t uplink.Transition, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.find(t.Switch)
	if s == nil {
		b.switches = append(b.switches, api.Switch{
			ID: t.Switch, Uplink: t.Uplink, Interface: t.Interface, Family: t.Family.String(), From: t.From,
		})
		if n := len(b.switches) - switchesKept; n > 0 {
			b.switches = slices.Delete(b.switches, 0, n)
		}
		s = &b.switches[len(b.switches)-1]
	}
	s.To, s.Cause, s.Reason, s.Evidence, s.At = t.To, t.Cause, t.Reason, t.Evidence, now
	if t.Since.Before(now) && s.Since.IsZero() && s.DoubtAt.IsZero() {
		s.Since = api.When{Time: t.Since}
	}
	if t.To == api.Doubtful && s.DoubtAt.IsZero() {
		s.DoubtAt = api.When{Time: now}
	}
	b.changed++
	b.count(t, now)
}

// routed takes in that the kernel has answered to what a switch asked of it. What it has refused of others is
// no matter of the switch.
func (b *switchBook) routed(w waiting, a *routes.Applied) {
	b.update(w.Transition, func(s *api.Switch, f *api.PathFigures) {
		switch {
		case !a.Leads() && a.Err != nil:
			s.Error = a.Err.Error()
		case a.Leads() && s.Routed.IsZero():
			s.Routed = api.When{Time: a.At}
		}
		if a.Leads() && a.At.After(w.noted) {
			f.Routed.Add(a.At.Sub(w.noted))
		}
	})
}

// ended takes in that the connections of a switch have been ended, and why not all of them.
func (b *switchBook) ended(t uplink.Transition, at time.Time, what uplink.Disconnected, err error) {
	b.addEnded(t, what, err)
	b.update(t, func(s *api.Switch, _ *api.PathFigures) {
		s.Ended = api.When{Time: at}
		if err != nil {
			s.Error = err.Error()
		}
	})
}

// slipped takes in what was ended a moment later.
func (b *switchBook) slipped(t uplink.Transition, what uplink.Disconnected) { b.addEnded(t, what, nil) }

// addEnded adds what was ended. What was not looked at, or failed, stays unknown.
func (b *switchBook) addEnded(t uplink.Transition, what uplink.Disconnected, err error) {
	b.update(t, func(s *api.Switch, f *api.PathFigures) {
		if t.Disconnect.Mask != 0 && (err == nil || what.Flows > 0) {
			s.Flows = api.Known(s.Flows.N + what.Flows)
		}
		if len(t.Disconnect.Addresses) > 0 && (err == nil || what.Sockets > 0) {
			s.Sockets = api.Known(s.Sockets.N + what.Sockets)
		}
		flows, sockets := &f.EndedFlows, &f.EndedSockets
		if t.Disconnect.Moves {
			flows, sockets = &f.MovedFlows, &f.MovedSockets
		}
		*flows, *sockets = *flows+uint64(what.Flows), *sockets+uint64(what.Sockets)
	})
}

// update has a switch and the figures of its path brought up to date. What is part of no switch counts for its
// path; of a path that is there no longer nothing is kept.
func (b *switchBook) update(t uplink.Transition, with func(*api.Switch, *api.PathFigures)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, f := b.find(t.Switch), b.figures[way{t.Uplink, t.Family}]
	if s == nil {
		s = &api.Switch{}
	}
	if f == nil {
		f = &api.PathFigures{Routed: new(histogram.Durations)}
	}
	with(s, f)
	b.changed++
}

// find returns the switch of a number; nil: it has been forgotten, or there is none. mu is held.
func (b *switchBook) find(id uint64) *api.Switch {
	for i := len(b.switches) - 1; i >= 0; i-- {
		if b.switches[i].ID == id {
			return &b.switches[i]
		}
	}
	return nil
}

// last returns the switches, oldest first, and how often they have changed.
func (b *switchBook) last() ([]api.Switch, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.switches), b.changed
}

// changes returns how often a switch was added or told more of.
func (b *switchBook) changes() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// Switches returns the last switches, oldest first, and a number that grows with each change of one. It
// may be called from any goroutine.
func (e *Engine) Switches() ([]api.Switch, uint64) { return e.switches.last() }
