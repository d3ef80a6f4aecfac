package uplink

import (
	"fmt"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
)

// decide sets the phase from what is known.
func (u *Uplink) decide(now time.Time, startOver bool) {
	phase, reason := u.judge(startOver, now)
	if phase != u.Phase {
		u.Phase, u.Since = phase, now
	}
	u.Reason = reason
	if phase != Starting {
		u.Judged = true
		u.Adopted.Carried = false
	}
	if phase == Up {
		u.Proved = u.Link.Index
	}
}

func (u *Uplink) judge(startOver bool, now time.Time) (Phase, string) {
	if u.Disabled {
		return Disabled, "disabled by the operator"
	}
	if o := u.obstacle(); o.why != "" {
		// A link that has just come up may take a few seconds to its carrier.
		rising := !u.Link.Carrier && now.Sub(u.Rose) < carrierTime
		if (o.passing || rising) && !u.Judged && !startOver {
			return Starting, o.why
		}
		return Down, o.why
	}
	switch u.Verdict() {
	case probe.Up:
		return Up, "probes are answered"
	case probe.Down:
		return Down, missText(u)
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
	case u.Phase == Up && u.Proved == u.Link.Index && now.Sub(u.Began) < u.proofTime():
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

func missText(u *Uplink) string {
	what := "the gateway does not answer"
	if !slices.Contains(u.Config.Probe.Targets, configs.Target{Gateway: true}) || len(u.Config.Probe.Targets) > 1 {
		what = "too few probe targets answer"
	}
	if u.Evidence.Err != "" {
		return fmt.Sprintf("%s (%s)", what, u.Evidence.Err)
	}
	return what
}
