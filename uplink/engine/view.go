package engine

import (
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
	generation  uint64                   // of what is wanted by now
	traffic     map[string]flows.Traffic // by interface
	rates       map[string]rate
	connections map[string]api.Figure[int]
	counters    map[string]flows.Counter
	drains      map[string]api.DrainProgress // of drained uplinks, by name
	longest     time.Duration                // the longest step so far
}

// publish shows readers what the last step left.
func (e *Engine) publish(observed uplink.Observed, isObserved bool) {
	drains := e.drains()
	traffic, counters := e.meter.traffic.last(), e.meter.counters.last()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.state, e.view.generation = e.state, e.generation
	if isObserved {
		e.view.applied = observed.Applied
	}
	e.view.traffic, e.view.rates, e.view.counters = traffic.value, e.meter.rates, counters.value
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

// addResponseTimes adds the round trips of the probes where weights follow them.
func (e *Engine) addResponseTimes(samples map[string]uplink.Sample) {
	if e.state.Config.Routes.Balance != configs.BalanceResponseTime {
		return
	}
	for at, w := range e.workers.active {
		s := samples[at.iface]
		if rtt := fastest(w.prober.Status()); rtt > 0 && (s.RTT == 0 || rtt < s.RTT) {
			s.RTT = rtt
		}
		samples[at.iface] = s
	}
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
