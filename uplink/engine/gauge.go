package engine

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"uplinkd/internal/grid"
	"uplinkd/internal/latest"
	"uplinkd/uplink"
)

const (
	// askLimit is how long the kernel may take to answer. Beyond it what was asked is
	// unknown.
	askLimit = 5 * time.Second

	// askShare bounds the part of the time that a gauge may take: after an answer that
	// took long it rests for so many times as long.
	askShare = 19

	// restMost bounds that rest: a kernel that hung for a minute does not hang for ever.
	restMost = 30 * time.Second
)

// A reading is what a gauge has read.
type reading[T any] struct {
	value T
	err   error     // nil: value is known
	began time.Time // when it was asked for
	at    time.Time // when the answer came
}

// A gauge asks the kernel one thing again and again, in a goroutine of its own. Its
// methods may be called from any goroutine, and do not block.
type gauge[T any] struct {
	what  string
	log   *slog.Logger
	every func(uplink.Meter) time.Duration // 0: not now
	ask   func(context.Context, uplink.Meter) (T, error)
	heard func(before, now T) // of each reading; nil: nobody hears at once
	wake  latest.Wake

	mu     sync.Mutex // guards what follows
	wanted uplink.Meter
	newest reading[T]
	asking time.Time // since when an answer is waited for; zero: none is
	failed bool      // told
}

func newGauge[T any](
	what string, log *slog.Logger, every func(uplink.Meter) time.Duration,
	ask func(context.Context, uplink.Meter) (T, error),
) *gauge[T] {
	g := &gauge[T]{what: what, log: log, every: every, ask: ask, wake: latest.NewWake()}
	g.newest.err = errNotRead
	return g
}

// set says what to measure from now on.
func (g *gauge[T]) set(w uplink.Meter) {
	g.mu.Lock()
	g.wanted = w
	g.mu.Unlock()
	g.wake.Set()
}

// inUse reports whether the gauge is asked for anything.
func (g *gauge[T]) inUse() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.every(g.wanted) > 0
}

// last returns the newest reading. When the kernel has been silent for too long it
// is not known.
func (g *gauge[T]) last() reading[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.asking.IsZero() && time.Since(g.asking) > askLimit {
		silent := time.Since(g.asking).Round(time.Second)
		return reading[T]{err: fmt.Errorf("the kernel has not answered for %s", silent)}
	}
	return g.newest
}

// failure returns why what is asked for is not known, "" when it is, or nothing is
// asked for.
func (g *gauge[T]) failure() string {
	err := g.last().err
	if err == nil || err == errNotRead || !g.inUse() { //nolint:errorlint // a value of ours, never wrapped
		return ""
	}
	return g.what + ": " + err.Error()
}

// run asks until ctx ends.
func (g *gauge[T]) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var rested time.Time // when it may be asked again
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-timer.C:
		}
		g.mu.Lock()
		wanted := g.wanted
		g.mu.Unlock()
		every := g.every(wanted)
		if every == 0 {
			g.forget()
			continue
		}
		if wait := time.Until(rested); wait > 0 {
			timer.Reset(wait)
			continue
		}
		took := g.read(ctx, wanted)
		rest := min(askShare*took, restMost)
		rested = time.Now().Add(rest) // what is newly wanted waits for no more than that
		timer.Reset(max(grid.Until(time.Now(), every), rest))
	}
}

// forget drops the last reading: nobody asks any more, and it grows old.
func (g *gauge[T]) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.newest = reading[T]{err: errNotRead}
}

// read asks once, and returns how long the answer took.
func (g *gauge[T]) read(ctx context.Context, wanted uplink.Meter) time.Duration {
	began := time.Now()
	g.mu.Lock()
	g.asking = began
	g.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, askLimit)
	value, err := g.ask(limited, wanted)
	cancel()
	if ctx.Err() != nil {
		return 0
	}
	now := time.Now()
	g.mu.Lock()
	g.asking = time.Time{}
	before := g.newest.value
	g.newest = reading[T]{value: value, err: err, began: began, at: now}
	was := g.failed
	g.failed = err != nil
	g.mu.Unlock()
	if g.heard != nil {
		g.heard(before, value)
	}
	switch {
	case err != nil && !was:
		g.log.Warn("cannot be measured", "what", g.what, "err", err)
	case err == nil && was:
		g.log.Info("can be measured again", "what", g.what)
	}
	return now.Sub(began)
}
