package main

import (
	"context"
	"fmt"
	"time"

	"uplinkd/internal/plain"
	"uplinkd/routes/flows"
	"uplinkd/routes/kernel"
	"uplinkd/uplink/api"
)

// drillEvery is how often the daemon is asked for events.
const drillEvery = 100 * time.Millisecond

// A drillWatch watches the daemon while an uplink of it is silent, and afterwards.
type drillWatch struct {
	*drill
	uplink  *api.Uplink
	after   uint64 // the last event that is known
	began   time.Time
	over    time.Time // the silence's end; zero: it lasts
	results []drillResult
	doubted bool
	counted bool // what was ended
}

// watch returns when the uplink is back in each family that it was taken out in, when nobody waits any
// more, or when ctx ends.
func (w *drillWatch) watch(ctx context.Context) error {
	ticker := time.NewTicker(drillEvery)
	defer ticker.Stop()
	for {
		if err := w.look(ctx); err != nil {
			return err
		}
		now := time.Now()
		if w.over.IsZero() && now.Sub(w.began) >= w.length {
			w.over = w.began.Add(w.length)
			if err := kernel.EndSilence(); err != nil {
				return err
			}
		}
		if !w.over.IsZero() && w.back() {
			return w.verdict()
		}
		if !w.over.IsZero() && now.Sub(w.over) >= w.wait {
			return fmt.Errorf("%s is not back %v after its silence: see uplinkd status", w.uplink.Name, w.wait)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// look takes in what has happened since the last look.
func (w *drillWatch) look(ctx context.Context) error {
	list, err := w.daemon.Events(ctx, w.after, false)
	if err != nil {
		return err
	}
	w.after = max(w.after, list.Last)
	for i := range list.Events {
		w.take(&list.Events[i])
	}
	for i := range w.results {
		r := &w.results[i]
		if r.Doubt != nil && !w.doubted {
			w.doubted = true
			unanswered := countFlows(ctx, w.uplink, flows.Unanswered)
			for j := range w.results {
				w.results[j].Failed = unanswered[w.results[j].Family]
			}
		}
		if r.Down != nil && !w.counted && time.Since(w.began) > time.Duration(*r.Down)+drillPause {
			w.counted = true
			left := countFlows(ctx, w.uplink, flows.Count)
			for j := range w.results {
				w.results[j].ended(left[w.results[j].Family])
			}
		}
	}
	return nil
}

// counts notes how many connections there were.
func (w *drillWatch) counts(had map[string]api.Figure[int]) {
	for i := range w.results {
		w.results[i].At = w.began
		w.results[i].Had = had[w.results[i].Family]
	}
}

// ended notes how many connections are left. New ones may have come, by policies that lead there alone.
func (r *drillResult) ended(left api.Figure[int]) {
	if r.Had.Known && left.Known {
		r.Ended = api.Known(max(r.Had.N-left.N, 0))
	}
}

// take takes in an event.
func (w *drillWatch) take(e *api.Event) {
	if e.Kind != api.EventState || e.Uplink != w.uplink.Name || e.Time.Before(w.began) {
		return
	}
	for i := range w.results {
		r := &w.results[i]
		if r.Family != e.Family {
			continue
		}
		since := api.Millis(e.Time.Sub(w.began))
		switch api.OperState(e.To) {
		case api.Doubtful:
			r.note(&r.Doubt, since, e.Reason)
		case api.Down:
			r.note(&r.Doubt, since, e.Reason)
			r.note(&r.Down, since, e.Reason)
		case api.Up:
			back := max(since-api.Millis(w.length), 0) // it may be back before the end, in one family
			r.Back = &back
		case api.Starting, api.Drained, api.Disabled:
		}
	}
}

// note notes the first time that something happened, and why.
func (r *drillResult) note(to **api.Millis, since api.Millis, reason string) {
	if *to == nil {
		*to, r.Reason = &since, plain.Line(reason, targetMost)
	}
	r.Back = nil
}

// back reports whether the uplink is back in each family that it was taken out in.
func (w *drillWatch) back() bool {
	for i := range w.results {
		if r := &w.results[i]; r.Doubt != nil && r.Back == nil {
			return false
		}
	}
	return true
}

// verdict returns an error where the silence was not found out.
func (w *drillWatch) verdict() error {
	for i := range w.results {
		if r := &w.results[i]; r.Down == nil {
			return fmt.Errorf("%s was not down in %s after %v of silence: make it longer, or see uplinkd status -v",
				r.Uplink, r.Family, w.length)
		}
	}
	return nil
}
