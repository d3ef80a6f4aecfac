package probe

import "time"

// An rtt is what is known of a target's round-trip time. Of the first two answers the faster counts, for one may have
// waited for ARP or for a modem to wake up.
type rtt struct {
	answers   int           // that have been measured
	smoothed  time.Duration // the average (RFC 6298 section 2, alpha 1/8)
	variation time.Duration // RTTVAR of the same section, beta 1/4: the first answer is taken to vary by half
	jitter    time.Duration // mean deviation of what was measured; from 0 on, as a single answer that is late is none
}

// add takes one measured round trip in.
func (r *rtt) add(sample time.Duration) {
	r.answers++
	if r.answers == 1 {
		r.smoothed, r.variation = sample, sample/2
		return
	}
	deviation := (sample - r.smoothed).Abs()
	r.variation += (deviation - r.variation) / 4
	if r.answers == 2 {
		r.smoothed = min(r.smoothed, sample)
		return
	}
	r.jitter += (deviation - r.jitter) / 4
	r.smoothed += (sample - r.smoothed) / 8
}

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
