package probe

import "time"

// An rtt is what is known of a target's round-trip time. The first answer, which may have waited for ARP or for a
// modem to wake up, is forgotten once there is another; of those that follow each counts as much as the one before
// until the averages have run in.
type rtt struct {
	answers   int           // that have been measured
	smoothed  time.Duration // the average (RFC 6298 section 2, alpha 1/8)
	variation time.Duration // RTTVAR of the same section, beta 1/4: the first answer is taken to vary by half
	jitter    time.Duration // mean deviation of what was measured, of which one answer shows nothing
}

const (
	smoothedOf = 8 // answers
	jitterOf   = 4
)

// add takes one measured round trip in.
func (r *rtt) add(sample time.Duration) {
	r.answers++
	deviation := (sample - r.smoothed).Abs()
	switch counted := r.answers - 1; counted { // all but the first
	case 0:
		r.smoothed, r.variation = sample, sample/2
	case 1:
		r.variation += (deviation - r.variation) / jitterOf
		r.smoothed = sample
	default:
		r.variation += (deviation - r.variation) / jitterOf
		r.jitter += (deviation - r.jitter) / time.Duration(min(counted-1, jitterOf))
		r.smoothed += (sample - r.smoothed) / time.Duration(min(counted, smoothedOf))
	}
}

// steady reports whether enough has been measured that the jitter is one.
func (r *rtt) steady() bool { return r.answers > jitterOf+1 }

// late returns how long after sending an answer is overdue: not yet missed, but
// reason enough to send the next probe at once. Before anything is known that
// is the timeout. The floor keeps a busy moment of this host from looking like
// a late answer, at the cost of that much in the time to a verdict; it follows
// confirm, which says how fast the user wants to know.
func (r *rtt) late(p Pace) time.Duration {
	if r.answers == 0 {
		return p.Timeout
	}
	return min(max(r.smoothed+4*r.variation, p.Confirm/5), p.Timeout)
}
