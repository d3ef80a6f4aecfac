package engine

import (
	"context"
	"time"

	"uplinkd/uplink"
)

// takeInbox returns the messages that wait.
func (e *Engine) takeInbox() []message {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := e.inbox
	e.inbox = nil
	return list
}

// handleAll makes the steps for messages, in their order: one for all that can be decided of together.
func (e *Engine) handleAll(ctx context.Context, list []message) {
	for len(list) > 0 {
		n := together(list)
		if n > 1 {
			e.handleTogether(ctx, list[:n])
		} else {
			n = 1
			e.handle(ctx, list[0])
		}
		list = list[n:]
	}
}

// together returns how many of the first messages can be decided of together: what probers say, each of another path,
// carriers that are lost, and neighbours that do not answer, as many links bring them at once. Of what one prober says
// twice nothing is passed over.
func together(list []message) int {
	if len(list) < 2 {
		return 0
	}
	seen := map[path]bool{}
	for n, m := range list {
		switch event := m.event.(type) {
		case uplink.ProbeChanged:
			at := path{event.Interface, event.Family}
			if seen[at] {
				return n
			}
			seen[at] = true
		case uplink.CarrierLost, uplink.NeighbourFailed:
		default:
			return n
		}
	}
	return len(list)
}

// handleTogether makes one step for several messages, if they change anything.
func (e *Engine) handleTogether(ctx context.Context, list []message) {
	var all uplink.Together
	var failed []uplink.NeighbourFailed
	for _, m := range list {
		if m.from != nil && !e.workers.has(m.from) {
			continue // of a worker that has been let go meanwhile
		}
		e.lag.Add(time.Since(m.sent))
		switch event := m.event.(type) {
		case uplink.ProbeChanged:
			all = append(all, e.withUnheard(event))
		case uplink.CarrierLost:
			if e.state.HasLink(event.Index) {
				all = append(all, event)
			}
		case uplink.NeighbourFailed:
			failed = append(failed, event)
		}
	}
	if len(all) > 0 {
		e.step(ctx, all)
	}
	for _, f := range failed { // only its probers are told
		e.reportUnreachable(f)
	}
	for _, m := range list {
		acknowledge(m.done, nil)
	}
}

// withUnheard adds what the listener knows of the same interface.
func (e *Engine) withUnheard(changed uplink.ProbeChanged) uplink.ProbeChanged {
	changed.Unheard = e.unheardBy(changed.Interface)
	return changed
}
