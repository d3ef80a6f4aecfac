package probe

import (
	"time"

	"uplinkd/internal/grid"
)

// due returns when to send the next probe. While the verdict is not clear, the
// loss is being watched, or others want to know (hurry), that is at the pace of
// confirm. Otherwise it is at the pace of interval, unless an answer is overdue:
// then at once, and after that at the pace of confirm, so that the verdict does
// not wait for the steady pace.
func (t *target) due(pace Pace, hurry bool) time.Time {
	last := t.sent[(t.next-1)%inFlight]
	if last.IsZero() {
		return time.Time{} // none was sent
	}
	confirm, steady := last.Add(min(pace.Confirm, pace.Interval)), t.steady(pace, last)
	pending, ok := t.pending()
	if ok && int(t.next-t.oldest) >= t.what.most() {
		return pending.Add(t.timeout(pace)) // it is done or given up by then
	}
	busy := hurry || t.doubted || t.lossy
	switch {
	case t.wondered:
		return last.Add(quickest)
	case t.learns(pace) && t.run == Up && !t.wait.first.IsZero():
		return t.dueInSilence(pace, last, busy)
	case busy || !t.clear():
		return confirm
	case !ok || t.run == Down:
		return steady
	}
	return earliest(steady, t.dueOverdue(pace, pending, confirm))
}

// steady returns when to send the next probe after one at last, at the steady pace: on
// the grid, so that the probes of all uplinks go out together.
func (t *target) steady(pace Pace, last time.Time) time.Time {
	next := last.Add(pace.Interval)
	onGrid := next.Add(grid.Until(next, pace.Interval) - pace.Interval)
	if onGrid.After(last) && !pace.Exact {
		return onGrid
	}
	return next
}

// dueOverdue returns when the next probe is sent because the answer to one sent at
// pending is overdue, by the fixed rule.
func (t *target) dueOverdue(pace Pace, pending, confirm time.Time) time.Time {
	overdue := pending.Add(t.rtt.late(pace))
	if t.next-t.oldest > 1 && overdue.Before(confirm) {
		return confirm
	}
	return overdue
}

// dueInSilence returns when to send the next probe while the last one has no answer yet.
func (t *target) dueInSilence(pace Pace, last time.Time, busy bool) time.Time {
	most := pace.Interval
	if busy {
		most = min(most, pace.Confirm)
	}
	overdue := t.wait.first.Add(t.rtt.lateness(pace))
	// One that was to be sent then, and could not be, is not tried again at once.
	if t.waiting() > 1 || t.doubted || !overdue.After(last) {
		return earliest(t.quick(pace, last), last.Add(most))
	}
	return earliest(overdue, earliest(t.steady(pace, last), last.Add(most)))
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
