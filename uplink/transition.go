package uplink

import (
	"fmt"
	"log/slog"
	"slices"
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
	noted    time.Time
	cut      *Cut // what is to end once the kernel has answered; nil: nothing
}

// patience is how long a cut waits for a kernel that refuses the routes before it.
// What is refused for longer may be another uplink's.
const patience = 5 * time.Second

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
		carried := old.Phase == Up || old.Phase == Drained || old.Phase == Starting && old.Adopted.Carried
		if carried && (u.Phase == Down || u.Phase == Disabled) {
			t.cut = after.cut(&before, u.Config.Interface)
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
	list := transitions(before, e.state, now)
	for _, c := range slices.Concat(returns(&before, &e.state), removed(&before, &e.state)) {
		list = append(list, transition{uplink: c.Uplink, cut: &c, since: now})
	}
	for i, t := range list {
		// Nothing is cut while nothing else is up: what hangs may come back, and who
		// looks after this host may be on it. It is made up for when something is.
		if t.cut != nil && !e.state.anyUp(t.uplink) {
			e.owed[t.uplink] = *t.cut
			list[i].cut = nil
		}
	}
	list = append(list, e.makeUp(now)...)
	for _, t := range list {
		if t.from == t.to && t.cut == nil {
			continue
		}
		t.gen, t.noted = e.gen, now
		if e.gen <= e.answered {
			e.finish(t, routes.Applied{At: now})
			continue
		}
		e.pending = append(e.pending, t)
	}
}

// makeUp returns the cuts that were put off, once something else is up. What is up
// again itself has nothing to be cut.
func (e *Engine) makeUp(now time.Time) []transition {
	var list []transition
	for name, c := range e.owed {
		i := slices.IndexFunc(e.state.Uplinks, func(u Uplink) bool { return u.Config.Name == name })
		switch {
		case i >= 0 && e.state.Uplinks[i].Phase == Up:
			delete(e.owed, name)
		case e.state.anyUp(name):
			delete(e.owed, name)
			list = append(list, transition{uplink: name, cut: &c, since: now})
		}
	}
	return list
}

// finish logs a transition that the kernel has answered to, and before that cuts
// what is to be cut: never earlier, for what begins anew must find the new routes.
func (e *Engine) finish(t transition, a routes.Applied) {
	if t.cut == nil || e.out.Cut == nil {
		t.log(e.out.Log, a)
		return
	}
	e.cutter.add(*t.cut, e.state.Config.OnDown.Again, func(s Severed, took time.Duration, err error) {
		t.log(e.out.Log, a, "flows", s.Flows, "sockets", s.Sockets, "cut_took", took.Round(time.Microsecond))
		if err != nil {
			e.out.Log.Warn("connections over the uplink could not all be ended", "uplink", t.uplink, "err", err)
		}
	})
}

// report logs each change of phase that the kernel has answered to: one line,
// with how long it took from the first miss, or from the event, to the answer.
func (e *Engine) report(a routes.Applied) {
	e.answered = max(e.answered, a.Generation)
	kept := e.pending[:0]
	for _, t := range e.pending {
		// What is cut begins anew by the routes there are: they must be the new ones.
		refused := a.Err != nil || !a.InSync && len(a.Plan.Conflicts) == 0
		if t.gen > a.Generation || t.cut != nil && refused && a.At.Sub(t.noted) < patience {
			kept = append(kept, t)
			continue
		}
		e.finish(t, a)
	}
	e.pending = kept
}

func (t transition) log(log *slog.Logger, a routes.Applied, more ...any) {
	if t.from == t.to {
		log.Info("connections ended", append([]any{"uplink", t.uplink}, more...)...)
		return
	}
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
	attrs = append(attrs, more...)
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
