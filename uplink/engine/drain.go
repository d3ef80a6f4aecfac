package engine

import (
	"fmt"
	"time"

	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// drainCounts is how many counts in a row must find nothing: a connection that was
// just being made is in none, or only in the next.
const drainCounts = 2

// A drainCount is how often in a row a drained uplink was found without connections.
type drainCount struct {
	order   time.Time // when it was given; of the wall clock, which may have been set since
	since   time.Time // when this process first saw the order
	sockets time.Time // when the sockets counted last were asked for
	flows   time.Time // likewise
	empty   int
}

// counted is when the counts were asked for that e.connections has.
type counted struct{ sockets, flows time.Time }

// drains returns how far each drained uplink is.
func (e *Engine) drains() map[string]api.DrainProgress {
	var all map[string]api.DrainProgress
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		if u.Admin.State != api.AdminDrained {
			delete(e.drained, u.Config.Name)
			continue
		}
		if all == nil {
			all = map[string]api.DrainProgress{}
		}
		all[u.Config.Name] = e.drain(u)
	}
	return all
}

func (e *Engine) drain(u *uplink.Uplink) api.DrainProgress {
	c := e.drained[u.Config.Name]
	if c == nil || !c.order.Equal(u.Admin.Since) {
		c = &drainCount{order: u.Admin.Since, since: time.Now()}
		e.drained[u.Config.Name] = c
	}
	left := connectionsOf(u, e.connections)
	if reason := e.meter.connections.failure() + e.meter.flows.failure(); reason != "" {
		c.empty = 0
		return api.DrainProgress{State: api.DrainUnknown, Connections: left, Reason: reason}
	}
	at := e.counted
	fresh := at.sockets.After(c.since) && at.sockets.After(c.sockets)
	freshFlows := !e.meter.flows.inUse() || at.flows.After(c.since) && at.flows.After(c.flows)
	switch {
	case left.Known && left.N > 0:
		c.empty = 0
	case left.Known && fresh && freshFlows:
		c.sockets, c.flows = at.sockets, at.flows
		c.empty++
	}
	if c.empty >= drainCounts {
		return api.DrainProgress{State: api.DrainDone, Connections: left}
	}
	return api.DrainProgress{State: api.DrainRunning, Connections: left}
}

// Drain returns how far an uplink is from having no connections left. The error is
// that of an uplink that is not configured.
func (e *Engine) Drain(name string) (api.DrainProgress, error) {
	v := e.now()
	if p, ok := v.drains[name]; ok {
		return p, nil
	}
	u := v.state.Named(name)
	if u == nil {
		return api.DrainProgress{}, fmt.Errorf("%w: %q: see uplinkd status", uplink.ErrNoUplink, name)
	}
	if u.Admin.State == api.AdminDrained { // and nothing has been counted yet
		return api.DrainProgress{State: api.DrainRunning}, nil
	}
	return api.DrainProgress{
		State: api.DrainEnded, Connections: connectionsOf(u, v.connections),
		Reason: fmt.Sprintf("uplink %s is drained no longer: it is %s", name, u.OperState()),
	}, nil
}

// connectionsOf returns how many connections an uplink has. Without an address it has
// none.
func connectionsOf(u *uplink.Uplink, all map[string]api.Figure[int]) api.Figure[int] {
	for p := range u.Present() {
		if len(u.Addresses(p)) > 0 {
			return all[u.Config.Interface]
		}
	}
	return api.Known(0)
}
