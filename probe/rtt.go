package probe

import "time"

// An rtt is the smoothed round-trip time and its mean deviation, as TCP keeps
// them (RFC 6298 section 2, alpha 1/8, beta 1/4).
type rtt struct {
	smoothed time.Duration
	jitter   time.Duration
}

// add takes one measured round trip in.
func (r *rtt) add(sample time.Duration) {
	if r.smoothed == 0 {
		r.smoothed, r.jitter = sample, sample/2
		return
	}
	r.jitter += ((sample - r.smoothed).Abs() - r.jitter) / 4
	r.smoothed += (sample - r.smoothed) / 8
}

// late returns how long after sending an answer is overdue: not yet missed, but
// reason enough to send the next probe at once. Before anything is known that
// is the timeout. The floor keeps a busy moment of this host from looking like
// a late answer, at the cost of that much in the time to a verdict; it follows
// confirm, which says how fast the user wants to know.
func (r *rtt) late(p Pace) time.Duration {
	if r.smoothed == 0 {
		return p.Timeout
	}
	return min(max(r.smoothed+4*r.jitter, p.Confirm/5), p.Timeout)
}
