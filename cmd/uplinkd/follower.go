package main

import (
	"context"
	"time"

	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// A follower is told of all events of a daemon, and of the one that follows it, once each.
// Its zero value but for the client begins with the first there is.
type follower struct {
	client  *control.Client
	started time.Time // of the daemon whose numbers these are; zero: none has answered
	after   uint64    // the number of the last event that was told
	asked   bool      // somebody has answered: from now on wait, even if there was none yet
}

// next returns what is new. It blocks for some seconds while nothing is, and for as long as
// away while no daemon answers but one has; then, or when none ever has, it is an error.
func (f *follower) next(ctx context.Context, away time.Duration) ([]api.Event, error) {
	for began := time.Now(); ; {
		e, err := f.client.Events(ctx, f.after, f.asked)
		if err != nil {
			if ctx.Err() != nil || !f.asked || !isAway(err) || time.Since(began) > away {
				return nil, err
			}
			pause(ctx, awayPause)
			continue
		}
		restarted := !f.started.IsZero() && !e.Started.Equal(f.started)
		f.started, f.asked = e.Started, true
		if restarted {
			f.after = 0 // these are the new one's numbers
			continue
		}
		f.after = e.Last
		return e.Events, nil
	}
}
