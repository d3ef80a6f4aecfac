package engine

import (
	"slices"
	"sync"
	"time"

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
	if t.Since.Before(now) && s.Since.IsZero() {
		s.Since = api.When{Time: t.Since}
	}
	if t.To == api.Doubtful && s.DoubtAt.IsZero() {
		s.DoubtAt = api.When{Time: now}
	}
	b.changed++
}

// routed takes in that the kernel has answered to what a switch asked of it.
func (b *switchBook) routed(id uint64, at time.Time, err error) {
	b.update(id, func(s *api.Switch) {
		if s.Routed.IsZero() && err == nil {
			s.Routed = api.When{Time: at}
		}
		if err != nil {
			s.Error = err.Error()
		}
	})
}

// ended takes in that the connections of a switch have been ended.
func (b *switchBook) ended(id uint64, at time.Time, what uplink.Disconnected, err error) {
	b.update(id, func(s *api.Switch) {
		s.Ended = api.When{Time: at}
		s.Flows, s.Sockets = api.Known(s.Flows.N+what.Flows), api.Known(s.Sockets.N+what.Sockets)
		if err != nil {
			s.Error = err.Error()
		}
	})
}

func (b *switchBook) update(id uint64, with func(*api.Switch)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.find(id); s != nil {
		with(s)
		b.changed++
	}
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

// Switches returns the last switches, oldest first, and a number that grows with each change of one. It
// may be called from any goroutine.
func (e *Engine) Switches() ([]api.Switch, uint64) { return e.switches.last() }
