// Package converse runs the client of a protocol around its pure machine: one goroutine owns it, and those that
// read from its connections hand on to that one and end with it.
package converse

import (
	"context"
	"sync"
	"time"

	"uplinkd/internal/latest"
)

// ReopenAfter is the pause after a connection could not be opened or broke.
const ReopenAfter = time.Second

// queued is how many of what was read wait for the owner. Then the readers wait, and the kernel drops.
const queued = 16

// A Client is what Run runs: W is what is wanted of it, R what its readers hand on. All but the readers are called
// from the goroutine of Run, and none may block.
type Client[W, R any] struct {
	Wanted  *latest.Box[W]
	Adopt   func(W)     // another wish
	Receive func(R)     // what a reader has handed on
	Tick    func()      // it is time: see Wake
	Open    func() bool // what is to be open and is not: reports whether it has been opened
	Readers []Reader[R] // of each connection that Open has opened, called after it
	Settled func()      // after each of the above
	Wake    func() time.Time
	Close   func() // ends the readers
}

// A Reader returns what reads from the connection that is open now: its function blocks until there is something to
// hand on. use reports whether that is of any use, more whether there may be more.
type Reader[R any] func() (next func() (r R, use, more bool))

// Run runs the client until ctx ends, and returns when its readers have ended.
func (c *Client[W, R]) Run(ctx context.Context) error {
	var from chan R // nil until there is somebody to read from
	var readers sync.WaitGroup
	defer readers.Wait()
	defer c.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.Wanted.Ready():
			if w, ok := c.Wanted.Take(); ok {
				c.Adopt(w)
			}
		case r := <-from:
			c.Receive(r)
		case <-timer.C:
			c.Tick()
		}
		if c.Open() {
			if from == nil {
				from = make(chan R, queued)
			}
			for _, reader := range c.Readers {
				next := reader()
				readers.Go(func() { read(ctx, next, from) })
			}
		}
		c.Settled()
		timer.Reset(until(c.Wake()))
	}
}

// read hands on what there is, until there is no more.
func read[R any](ctx context.Context, next func() (R, bool, bool), to chan<- R) {
	for {
		r, use, more := next()
		if use {
			select {
			case to <- r:
			case <-ctx.Done():
				return
			}
		}
		if !more {
			return
		}
	}
}

// until returns how long a timer waits; a zero time is none.
func until(wake time.Time) time.Duration {
	if wake.IsZero() {
		return time.Hour
	}
	return time.Until(wake)
}

// Sooner returns the earlier of two times, of which zero is none.
func Sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
