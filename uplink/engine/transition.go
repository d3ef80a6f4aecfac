package engine

import (
	"log/slog"
	"slices"
	"time"

	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// patience is how long a disconnect waits for a kernel that refuses the routes
// before it. What is refused for longer may be another uplink's.
const patience = 5 * time.Second

// pending are the transitions that wait for the kernel's answer, to be logged with
// it in one line, and the disconnects that wait for another uplink to be up.
type pending struct {
	list     []waiting
	answered uint64 // the last generation the kernel has answered to
	deferred map[way]deferredEnd
}

// A deferredEnd is what is to end, and the switch that it is part of.
type deferredEnd struct {
	uplink.Disconnect
	of uint64
}

// A way is an uplink, by its name, in a family.
type way struct {
	uplink string
	family uplink.Family
}

func newPending() pending { return pending{deferred: map[way]deferredEnd{}} }

// A waiting transition knows which Set follows from it.
type waiting struct {
	uplink.Transition
	generation uint64
	noted      time.Time
}

// trackTransitions keeps what changed until the kernel has answered; what asked
// nothing of it has no answer to wait for.
func (e *Engine) trackTransitions(before uplink.State, now time.Time) {
	list := uplink.Transitions(before, e.state, now)
	for i, t := range list {
		if t.From != t.To {
			e.switches.note(t, now)
		}
		// Nothing is cut while nothing else is up: what hangs may come back, and who
		// looks after this host may be on it. It is made up for when something is.
		if t.Disconnect != nil && !e.state.AnyUp(t.Family, t.Uplink) {
			at := way{t.Uplink, t.Family}
			e.pending.deferred[at] = e.pending.deferred[at].and(deferredEnd{*t.Disconnect, t.Switch})
			list[i].Disconnect = nil
		}
	}
	if len(e.pending.deferred) > 0 {
		list = append(list, e.dueNow(now)...)
	}
	for _, t := range list {
		if t.From == t.To && t.Disconnect == nil {
			continue
		}
		w := waiting{Transition: t, generation: e.generation, noted: now}
		if e.generation <= e.pending.answered {
			e.finish(w, routes.Applied{At: now})
			continue
		}
		e.pending.list = append(e.pending.list, w)
	}
}

// forgetUntranslated has the flows forgotten that began before our nft table translated them: while it was away, or
// before the LAN had its network.
func (e *Engine) forgetUntranslated(a routes.Applied) {
	if a.TablesPut == e.tablesPut && a.NetsPut == e.netsPut {
		return
	}
	e.tablesPut, e.netsPut = a.TablesPut, a.NetsPut
	if e.deps.Disconnect == nil {
		return
	}
	for _, d := range e.state.Untranslated() {
		// Once more, for what was under way when the table came.
		e.disconnector.add(job{
			disconnect: d, repeat: true,
			slipped: func(ended uplink.Disconnected, took time.Duration) {
				e.deps.Log.Info("more flows forgotten that began untranslated", "flows", ended.Flows, "took", took)
			},
			told: func(ended uplink.Disconnected, took time.Duration, err error) {
				if err != nil {
					e.deps.Log.Warn("flows that began untranslated could not all be forgotten", "err", err)
				}
				if ended.Flows > 0 {
					e.deps.Log.Info("flows forgotten that began untranslated",
						"flows", ended.Flows, "took", took)
				}
			},
		})
	}
}

// dueNow returns the disconnects that were put off, once something else is up. What
// is up again itself has nothing to be cut but what had an address that it left.
func (e *Engine) dueNow(now time.Time) []uplink.Transition {
	var list []uplink.Transition
	for at, d := range e.pending.deferred {
		u := e.state.Named(at.uplink)
		switch {
		case u != nil && u.Paths[at.family].OperState.Works():
			delete(e.pending.deferred, at)
			if left := e.state.Left(u.Config.Interface, d.Addresses); len(left) > 0 {
				d.Disconnect = uplink.Disconnect{Uplink: at.uplink, Family: at.family, Addresses: left}
				list = append(list, d.due(at, now))
			}
		case e.state.AnyUp(at.family, at.uplink):
			delete(e.pending.deferred, at)
			list = append(list, d.due(at, now))
		}
	}
	return list
}

// and returns both of what is to end: the address may have changed since the first was put off.
func (d deferredEnd) and(next deferredEnd) deferredEnd {
	if next.of == 0 {
		next.of = d.of
	}
	if next.Mask == 0 {
		next.Mark, next.Mask = d.Mark, d.Mask
	}
	for _, a := range d.Addresses {
		if !slices.Contains(next.Addresses, a) {
			next.Addresses = append(slices.Clip(next.Addresses), a)
		}
	}
	return next
}

func (d deferredEnd) due(at way, now time.Time) uplink.Transition {
	return uplink.Transition{
		Switch: d.of, Uplink: at.uplink, Family: at.family, Disconnect: &d.Disconnect, Since: now,
	}
}

// finishTransitions logs each change of state that the kernel has answered to: one
// line, with how long it took from the first miss, or from the event, to the answer.
func (e *Engine) finishTransitions(a routes.Applied) {
	e.pending.answered = max(e.pending.answered, a.Generation)
	kept := e.pending.list[:0]
	for _, w := range e.pending.list {
		// What is cut begins anew by the routes there are: they must be the new ones.
		early := w.Disconnect != nil && !a.Leads() && a.At.Sub(w.noted) < patience
		if w.generation > a.Generation || early {
			kept = append(kept, w)
			continue
		}
		e.finish(w, a)
	}
	e.pending.list = kept
}

// finish logs a transition that the kernel has answered to, and before that cuts
// what is to be cut: never earlier, for what begins anew must find the new routes.
func (e *Engine) finish(w waiting, a routes.Applied) {
	if w.From != w.To {
		e.switches.routed(w, &a)
	}
	log := e.deps.Log.With("uplink", w.Uplink, "family", w.Family.String(), "switch_id", w.Switch)
	if w.Disconnect == nil || e.deps.Disconnect == nil {
		logTransition(log, w, a)
		return
	}
	e.disconnector.add(job{
		disconnect: *w.Disconnect, repeat: e.state.Config.OnDown.Again,
		slipped: func(ended uplink.Disconnected, took time.Duration) {
			e.switches.slipped(w.Transition, ended)
			log.Info("connections ended that had slipped between", "flows", ended.Flows, "sockets",
				ended.Sockets, "took", took)
		},
		told: func(ended uplink.Disconnected, took time.Duration, err error) {
			e.switches.ended(w.Transition, time.Now(), ended, err)
			logTransition(log, w, a, "flows", ended.Flows, "sockets", ended.Sockets,
				"cut_took", took.Round(time.Microsecond))
			if err != nil {
				log.Warn("connections over the uplink could not all be ended", "err", err)
			}
		},
	})
}

// logTransition writes the one line of a change of state. The attribute at is the moment of the
// decision, as events have it.
func logTransition(log *slog.Logger, w waiting, a routes.Applied, more ...any) {
	if w.From == w.To {
		log.Info("connections ended", more...)
		return
	}
	attrs := []any{
		"from", string(w.From), "state", string(w.To), "cause", string(w.Cause), "reason", w.Reason,
		"at", w.noted.Format(api.Clock), "took", a.At.Sub(w.Since).Round(10 * time.Microsecond),
	}
	if w.Misses > 0 {
		attrs = append(attrs, "misses", w.Misses)
	}
	if w.RTT > 0 {
		attrs = append(attrs, "last_rtt", w.RTT.Round(time.Microsecond))
	}
	attrs = append(attrs, more...)
	if a.Err != nil {
		attrs = append(attrs, "err", a.Err)
	}
	if w.To == api.Up || w.To == api.Doubtful {
		log.Info("uplink state", attrs...)
		return
	}
	log.Warn("uplink state", attrs...)
}
