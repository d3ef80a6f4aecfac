// Package hooks runs programs on what happens to uplinks. What they do, or fail to
// do, changes nothing of the daemon.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"uplinkd/internal/latest"
	"uplinkd/internal/run"
	"uplinkd/uplink/api"
)

// A Hook is a program and what it is run on.
type Hook struct {
	Run     []string      // its path, and its arguments
	On      []string      // lease, address, up, down, doubtful, switch, dns
	Uplinks []string      // only of these; none: of all
	Timeout time.Duration // it is ended after
}

// queueMost is how many runs of one hook may wait. A hook that cannot keep up
// misses the oldest: the newest tell how things are.
const queueMost = 16

// outputMost is how much of what a program says is logged, in bytes.
const outputMost = 2000

// A Runner runs hooks. Its methods may be called from any goroutine.
type Runner struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	queues []*queue
	wake   latest.Wake
}

// A queue is one hook and what waits for it. One run of a hook follows the other.
type queue struct {
	hook    Hook
	waiting []api.Event
	busy    bool
}

// New returns a Runner without hooks.
func New(log *slog.Logger) *Runner { return &Runner{log: log, wake: latest.NewWake()} }

// Set says which hooks there are from now on. What waits for one that stays waits on.
func (r *Runner) Set(list []Hook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.queues
	r.queues = nil
	for _, h := range list {
		q := &queue{hook: h}
		i := slices.IndexFunc(old, func(o *queue) bool { return equal(o.hook, h) })
		if i >= 0 {
			q = old[i]
			old = slices.Delete(slices.Clone(old), i, i+1)
		}
		r.queues = append(r.queues, q)
	}
}

func equal(a, b Hook) bool {
	return slices.Equal(a.Run, b.Run) && slices.Equal(a.On, b.On) && slices.Equal(a.Uplinks, b.Uplinks) &&
		a.Timeout == b.Timeout
}

// Tell says what has happened. It does not block.
func (r *Runner) Tell(e api.Event) {
	names := eventNames(e)
	r.mu.Lock()
	for _, q := range r.queues {
		if q.hook.wants(e, names) {
			q.waiting = append(q.waiting, e)
			if len(q.waiting) > queueMost {
				q.waiting = slices.Delete(q.waiting, 0, 1)
				r.log.Warn("a hook cannot keep up: the oldest event is left out", "hook", q.hook.Run[0])
			}
		}
	}
	r.mu.Unlock()
	r.wake.Set()
}

// eventNames returns what an event is called among hooks.
func eventNames(e api.Event) []string {
	switch e.Kind {
	case api.EventState:
		from, to := api.OperState(e.From), api.OperState(e.To)
		// That it ends is told too: UPLINKD_TO says up then.
		if to == api.Doubtful || from == api.Doubtful && to == api.Up {
			return []string{"doubtful"}
		}
		if to == api.Up {
			return []string{"up"}
		}
		if from == api.Up || from == api.Drained || to == api.Down {
			return []string{"down"}
		}
	case api.EventLease, api.EventAddress, api.EventDNS, api.EventPrefix, api.EventQuota:
		return []string{string(e.Kind)}
	case api.EventRoute:
		return []string{"switch"}
	case api.EventOrder, api.EventConflict, api.EventFight:
	}
	return nil
}

func (h *Hook) wants(e api.Event, names []string) bool {
	return (len(h.Uplinks) == 0 || e.Uplink == "" || slices.Contains(h.Uplinks, e.Uplink)) &&
		slices.ContainsFunc(names, func(n string) bool { return slices.Contains(h.On, n) })
}

// Run runs hooks until ctx ends, each in turn with itself and beside the others,
// and returns when the programs have ended; they are not given more time then.
func (r *Runner) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		}
		r.mu.Lock()
		for _, q := range r.queues {
			if !q.busy && len(q.waiting) > 0 {
				q.busy = true
				running.Go(func() { r.work(ctx, q) })
			}
		}
		r.mu.Unlock()
	}
}

// work runs one hook until nothing waits for it.
func (r *Runner) work(ctx context.Context, q *queue) {
	for {
		r.mu.Lock()
		if len(q.waiting) == 0 || ctx.Err() != nil {
			q.busy = false
			r.mu.Unlock()
			return
		}
		e := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		r.mu.Unlock()
		r.execute(ctx, q.hook, e)
	}
}

// execute runs a hook's program, and logs how that went.
func (r *Runner) execute(ctx context.Context, h Hook, e api.Event) {
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	start := time.Now()
	output, err := run.Program{Args: h.Run, Env: environment(e), OutputMost: outputMost}.Run(ctx)
	attrs := []any{
		"hook", h.Run[0], "event", strings.Join(eventNames(e), " "), "uplink", e.Uplink,
		"took", time.Since(start).Round(time.Millisecond),
	}
	if e.Switch > 0 {
		attrs = append(attrs, "switch_id", e.Switch)
	}
	if text := strings.TrimSpace(strings.ToValidUTF8(string(output), "?")); text != "" {
		attrs = append(attrs, "output", text)
	}
	switch {
	case err == nil:
		r.log.Info("hook", attrs...)
	case errors.Is(err, run.ErrTimeLimit):
		r.log.Warn("hook ended by its time limit", attrs...)
	default:
		r.log.Warn("hook failed", append(attrs, "err", err)...)
	}
}

// environment tells a program what has happened.
func environment(e api.Event) []string {
	name := ""
	if names := eventNames(e); len(names) > 0 {
		name = names[0]
	}
	servers := make([]string, len(e.DNS))
	for i, a := range e.DNS {
		servers[i] = a.String()
	}
	return []string{
		"UPLINKD_EVENT=" + name, "UPLINKD_UPLINK=" + e.Uplink, "UPLINKD_INTERFACE=" + e.Interface,
		"UPLINKD_FAMILY=" + e.Family,
		"UPLINKD_ADDRESS=" + e.Address, "UPLINKD_FROM=" + e.From, "UPLINKD_TO=" + e.To,
		"UPLINKD_REASON=" + plain(e.Reason), fmt.Sprintf("UPLINKD_ID=%d", e.ID),
		"UPLINKD_DNS=" + strings.Join(servers, " "), "UPLINKD_DOMAIN=" + plain(e.Domain),
	}
}

// plain takes what could mislead a careless script out of a text that a network
// may have had a part in.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || strings.ContainsRune("`$\\\"", c) {
			return -1
		}
		return c
	}, s)
}
