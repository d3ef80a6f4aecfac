package probe

import (
	"fmt"
	"time"
)

// A Verdict is what the probes say of a target, or of an uplink.
type Verdict uint8

// The verdicts. Unknown is before enough probes have been answered or missed.
const (
	Unknown Verdict = iota
	Up
	Down
)

// String returns the verdict as it stands in status and logs.
func (v Verdict) String() string { return [...]string{"unknown", "up", "down"}[v] }

// A Pace is how fast an uplink is probed and how a run of answers or misses
// becomes a verdict.
type Pace struct {
	Interval  time.Duration // steady pace to each target
	Timeout   time.Duration // no answer by then: missed
	Confirm   time.Duration // pace while the verdict is not clear
	DownAfter int           // misses in a row
	UpAfter   int           // answers in a row

	// Exact is of a budget: no probe is sent before its time. Otherwise steady ones are
	// moved so that those of all uplinks fall together.
	Exact bool

	// Of the learned rule: a silence that is no longer than DownWithin never means down,
	// and one of DownWithinMax always.
	Rule                      Rule
	DownWithin, DownWithinMax time.Duration
}

// Limits are what a target that answers must keep, each with the value it must
// come back to. Zero is no limit.
type Limits struct {
	Loss, ReturnLoss     int           // of the last 100 probes
	RTT, ReturnRTT       time.Duration // smoothed
	Jitter, ReturnJitter time.Duration // mean deviation
}

// A judge turns what becomes of the probes to one target into its verdict. Two
// paths lead down. The fast one is a run of misses; one probe of the other kind
// ends a run. The slow one is quality: loss, round-trip time, jitter.
//
//	                 up_after answers in a row
//	unknown ────────────────────────────────────────────> up <────────────────┐
//	   │                                                  │ │                 │ loss, RTT and jitter are
//	   │ down_after misses in a row,                      │ │ max_loss,       │ back at return_loss,
//	   │ or the network says: unreachable                 │ │ max_rtt or      │ return_rtt, return_jitter
//	   └──────────────> down (silent) <───────────────────┘ │ max_jitter      │
//	                        │          the same             └────> down (bad) ┘
//	                        └── up_after answers in a row: up, or down (bad)
//
// It is a value: whoever has it decides when what happened.
type judge struct {
	run     Verdict   // of the fast path
	answers int       // in a row
	misses  int       // in a row
	since   time.Time // when the first of the misses in a row was sent
	silence bool      // it was a silence that led down, by the learned rule

	// recent is what the slow path looks at: each answer, and each miss until the
	// run of misses has said all there is to say.
	recent                history
	lossy, slow, unsteady bool
}

// verdict returns what the judge has come to.
func (j *judge) verdict() Verdict {
	if j.run == Up && (j.lossy || j.slow || j.unsteady) {
		return Down
	}
	return j.run
}

// answer counts one answered probe, for the slow path too if counted.
func (j *judge) answer(upAfter int, counted bool) {
	j.misses, j.since = 0, time.Time{}
	j.answers = min(j.answers+1, upAfter)
	if counted {
		j.recent.add(true)
	}
	if j.run != Up && j.answers >= upAfter {
		j.run, j.silence = Up, false
	}
}

// fall is the verdict on a silence, by the learned rule.
func (j *judge) fall() { j.run, j.answers, j.silence = Down, 0, true }

// overdue counts one probe, sent at sent, whose answer may still come: by the learned
// rule misses lead down only what has never been up.
func (j *judge) overdue(sent time.Time, downAfter int, counted bool) {
	if j.misses == 0 {
		j.since = sent
	}
	j.answers = 0
	j.misses++
	if counted {
		j.lost()
	}
	if j.run == Unknown && j.misses >= downAfter {
		j.run = Down
	}
}

// miss counts one probe, sent at sent, that stayed without an answer.
func (j *judge) miss(sent time.Time, downAfter int) {
	if j.misses == 0 {
		j.since = sent
	}
	j.answers = 0
	j.misses++
	j.lost()
	if j.run != Down && j.misses >= downAfter {
		j.run = Down
	}
}

// lost counts a miss for the slow path alone: a later answer has ended its run
// already.
func (j *judge) lost() {
	if j.run != Down {
		j.recent.add(false)
	}
}

// refuse counts one probe, sent at sent, of which the network has said that it
// cannot be delivered. That needs no confirmation.
func (j *judge) refuse(sent time.Time, downAfter int) {
	j.miss(sent, downAfter)
	j.run = Down
}

// weigh brings the slow path up to date.
func (j *judge) weigh(l Limits, r *rtt) {
	j.lossy = beyond(j.lossy, j.recent.missed(), l.Loss, l.ReturnLoss)
	j.slow = beyond(j.slow, r.smoothed, l.RTT, l.ReturnRTT)
	j.unsteady = beyond(j.unsteady, r.jitter, l.Jitter, l.ReturnJitter)
}

// beyond is a threshold with hysteresis: reached at limit, left at back.
func beyond[T int | time.Duration](was bool, value, limit, back T) bool {
	if limit == 0 {
		return false
	}
	if was {
		return value > back
	}
	return value >= limit
}

// NoAnswer is what speaks against a target that is down by a run of misses.
const NoAnswer = "no answer"

// reason says what speaks against the target, "" when nothing does.
func (j *judge) reason(r *rtt) string {
	switch {
	case j.run == Down:
		return NoAnswer
	case j.lossy:
		return fmt.Sprintf("%d%% loss", j.recent.missed())
	case j.slow:
		return fmt.Sprintf("round trip %s", r.smoothed.Round(10*time.Microsecond))
	case j.unsteady:
		return fmt.Sprintf("jitter %s", r.jitter.Round(10*time.Microsecond))
	}
	return ""
}

// clear reports whether nothing speaks against the run's verdict: no run of the
// other kind has begun.
func (j *judge) clear() bool {
	switch j.run {
	case Up:
		return j.misses == 0
	case Down:
		return j.answers == 0
	default:
		return false
	}
}
