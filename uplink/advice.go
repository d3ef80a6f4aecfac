package uplink

import (
	"time"

	"uplinkd/probe"
)

// takeAdvice takes over what a path's agents say of how much they want: the least that
// any wants. That new connections are not wanted, or wanted again, counts at
// once; another share at most once in an interval.
func (u *Uplink) takeAdvice(p *Path, now time.Time, interval time.Duration) {
	var least probe.Advice
	for _, e := range u.Evidence(p) {
		if e.Advice.Given && (!least.Given || e.Advice.Percent < least.Percent) {
			least = e.Advice
		}
	}
	if least == p.Advice || least.Drains() == p.Advice.Drains() && now.Sub(p.AdvisedAt) < interval {
		return
	}
	p.Advice, p.AdvisedAt = least, now
}
