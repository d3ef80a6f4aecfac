package uplink

import (
	"time"

	"uplinkd/uplink/api"
)

// A Transition is a change of an uplink's state, and what is to end with it.
type Transition struct {
	Switch    uint64 // the number of the switch that it is part of; 0: of none
	Uplink    string
	Interface string
	Family    Family
	Cause     api.Cause
	From, To  api.OperState // the same: nothing has changed, and there is only a Disconnect
	Reason    string
	Evidence  []string
	Since     time.Time // from when the time to the kernel's answer counts
	Misses    int
	RTT       time.Duration

	// Disconnect is what is to end once the kernel has answered; nil: nothing.
	Disconnect *Disconnect
}

// Transitions returns what changed between two states, and whose connections are to
// end because of it. It is pure.
func Transitions(before, after State, now time.Time) []Transition {
	var list []Transition
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		old := before.at(i, u.Config.Interface)
		if old == nil {
			continue
		}
		for p := range u.Present() {
			if was := &old.Paths[p.Family]; p.OperState != was.OperState {
				list = append(list, transition(&before, &after, u, was, p, now))
			}
		}
	}
	for _, d := range configDisconnects(&before, &after) {
		list = append(list, Transition{Uplink: d.Uplink, Family: d.Family, Disconnect: &d, Since: now})
	}
	return list
}

// cause returns what kind of thing has made a path what it is.
func (u *Uplink) cause(old, p *Path) api.Cause {
	ordered := func(s api.OperState) bool { return s == api.Drained || s == api.Disabled }
	switch {
	case p.OperState == api.Disabled, ordered(old.OperState) && p.OperState != api.Down,
		p.OperState == api.Drained && old.OperState.Works(): // otherwise it is back, and the order stood before
		return api.CauseOrder
	case u.linkObstacle().reason != "":
		return api.CauseLink
	case u.obstacle(p).reason != "" || p.OperState == api.Doubtful && p.Health.Doubt == "":
		return api.CauseAddress
	}
	return api.CauseProbes
}

func transition(before, after *State, u *Uplink, old, p *Path, now time.Time) Transition {
	e := u.decisive(p)
	t := Transition{
		Switch: p.Switch, Uplink: u.Config.Name, Interface: u.Config.Interface, Family: p.Family,
		Cause: u.cause(old, p), From: old.OperState, To: p.OperState, Reason: p.Reason, Evidence: u.facts(p),
		Since: now, RTT: e.LastRTT,
	}
	carried := old.OperState.Works() ||
		old.OperState == api.Starting && old.Adopted.Carried
	falls := p.OperState == api.Disabled || p.OperState == api.Down && !after.onTrial(u.Config.Interface)
	if carried && falls {
		t.Disconnect = after.disconnect(before, u.Config.Interface, p.Family)
	}
	if (p.OperState == api.Down || p.OperState == api.Doubtful) && t.Cause == api.CauseProbes {
		t.Misses = e.Misses
		// A target that was void may have been dead for hours: that is not since when the path is.
		c := &u.In(p.Family).Probe
		longest := c.DownWithinMax + c.Interval + time.Duration(c.DownAfter)*c.Timeout
		if !e.FirstMiss.Before(now.Add(-longest)) {
			t.Since = e.FirstMiss
		}
	}
	return t
}
