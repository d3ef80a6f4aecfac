package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"uplinkd/uplink/api"
)

// What has been counted since the start.
var (
	switches = desc("switches_total", "Changes of an uplink's state, by the new one and its cause.",
		"uplink", "family", "state", "cause")
	toDoubt = desc("time_to_doubt_seconds", "From the first probe that was not answered to doubt.", "uplink", "family")
	toDown  = desc("time_to_down_seconds", "From the first probe that was not answered to down.", "uplink", "family")
	routed  = desc("switch_seconds", "From a decision to the kernel's answer.", "uplink", "family")
	ended   = desc("connections_ended_total", "Connections of a dead uplink, ended.", "uplink", "family", "kind")
	moved   = desc("connections_moved_total", "Ended to begin anew by a better tier.", "uplink", "family", "kind")
	ops     = desc("kernel_operation_seconds", "What operations on the kernel take, by kind of object.", "kind")
	repairs = desc("kernel_repairs_total", "Operations that put back what others had changed, by who.", "by")
	lag     = desc("decision_lag_seconds", "From an event's coming to the decision on it.")
	steps   = desc("decision_seconds", "What one decision takes.")
)

var figureDescs = []*prometheus.Desc{switches, toDoubt, toDown, routed, ended, moved, ops, repairs, lag, steps}

func (w writer) figures(f *api.Figures) {
	if f == nil {
		return
	}
	for _, s := range f.Switches {
		w.counter(switches, s.N, s.Uplink, s.Family, string(s.To), string(s.Cause))
	}
	for i := range f.Paths {
		p := &f.Paths[i]
		w.classic(toDoubt, p.ToDoubt, p.Uplink, p.Family)
		w.classic(toDown, p.ToDown, p.Uplink, p.Family)
		w.classic(routed, p.Routed, p.Uplink, p.Family)
		w.counter(ended, p.EndedFlows, p.Uplink, p.Family, "flow")
		w.counter(ended, p.EndedSockets, p.Uplink, p.Family, "socket")
		w.counter(moved, p.MovedFlows, p.Uplink, p.Family, "flow")
		w.counter(moved, p.MovedSockets, p.Uplink, p.Family, "socket")
	}
	for _, o := range f.Operations {
		w.classic(ops, o.Times, o.Kind)
	}
	unknown := uint64(0)
	for _, r := range f.Repairs {
		if r.By == unknownName {
			unknown = r.N
			continue
		}
		w.counter(repairs, r.N, r.By)
	}
	w.counter(repairs, unknown, unknownName) // always there, so that its first one shows as a rise
	w.classic(lag, f.Lag)
	w.classic(steps, f.Steps)
}
