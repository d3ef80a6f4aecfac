package uplink

import (
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
)

// takeAdvice takes over what a path's agents say of how much they want: the least that any wants.
// That no new connections are wanted counts at once, all else at most once in an interval. Until
// an agent has been asked anew, after a change of the path, what was said before counts.
func (u *Uplink) takeAdvice(p *Path, now time.Time, interval time.Duration) {
	var least probe.Advice
	evidence := u.Evidence(p)
	if evidence == nil {
		return
	}
	for i, e := range evidence {
		if u.In(p.Family).Probe.Targets[i].Kind == configs.TargetAgent && e.Verdict == probe.Unknown && p.Advice.Given {
			return
		}
		if e.Advice.Given && (!least.Given || e.Advice.Percent < least.Percent) {
			least = e.Advice
		}
	}
	if least == p.Advice || !least.Drains() && now.Sub(p.AdvisedAt) < interval {
		return
	}
	p.Advice, p.AdvisedAt = least, now
}
