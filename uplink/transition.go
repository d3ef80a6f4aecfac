package uplink

import (
	"time"

	"uplinkd/uplink/api"
)

// A Transition is a change of an uplink's state, and what is to end with it.
type Transition struct {
	Uplink   string
	Family   Family
	From, To api.OperState // the same: nothing has changed, and there is only a Disconnect
	Reason   string
	Since    time.Time // from when the time to the kernel's answer counts
	Misses   int
	RTT      time.Duration

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

func transition(before, after *State, u *Uplink, old, p *Path, now time.Time) Transition {
	e := u.decisive(p)
	t := Transition{
		Uplink: u.Config.Name, Family: p.Family, From: old.OperState, To: p.OperState, Reason: p.Reason, Since: now,
		RTT: e.LastRTT,
	}
	carried := old.OperState.Works() ||
		old.OperState == api.Starting && old.Adopted.Carried
	falls := p.OperState == api.Disabled || p.OperState == api.Down && !after.onTrial(u.Config.Interface)
	if carried && falls {
		t.Disconnect = after.disconnect(before, u.Config.Interface, p.Family)
	}
	if (p.OperState == api.Down || p.OperState == api.Doubtful) && u.obstacle(p).reason == "" {
		t.Misses = e.Misses
		if !e.FirstMiss.IsZero() {
			t.Since = e.FirstMiss
		}
	}
	return t
}
