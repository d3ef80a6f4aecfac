// Package calm keeps a log readable when something outside repeats itself: of lines that
// are alike it lets some through in a minute, and sums up the rest in one.
package calm

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	// window is how long lines that are alike are counted together, and burst how many
	// of them are let through in it. An uplink that goes down and comes back nine times
	// in a minute still shows each time.
	window = time.Minute
	burst  = 20

	// kindsMost bounds how many kinds of lines are told apart. We write some dozens.
	kindsMost = 1000
)

// A Handler hands records on to another one. Two are alike that have the same level,
// message and uplink, or hook: what else they say may be the stranger's. Debugging lines
// all go through: somebody has asked for them. Close must be called at the end.
type Handler struct {
	next   slog.Handler
	shared *shared
	of     string // what the attributes given beforehand add to a record's name
}

var _ slog.Handler = Handler{}

type shared struct {
	mu    sync.Mutex // guards what follows
	kinds map[string]*kind
}

// A kind counts the lines of one kind since the first of them.
type kind struct {
	began  time.Time
	passed int
	held   int         // back, since
	last   slog.Record // of those
	next   slog.Handler
	timer  *time.Timer // set with the first that was held back
}

// NewHandler returns a Handler before another one.
func NewHandler(next slog.Handler) Handler {
	return Handler{next: next, shared: &shared{kinds: map[string]*kind{}}}
}

// Enabled implements slog.Handler.
func (h Handler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	of := h.of
	for _, a := range attrs {
		of += partOf(a)
	}
	return Handler{next: h.next.WithAttrs(attrs), shared: h.shared, of: of}
}

// WithGroup implements slog.Handler.
func (h Handler) WithGroup(name string) slog.Handler {
	return Handler{next: h.next.WithGroup(name), shared: h.shared, of: h.of}
}

// Handle implements slog.Handler.
func (h Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo || h.shared.pass(h.next, nameOf(r, h.of), r) {
		return h.next.Handle(ctx, r)
	}
	return nil
}

// Close writes what is still to be summed up.
func (h Handler) Close() {
	h.shared.mu.Lock()
	names := make([]string, 0, len(h.shared.kinds))
	for name := range h.shared.kinds {
		names = append(names, name)
	}
	h.shared.mu.Unlock()
	for _, name := range names {
		h.shared.sumUp(name)
	}
}

// pass counts a record of a name, and reports whether it is to be written now.
func (s *shared) pass(next slog.Handler, name string, r slog.Record) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kinds[name]
	if k == nil && len(s.kinds) >= kindsMost {
		s.forget(now)
		if len(s.kinds) >= kindsMost {
			name = "" // all the rest is one kind
			k = s.kinds[name]
		}
	}
	if k == nil || k.held == 0 && now.Sub(k.began) >= window {
		k = &kind{began: now}
		s.kinds[name] = k
	}
	if k.passed < burst {
		k.passed++
		return true
	}
	k.held++
	k.last, k.next = r.Clone(), next
	if k.timer == nil {
		k.timer = time.AfterFunc(window-now.Sub(k.began), func() { s.sumUp(name) })
	}
	return false
}

// forget forgets the kinds of which nothing is to be summed up any more. mu is held.
func (s *shared) forget(now time.Time) {
	for name, k := range s.kinds {
		if k.held == 0 && now.Sub(k.began) >= window {
			delete(s.kinds, name)
		}
	}
}

// sumUp writes the last of the lines that were held back, and how many these were.
func (s *shared) sumUp(name string) {
	s.mu.Lock()
	k := s.kinds[name]
	delete(s.kinds, name)
	s.mu.Unlock()
	if k == nil || k.held == 0 {
		return
	}
	k.timer.Stop()
	r := k.last
	r.Time = time.Now()
	r.AddAttrs(slog.Int("repeated", k.held), slog.Duration("over", r.Time.Sub(k.began).Round(time.Second)))
	_ = k.next.Handle(context.Background(), r) // a log that cannot be written has nowhere to say so
}

// nameOf returns what records that are alike have in common; of is what was known of them beforehand.
func nameOf(r slog.Record, of string) string {
	name := fmt.Sprintf("%d\n%s", r.Level, r.Message) + of
	r.Attrs(func(a slog.Attr) bool {
		name += partOf(a)
		return true
	})
	return name
}

// partOf returns what an attribute adds to the name of a record; "": nothing.
func partOf(a slog.Attr) string {
	if a.Key == "uplink" || a.Key == "hook" {
		return "\n" + a.Value.String()
	}
	return ""
}
