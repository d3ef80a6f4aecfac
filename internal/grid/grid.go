// Package grid makes what is done at steady intervals fall together: a process that has
// little to do then wakes up seldom, which is most of what it costs.
package grid

import (
	"context"
	"time"
)

// Until returns how long it is until the next whole multiple of an interval: more than
// zero, and no more than that interval. A clock that is set moves the grid, and no more.
func Until(now time.Time, every time.Duration) time.Duration {
	past := time.Duration(now.UnixNano() % int64(every))
	if past < 0 {
		past += every
	}
	return every - past
}

// Each calls do at each time of the grid until ctx ends, and then returns nil. It blocks.
func Each(ctx context.Context, every time.Duration, do func()) error {
	ticker := NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			ticker.Again()
		}
		do()
	}
}

// A Ticker fires on the grid. Whoever has received from C calls Again.
type Ticker struct {
	*time.Timer
	every time.Duration
}

// NewTicker returns a Ticker that fires for the first time when the grid has it.
func NewTicker(every time.Duration) *Ticker {
	return &Ticker{Timer: time.NewTimer(Until(time.Now(), every)), every: every}
}

// Again sets the Ticker to the next time of the grid.
func (t *Ticker) Again() { t.Reset(Until(time.Now(), t.every)) }

// Every sets the Ticker to another interval, from now on.
func (t *Ticker) Every(every time.Duration) {
	t.every = every
	t.Again()
}
