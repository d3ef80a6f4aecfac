package dhcp

import (
	"fmt"
	"time"
)

// A Clock tells the time in two ways. Within a boot the time since then counts,
// the sleep of a suspended machine included: the wall clock may be set. Across
// boots there is only the wall clock.
type Clock interface {
	BootID() string
	SinceBoot() time.Duration
}

// A Moment is a time on disk, told in both ways.
type Moment struct {
	Wall      time.Time     `json:"wall"`
	SinceBoot time.Duration `json:"since_boot_ns"`
}

// MomentsOf returns what makes Moments of times, none of zero.
func MomentsOf(clock Clock) func(time.Time) *Moment {
	now, since := time.Now(), clock.SinceBoot()
	return func(t time.Time) *Moment {
		if t.IsZero() {
			return nil
		}
		return &Moment{Wall: t.Round(0), SinceBoot: since + t.Sub(now)}
	}
}

// TimesOf returns what makes times of the Moments that were written in a boot at a time; zero of
// none. The error says that the clock cannot be right.
func TimesOf(clock Clock, bootID string, written time.Time) (func(*Moment) time.Time, error) {
	now, same := time.Now(), bootID == clock.BootID()
	if !same && now.Before(written) {
		// A machine without a battery for its clock: it knows no better yet.
		return nil, fmt.Errorf("it was written at %s, and the clock shows an earlier time",
			written.Format(time.RFC3339))
	}
	since := clock.SinceBoot()
	return func(m *Moment) time.Time {
		switch {
		case m == nil:
			return time.Time{}
		case same:
			return now.Add(m.SinceBoot - since)
		}
		return now.Add(m.Wall.Sub(now.Round(0)))
	}, nil
}
