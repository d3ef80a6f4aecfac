package board

import (
	"time"

	"uplinkd/uplink/api"
)

// A Path is an uplink in one family, as a watcher sees it.
type Path struct {
	Family string
	State  api.OperState
	Reason string
	Since  time.Time
	Active bool
	Probes []api.Probe
}

// Paths returns an uplink's paths, that which speaks for it first.
func Paths(u *api.Uplink) []Path {
	list := []Path{{u.Family, u.State, u.Reason, u.Since, u.Active, u.Probes}}
	if p := u.IPv6; p != nil && u.Family != "ipv6" {
		list = append(list, Path{"ipv6", p.State, p.Reason, p.Since, p.Active, p.Probes})
	}
	return list
}

// Best returns the probe that loses least, which speaks for the path; an empty one where there is none.
func (p *Path) Best() api.Probe {
	var best api.Probe
	for i := range p.Probes {
		if t := &p.Probes[i]; t.Sent > 0 && (best.Sent == 0 || t.Loss < best.Loss) {
			best = *t
		}
	}
	return best
}

// pointOf returns how a path is now.
func pointOf(u *api.Uplink, p *Path) Point {
	at := unknown
	at.State = p.State
	for i := range p.Probes {
		t := &p.Probes[i]
		if t.RTT > 0 {
			at.RTT = least(at.RTT, float32(t.RTT))
		}
		if t.Sent > 0 {
			at.Loss = least(at.Loss, float32(t.Loss))
		}
		if t.Silence > 0 {
			at.Silence = least(at.Silence, float32(time.Duration(t.Silence).Seconds()*1000))
		}
	}
	if n := u.Counters.RxBPS; n.Known {
		at.Rx = float32(n.N)
	}
	if n := u.Counters.TxBPS; n.Known {
		at.Tx = float32(n.N)
	}
	return at
}

// least returns the lesser of two figures of which the first may be unknown.
func least(before, next float32) float32 {
	if before < 0 {
		return next
	}
	return min(before, next)
}
