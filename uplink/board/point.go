package board

import (
	"time"

	"uplinkd/uplink/api"
)

// pointOf returns how a path is now.
func pointOf(u *api.Uplink, p *api.Path) Point {
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
