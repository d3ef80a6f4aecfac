package engine

import (
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/routes/flows"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// A view is what the last step left, for readers. It is never changed, only
// replaced.
type view struct {
	state       uplink.State
	applied     routes.Applied
	generation  uint64             // of what is wanted by now
	traffic     map[string]traffic // by interface
	connections map[string]api.Figure[int]
	counters    map[string]flows.Counter
	drains      map[string]api.DrainProgress // of drained uplinks, by name
	longest     time.Duration                // the longest step so far
}

// publish shows readers what the last step left.
func (e *Engine) publish(observed uplink.Observed, isObserved bool) {
	drains := e.drains()
	counters := e.meter.counters.last()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.state, e.view.generation = e.state, e.generation
	if isObserved {
		e.view.applied = observed.Applied
	}
	e.view.traffic, e.view.counters = e.traffic, counters.value
	e.view.connections, e.view.drains = e.connections, drains
}

func (e *Engine) noteStep(took time.Duration) {
	e.steps.Add(took)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.longest = max(e.view.longest, took)
}

// now returns what the last step left. It may be called from any goroutine.
func (e *Engine) now() view {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.view
}

// isUp reports whether an uplink is up in a family, as of the last step.
func (e *Engine) isUp(at way) bool {
	v := e.now()
	u := v.state.Named(at.uplink)
	return u != nil && u.Paths[at.family].OperState.Works()
}

// addQuality adds what the probes have measured, where somebody goes by it.
func (e *Engine) addQuality(samples map[string]uplink.Sample) {
	times := e.state.Config.Routes.Balance == configs.BalanceResponseTime
	if !times && !e.wanted.Meter.Quality {
		return
	}
	for at, w := range e.workers.active {
		s := samples[at.iface]
		status := w.prober.Status()
		if rtt := fastest(status); times && rtt > 0 && (s.RTT == 0 || rtt < s.RTT) {
			s.RTT = rtt
		}
		gateway := ""
		if u := e.state.On(at.iface); u != nil {
			if hop, ok := u.NextHop(&u.Paths[at.family]); ok {
				gateway = hop.Gateway.String()
			}
		}
		s.Quality[at.family] = qualityOf(status, gateway)
		samples[at.iface] = s
	}
}

// qualityLeast is how many answers must have come in that something is known of a path: of fewer one that is late
// makes the average.
const qualityLeast = 10

// qualityOf returns the best that any target shows that is up: it proves what the link can do. The gateway shows
// nothing of what is behind it, and counts only where nothing else is probed.
func qualityOf(list []probe.TargetStatus, gateway string) uplink.Quality {
	var q uplink.Quality
	beyond := slices.ContainsFunc(list, func(t probe.TargetStatus) bool { return t.Target != gateway })
	for _, t := range list {
		if t.Verdict != probe.Up || t.Received < qualityLeast || beyond && t.Target == gateway {
			continue
		}
		if !q.Known {
			q = uplink.Quality{Known: true, RTT: t.RTT, Jitter: t.Jitter, Loss: t.Loss}
			continue
		}
		q.RTT, q.Jitter, q.Loss = min(q.RTT, t.RTT), min(q.Jitter, t.Jitter), min(q.Loss, t.Loss)
	}
	return q
}

// fastest returns the shortest round trip of the targets that are up, 0 when none is.
func fastest(list []probe.TargetStatus) time.Duration {
	var least time.Duration
	for _, t := range list {
		if t.Verdict == probe.Up && (least == 0 || t.RTT < least) {
			least = t.RTT
		}
	}
	return least
}
