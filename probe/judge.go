package probe

import "time"

// A Verdict is what the probes say of an uplink.
type Verdict uint8

// The verdicts. Unknown is before enough probes have been answered or missed.
const (
	Unknown Verdict = iota
	Up
	Down
)

// String returns the verdict as it stands in status and logs.
func (v Verdict) String() string { return [...]string{"unknown", "up", "down"}[v] }

// A Pace is how fast an uplink is probed and how a verdict comes about.
type Pace struct {
	Interval  time.Duration // steady pace to each target
	Timeout   time.Duration // no answer by then: missed
	Confirm   time.Duration // pace while the verdict is not clear
	DownAfter int           // misses in a row
	UpAfter   int           // answers in a row
}

// A judge turns the answers and misses of one target into its verdict:
//
//	            up_after answers in a row
//	unknown ─────────────────────────────────> up
//	   │                                       │ ^
//	   │ down_after misses in a row            │ │ up_after answers in a row
//	   └──────────────> down <─────────────────┘ │
//	                     └───────────────────────┘
//	                 down_after misses in a row: up to down
//
// One of either kind ends the run of the other. It is a value: whoever has it
// decides when what happened.
type judge struct {
	verdict Verdict
	answers int       // in a row
	misses  int       // in a row
	since   time.Time // when the first of the misses in a row was sent
}

// answer counts one answered probe and reports whether the verdict changed.
func (j *judge) answer(upAfter int) bool {
	j.misses, j.since = 0, time.Time{}
	j.answers = min(j.answers+1, upAfter)
	if j.verdict != Up && j.answers >= upAfter {
		j.verdict = Up
		return true
	}
	return false
}

// miss counts one probe, sent at sent, that stayed without an answer, and
// reports whether the verdict changed.
func (j *judge) miss(sent time.Time, downAfter int) bool {
	if j.misses == 0 {
		j.since = sent
	}
	j.answers = 0
	j.misses++
	if j.verdict != Down && j.misses >= downAfter {
		j.verdict = Down
		return true
	}
	return false
}

// clear reports whether nothing speaks against the verdict: no run of the
// other kind has begun.
func (j *judge) clear() bool {
	switch j.verdict {
	case Up:
		return j.misses == 0
	case Down:
		return j.answers == 0
	default:
		return false
	}
}

// reach returns the verdict on an uplink from those on its targets: up when at
// least quorum of them are up, down when so many are down that this cannot be,
// unknown otherwise.
func reach(quorum int, targets []target) Verdict {
	up, unknown := 0, 0
	for i := range targets {
		switch targets[i].verdict {
		case Up:
			up++
		case Unknown:
			unknown++
		case Down:
		}
	}
	switch {
	case up >= quorum:
		return Up
	case up+unknown < quorum:
		return Down
	}
	return Unknown
}
