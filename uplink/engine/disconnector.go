package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"uplinkd/internal/latest"
	"uplinkd/uplink"
)

// again is how long after a disconnect it is made once more, for what slipped
// between.
const again = time.Second

// A job is a disconnect to be made, and what is told of it.
type job struct {
	disconnect uplink.Disconnect
	told       func(uplink.Disconnected, time.Duration, error) // what came of it
	repeat     bool                                            // it is made once more after a second
	slipped    func(uplink.Disconnected, time.Duration)        // what came of that, if anything did
	due        time.Time
}

// A disconnector ends connections in a goroutine of its own, for that takes some
// milliseconds.
type disconnector struct {
	do   func(context.Context, uplink.Disconnect) (uplink.Disconnected, error) // nil: it cannot
	isUp func(way) bool                                                        // whether the uplink is up again

	mu   sync.Mutex // guards jobs
	jobs []job
	wake latest.Wake
}

func newDisconnector(
	do func(context.Context, uplink.Disconnect) (uplink.Disconnected, error), isUp func(way) bool,
) *disconnector {
	return &disconnector{do: do, isUp: isUp, wake: latest.NewWake()}
}

// add has a disconnect made.
func (d *disconnector) add(j job) {
	d.mu.Lock()
	d.jobs = append(d.jobs, j)
	d.mu.Unlock()
	d.wake.Set()
}

// next returns the first job that is due, or when to look again.
func (d *disconnector) next(now time.Time) (job, bool, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	wait := time.Hour
	for i, j := range d.jobs {
		if !now.Before(j.due) {
			d.jobs = slices.Delete(d.jobs, i, i+1)
			return j, true, 0
		}
		wait = min(wait, j.due.Sub(now))
	}
	return job{}, false, wait
}

// run makes disconnects until ctx ends.
func (d *disconnector) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.wake:
		case <-timer.C:
		}
		for {
			j, ok, wait := d.next(time.Now())
			if !ok {
				timer.Reset(wait)
				break
			}
			d.make(ctx, j)
		}
	}
}

// make makes one disconnect. It gives up when the kernel does not answer, as gauges
// do.
func (d *disconnector) make(ctx context.Context, j job) {
	name := j.disconnect.Uplink
	if !j.due.IsZero() && d.isUp(way{name, j.disconnect.Family}) {
		return // it is back, and what it has is good
	}
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	ended, err := d.do(limited, j.disconnect)
	j.told(ended, time.Since(start), err)
	if !j.repeat {
		return
	}
	j.repeat, j.due = false, time.Now().Add(again)
	j.told = func(ended uplink.Disconnected, took time.Duration, err error) {
		if err == nil && ended != (uplink.Disconnected{}) {
			j.slipped(ended, took)
		}
	}
	d.mu.Lock()
	d.jobs = append(d.jobs, j)
	d.mu.Unlock()
}
