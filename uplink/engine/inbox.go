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

// handleAll makes the steps for messages, in their order: one for all reports that follow each other.
func (e *Engine) handleAll(ctx context.Context, list []message) {
	for len(list) > 0 {
		n := reports(list)
		if n > 1 {
			e.handleReports(ctx, list[:n])
		} else {
			n = 1
			e.handle(ctx, list[0])
		}
		list = list[n:]
	}
}

// reports returns how many of the first messages are what probers say, each of another path: of what one says twice
// nothing is passed over.
func reports(list []message) int {
	if len(list) < 2 {
		return 0
	}
	seen := map[path]bool{}
	for n, m := range list {
		changed, ok := m.event.(uplink.ProbeChanged)
		at := path{changed.Interface, changed.Family}
		if !ok || seen[at] {
			return n
		}
		seen[at] = true
	}
	return len(list)
}

// handleReports makes one step for what several probers say.
func (e *Engine) handleReports(ctx context.Context, list []message) {
	all := make(uplink.ProbesChanged, 0, len(list))
	for _, m := range list {
		if m.from != nil && !e.workers.has(m.from) {
			continue // of a worker that has been let go meanwhile
		}
		e.lag.Add(time.Since(m.sent))
		changed, _ := m.event.(uplink.ProbeChanged)
		all = append(all, e.withUnheard(changed))
	}
	if len(all) > 0 {
		e.step(ctx, all)
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
