package uplink

import (
	"fmt"
	"time"

	"uplinkd/probe"
)

// decide sets the phase from what is known.
func (u *Uplink) decide(now time.Time, startOver bool) {
	phase, reason := u.judge(startOver, now)
	if phase != u.Phase {
		u.moved(phase, now)
	}
	u.Reason = reason
	if phase != Starting {
		u.Judged = true
		u.Adopted.Carried = false
	}
	if phase == Up || phase == Drained {
		u.Proved = u.Link.Index
	}
}

// moved notes a change of phase, and what follows from it for later ones.
func (u *Uplink) moved(to Phase, now time.Time) {
	switch {
	case u.Phase == Up && to == Down:
		u.Hold.fall(now, &u.Config.Probe)
		u.Fell = true
		if u.Config.AutoDisable {
			u.Order = latch(u.Order, now)
		}
	case to == Up && u.Fell:
		u.Rising, u.Fell = now, false
	}
	u.Phase, u.Since = to, now
}

func (u *Uplink) judge(startOver bool, now time.Time) (Phase, string) {
	if u.Disabled() {
		return Disabled, "disabled by " + u.Order.By
	}
	phase, reason := u.judgeBare(startOver, now)
	switch {
	case phase == Up && u.Phase == Down && now.Before(u.Hold.Until):
		return Down, fmt.Sprintf("held down until %s, after %s", u.Hold.Until.Format(time.TimeOnly), u.Hold.falls())
	case phase == Up && u.Order.State == OrderDrained:
		return Drained, "drained by " + u.Order.By + ": no new connections"
	}
	return phase, reason
}

// judgeBare is the judgement without the operator's word or past falls.
func (u *Uplink) judgeBare(startOver bool, now time.Time) (Phase, string) {
	if o := u.obstacle(); o.why != "" {
		// A link that has just come up may take a few seconds to its carrier.
		rising := !u.Link.Carrier && now.Sub(u.Rose) < carrierTime
		if (o.passing || rising) && !u.Judged && !startOver {
			return Starting, o.why
		}
		return Down, o.why
	}
	switch u.Verdict {
	case probe.Up:
		return Up, u.VerdictReason
	case probe.Down:
		return Down, u.VerdictReason
	default:
		return u.unproved(now)
	}
}

// unproved is the judgement while there is no verdict on this series. What was
// down stays so until it has proved itself. What was up, and has got another
// gateway or other targets on the same link, is taken at its word until they
// have been judged, for a while: there is no evidence against it, and less of it
// for anything else.
func (u *Uplink) unproved(now time.Time) (Phase, string) {
	switch {
	case (u.Phase == Up || u.Phase == Drained) && u.Proved == u.Link.Index && now.Sub(u.Began) < u.proofTime():
		return Up, "was up; its new gateway or targets are not judged yet"
	case u.Judged && u.Phase == Down:
		return Down, "not proved yet"
	}
	return Starting, "not proved yet"
}

// proofTime is how long probes may take to a verdict, one way or the other.
func (u *Uplink) proofTime() time.Duration {
	c := u.Config.Probe
	return max(startLimit, c.Timeout+time.Duration(c.UpAfter+c.DownAfter)*c.Confirm)
}

// conclude takes the outcome of a poll over. One that says nothing leaves the
// last verdict, if that was on the same series.
func (u *Uplink) conclude(p poll) {
	if u.Series != u.VerdictSeries {
		u.Verdict, u.VerdictReason, u.VerdictSeries = probe.Unknown, "", u.Series
	}
	switch {
	case p.verdict != probe.Unknown:
		u.Verdict, u.VerdictReason = p.verdict, p.reason
	case p.reason != "" && u.Verdict != probe.Unknown:
		u.VerdictReason = p.reason
	}
}
