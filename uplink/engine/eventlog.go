package engine

import (
	"log/slog"
	"slices"
	"sync"

	"uplinkd/uplink/api"
)

// eventsKept is how many events are remembered.
const eventsKept = 1000

// An eventLog remembers the last events. Its methods may be called from any
// goroutine.
type eventLog struct {
	mu     sync.Mutex // guards what follows
	events []api.Event
	last   uint64
	more   chan struct{} // closed when there is another
}

func newEventLog() *eventLog { return &eventLog{more: make(chan struct{})} }

// add remembers events, and forgets the oldest.
func (l *eventLog) add(events []api.Event) {
	if len(events) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.last++
		e.ID = l.last
		l.events = append(l.events, e)
	}
	if n := len(l.events) - eventsKept; n > 0 {
		l.events = slices.Delete(l.events, 0, n)
	}
	close(l.more)
	l.more = make(chan struct{})
}

// after returns the events that came after the one of that number, and a channel
// that is closed when there is another.
func (l *eventLog) after(id uint64) ([]api.Event, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.events, func(e api.Event) bool { return e.ID > id })
	if i < 0 {
		return nil, l.more
	}
	return slices.Clone(l.events[i:]), l.more
}

// newest returns the number of the last event, 0 when there is none.
func (l *eventLog) newest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Events returns the events after the one of that number, oldest first, and a
// channel that is closed when there is another. It may be called from any
// goroutine.
func (e *Engine) Events(after uint64) ([]api.Event, <-chan struct{}) {
	return e.eventLog.after(after)
}

// logMeddling tells of conflicts and fights that have begun or ended: traffic may go by
// another route than ours, and nothing else in the log would say so.
func logMeddling(log *slog.Logger, changes []api.Event) {
	for _, c := range changes {
		switch {
		case c.Kind == api.EventFight && c.To != "":
			log.Warn("fight: what is ours is undone again and again, and from now on put back with pauses",
				"object", c.To, "reason", c.Reason, "remedy", c.Evidence[0])
		case c.Kind == api.EventFight:
			log.Info("the fight is over", "object", c.From, "reason", c.Reason)
		case c.Kind != api.EventConflict:
		case c.To != "":
			log.Warn("a foreign route stands where ours belongs, or before it", "route", c.To, "reason", c.Reason,
				"remedy", c.Evidence[0])
		default:
			log.Info("the foreign route is gone", "route", c.From)
		}
	}
}
