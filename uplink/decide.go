package uplink

import (
	"fmt"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/uplink/api"
)

// carrierTime is what an Ethernet link may take from being set up to its
// carrier: negotiation of the speed, spanning tree not counted.
const carrierTime = 4 * time.Second

// decideState decides how a path is, from what is known.
func (u *Uplink) decideState(p *Path, now time.Time) {
	state, reason := u.withAdmin(p, now)
	if state != p.OperState {
		p.Health.noteChange(p.OperState, state, now, &u.In(p.Family).Probe)
		p.OperState, p.Since = state, now
	}
	p.Reason = reason
	if state != api.Starting {
		p.EverDecided = true
		p.Adopted.Carried = false
	}
	if state.Works() {
		p.Health.ProvenIndex = u.Device.Link.Index
	}
}

// noteChange notes what a change of state means for later ones.
func (h *Health) noteChange(from, to api.OperState, now time.Time, c *configs.Probe) {
	switch {
	case (from == api.Up || from == api.Doubtful) && to == api.Down:
		h.Hold.fall(now, c)
		h.HasFallen = true
	case to == api.Up && h.HasFallen:
		h.RecoveredAt, h.HasFallen = now, false
	}
}

// withAdmin is the state with what the operator wants, and past falls.
func (u *Uplink) withAdmin(p *Path, now time.Time) (api.OperState, string) {
	if u.DisabledIn(p.Family) {
		return api.Disabled, "disabled by " + u.Admin.By
	}
	state, reason := u.withoutAdmin(p, now)
	hold := &p.Health.Hold
	switch {
	case state == api.Up && p.OperState == api.Down && now.Before(hold.Until):
		return api.Down, fmt.Sprintf("held down until %s, after %s", hold.Until.Format(time.TimeOnly), hold.falls())
	case state == api.Up && u.AdminIn(p.Family).State == api.AdminDrained:
		return api.Drained, "drained by " + u.Admin.By + ": no new connections"
	case state == api.Up && p.Health.Doubt != "":
		return api.Doubtful, p.Health.Doubt
	case state == api.Up:
		if why := u.deprecated(p); why != "" {
			return api.Doubtful, why
		}
	}
	return state, reason
}

// withoutAdmin is the state as the host and the probes have it.
func (u *Uplink) withoutAdmin(p *Path, now time.Time) (api.OperState, string) {
	if o := u.obstacle(p); o.reason != "" {
		// A link that has just come up may take a few seconds to its carrier.
		rising := !u.Device.Link.Carrier && now.Sub(u.Device.LinkUpAt) < carrierTime
		if starting := !p.EverDecided && now.Sub(p.Since) < startLimit; starting && (o.passing || rising) {
			return api.Starting, o.reason
		}
		return api.Down, o.reason
	}
	switch p.Health.Verdict {
	case probe.Up:
		return api.Up, p.Health.Reason
	case probe.Down:
		return api.Down, p.Health.Reason
	default:
		return u.unproven(p, now)
	}
}

// unproven is the state while there is no verdict on this series. What was
// down stays so until it has proved itself. What was up, and has got another
// gateway or other targets on the same link, is taken at its word until they
// have been judged, for a while: there is no evidence against it, and less of it
// for anything else.
func (u *Uplink) unproven(p *Path, now time.Time) (api.OperState, string) {
	switch {
	case p.OperState.Works() && p.Health.ProvenIndex == u.Device.Link.Index && now.Sub(p.SeriesStart) < u.proofTime(p):
		return api.Up, "was up; its new gateway or targets are not judged yet"
	case p.EverDecided && p.OperState == api.Down:
		return api.Down, "not proved yet"
	}
	return api.Starting, "not proved yet"
}

// proofTime is how long probes may take to a verdict, one way or the other.
func (u *Uplink) proofTime(p *Path) time.Duration {
	c := &u.In(p.Family).Probe
	return max(startLimit, c.Timeout+time.Duration(c.UpAfter+c.DownAfter)*c.Confirm)
}

// conclude takes the outcome of a poll over. One that says nothing leaves the
// last verdict, if that was on the same series.
func (h *Health) conclude(o outcome, series uint64) {
	if series != h.Series {
		h.Verdict, h.Reason, h.Series = probe.Unknown, "", series
	}
	h.Doubt = o.doubt
	switch {
	case o.verdict != probe.Unknown:
		h.Verdict, h.Reason = o.verdict, o.reason
	case o.reason != "" && h.Verdict != probe.Unknown:
		h.Reason = o.reason
	}
}
