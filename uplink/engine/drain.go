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
	since   time.Time // when the order was given
	sockets time.Time // when the sockets counted last were asked for
	flows   time.Time // likewise
	empty   int
}

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
	if c == nil || !c.since.Equal(u.Admin.Since) {
		c = &drainCount{since: u.Admin.Since}
		e.drained[u.Config.Name] = c
	}
	left := connectionsOf(u, e.connections)
	sockets, flows := e.meter.connections.last(), e.meter.flows.last()
	if reason := e.meter.connections.failure() + e.meter.flows.failure(); reason != "" {
		c.empty = 0
		return api.DrainProgress{State: api.DrainUnknown, Connections: left, Reason: reason}
	}
	fresh := sockets.began.After(c.since) && sockets.began.After(c.sockets)
	freshFlows := !e.meter.flows.inUse() || flows.began.After(c.since) && flows.began.After(c.flows)
	switch {
	case left.Known && left.N > 0:
		c.empty = 0
	case left.Known && fresh && freshFlows:
		c.sockets, c.flows = sockets.began, flows.began
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
	return api.DrainProgress{
		State: api.DrainEnded, Connections: connectionsOf(u, v.connections),
		Reason: fmt.Sprintf("uplink %s is drained no longer: it is %s", name, u.OperState()),
	}, nil
}

// connectionsOf returns how many connections an uplink has. Without an address it has
// none.
func connectionsOf(u *uplink.Uplink, all map[string]api.Figure[int]) api.Figure[int] {
	for f := range u.Paths {
		if len(u.Addresses(&u.Paths[f])) > 0 {
			return all[u.Config.Interface]
		}
	}
	return api.Known(0)
}
