package uplink

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"uplinkd/routes"
)

// A transition is a change of an uplink's phase that waits for the kernel's
// answer, to be logged with it in one line.
type transition struct {
	uplink   string
	from, to Phase
	reason   string
	since    time.Time // from when the time to the kernel's answer counts
	misses   int
	rtt      time.Duration
	gen      uint64 // the Set that follows from it
}

// transitions returns the changes of phase between two states. It is pure.
func transitions(before, after State, now time.Time) []transition {
	var list []transition
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		old := before.on(u.Config.Interface)
		if old == nil || old.Phase == u.Phase {
			continue
		}
		e := u.decisive()
		t := transition{
			uplink: u.Config.Name, from: old.Phase, to: u.Phase, reason: u.Reason, since: now, rtt: e.LastRTT,
		}
		if u.Phase == Down && u.obstacle().why == "" {
			t.misses = e.Misses
			if !e.FirstMiss.IsZero() {
				t.since = e.FirstMiss
			}
		}
		list = append(list, t)
	}
	return list
}

// note keeps what changed until the kernel has answered; what asked nothing of
// it has no answer to wait for.
func (e *Engine) note(before State, now time.Time) {
	for _, t := range transitions(before, e.state, now) {
		t.gen = e.gen
		if e.gen <= e.answered {
			t.log(e.out.Log, routes.Applied{At: now})
			continue
		}
		e.pending = append(e.pending, t)
	}
}

// report logs each change of phase that the kernel has answered to: one line,
// with how long it took from the first miss, or from the event, to the answer.
func (e *Engine) report(a routes.Applied) {
	e.answered = max(e.answered, a.Generation)
	kept := e.pending[:0]
	for _, t := range e.pending {
		if t.gen > a.Generation {
			kept = append(kept, t)
			continue
		}
		t.log(e.out.Log, a)
	}
	e.pending = kept
}

func (t transition) log(log *slog.Logger, a routes.Applied) {
	attrs := []any{
		"uplink", t.uplink, "from", string(t.from), "to", string(t.to), "reason", t.reason,
		"took", a.At.Sub(t.since).Round(10 * time.Microsecond),
	}
	if t.misses > 0 {
		attrs = append(attrs, "misses", t.misses)
	}
	if t.rtt > 0 {
		attrs = append(attrs, "last_rtt", t.rtt.Round(time.Microsecond))
	}
	if a.Err != nil {
		attrs = append(attrs, "err", a.Err)
	}
	if t.to == Up {
		log.Info("uplink state", attrs...)
		return
	}
	log.Warn("uplink state", attrs...)
}

// Line returns the state in a few words: "2/3 up: isp1 isp3".
func Line(s State) string {
	var up []string
	for i := range s.Uplinks {
		if s.Uplinks[i].Phase == Up {
			up = append(up, s.Uplinks[i].Config.Name)
		}
	}
	line := fmt.Sprintf("%d/%d up", len(up), len(s.Uplinks))
	if len(up) > 0 {
		line += ": " + strings.Join(up, " ")
	}
	return line
}
