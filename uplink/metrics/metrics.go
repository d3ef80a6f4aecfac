// Package metrics shows a snapshot of the daemon to Prometheus. Names and units are after
// its naming rules (prometheus.io/docs/practices/naming). What is not known is not there.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"uplinkd/uplink/api"
)

// A Collector makes metrics of the snapshot that status returns, at each scrape. It
// implements prometheus.Collector.
type Collector struct{ status func() api.Snapshot }

var _ prometheus.Collector = (*Collector)(nil)

// NewCollector returns a Collector of what status tells. status must not block.
func NewCollector(status func() api.Snapshot) *Collector { return &Collector{status} }

// New returns a registry of what status tells. It does not compare each scrape with what Describe has promised,
// which costs more than all else of it: a test does.
func New(status func() api.Snapshot) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(status))
	return registry
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("uplinkd_"+name, help, labels, nil)
}

// What is told of the daemon and the kernel.
var (
	build     = desc("build_info", "1, with the version of the daemon.", "version")
	started   = desc("start_time_seconds", "When the daemon was started, since the epoch.")
	step      = desc("longest_decision_seconds", "The longest that one decision has taken.")
	trial     = desc("config_trial_until_timestamp_seconds", "When a configuration goes back unless it is confirmed.")
	badConfig = desc("config_error", "1 while the configuration in force is not that of the file.")
	inSync    = desc("kernel_in_sync", "1 while the kernel holds all that is wanted.")
	conflicts = desc("kernel_conflicts", "Foreign objects where one of ours belongs, or before it.")
	fights    = desc("kernel_fights", "Objects that somebody undoes again and again, by who.", "by")
	refused   = desc("kernel_refused", "Objects that the kernel has refused.")
	unknown   = desc("meter_errors", "Figures that cannot be measured.")
)

// What is told of an uplink.
var (
	state     = desc("uplink_state", "1 for the state that an uplink is in.", "uplink", "family", "state")
	since     = desc("uplink_state_timestamp_seconds", "Since when an uplink is in its state.", "uplink", "family")
	active    = desc("uplink_active", "1 while an uplink carries new connections.", "uplink", "family")
	weight    = desc("uplink_weight", "The weight of an uplink in the default route, 0 out of it.", "uplink", "family")
	falls     = desc("uplink_recent_falls", "How often an uplink has gone down lately.", "uplink", "family")
	receive   = desc("uplink_receive_bytes_total", "Bytes received by the interface.", "uplink")
	transmit  = desc("uplink_transmit_bytes_total", "Bytes sent by the interface.", "uplink")
	conns     = desc("uplink_connections", "Connections with the address of an uplink.", "uplink")
	share     = desc("uplink_share_ratio", "Part of new connections by the default route.", "uplink", "family")
	connShare = desc("uplink_connections_ratio", "Part of all connections that an uplink has.", "uplink")
	interval  = desc("uplink_probe_interval_seconds", "The steady pace of probes to each target.", "uplink", "family")
	stretched = desc("uplink_probe_stretched", "1 while the budget makes that pace slower.", "uplink", "family")
	budget    = desc("uplink_probe_budget_bytes", "What probes may use in a month.", "uplink", "family")
	dhcpState = desc("dhcp_state", "1 for the state of an uplink's DHCP client.", "uplink", "family", "state")
	quota     = desc("uplink_quota_bytes", "How much an uplink may carry in its period.", "uplink")
	quotaUsed = desc("uplink_quota_used_bytes", "How much of that it has carried.", "uplink")
	expiry    = desc("dhcp_lease_expiry_timestamp_seconds", "When an uplink's lease ends.", "uplink", "family")
)

// What is told of a target that an uplink probes.
var (
	rtt      = desc("probe_rtt_seconds", "Round trip, smoothed.", "uplink", "family", "target")
	jitter   = desc("probe_jitter_seconds", "How much it varies.", "uplink", "family", "target")
	loss     = desc("probe_loss_ratio", "Of the last 100 probes, unanswered.", "uplink", "family", "target")
	sent     = desc("probe_sent_total", "Probes sent.", "uplink", "family", "target")
	received = desc("probe_received_total", "Probes answered.", "uplink", "family", "target")
	bytes    = desc("probe_bytes_total", "Bytes of probes and answers.", "uplink", "family", "target")
	late     = desc("probe_late_after_seconds", "How late an answer makes doubt.", "uplink", "family", "target")
	trips    = desc("probe_round_trip_seconds", "Round trips.", "uplink", "family", "target")
	silences = desc("probe_silence_seconds", "From one answer to the next.", "uplink", "family", "target")
	dead     = desc("probe_down_after_seconds", "How long a silence means down.", "uplink", "family", "target")
)

var states = []api.OperState{api.Starting, api.Up, api.Doubtful, api.Down, api.Drained, api.Disabled}

// Describe implements prometheus.Collector.
func (*Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		build, started, step, trial, badConfig, inSync, conflicts, fights, refused, unknown,
		state, since, active, weight, falls, quota, quotaUsed, receive, transmit, conns, dhcpState, expiry,
		share, connShare, interval, stretched, budget,
		rtt, jitter, loss, sent, received, bytes, late, dead, trips, silences,
	} {
		to <- d
	}
	for _, d := range figureDescs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	s := c.status()
	w := writer(to)
	w.gauge(build, 1, s.Daemon.Version)
	w.at(started, s.Daemon.Started)
	w.gauge(step, time.Duration(s.Daemon.LongestStep).Seconds())
	if s.Daemon.Trial != nil {
		w.at(trial, s.Daemon.Trial.Until)
	}
	w.gauge(badConfig, one(s.Daemon.ConfigError != ""))
	w.gauge(unknown, float64(len(s.Daemon.MeterErrors)))
	w.kernel(&s.Kernel)
	w.figures(s.Figures)
	w.shares(&s)
	for i := range s.Uplinks {
		w.uplink(&s.Uplinks[i], s.Daemon.Started)
	}
}

// shares tells which part of new connections each uplink is to get, and which part of all it has.
func (w writer) shares(s *api.Snapshot) {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		for _, p := range u.Paths() {
			if part, known := s.Share(u.Name, p.Family); known {
				w.gauge(share, part, u.Name, p.Family)
			}
		}
		if part, known := s.ConnectionShare(u); known {
			w.gauge(connShare, part, u.Name)
		}
	}
}

// A writer hands metrics on.
type writer chan<- prometheus.Metric

func (w writer) gauge(d *prometheus.Desc, value float64, labels ...string) {
	w <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func (w writer) counter(d *prometheus.Desc, value uint64, labels ...string) {
	w <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
}

func (w writer) at(d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		w.gauge(d, float64(t.UnixMilli())/1000, labels...)
	}
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (w writer) kernel(k *api.Kernel) {
	w.gauge(inSync, one(k.InSync))
	w.gauge(conflicts, float64(len(k.Conflicts)))
	undone, no := map[string]int{}, 0
	for _, p := range k.Pending {
		if p.Error != "" {
			no++
		}
	}
	for _, f := range k.Fights {
		undone[name(f.By)]++
	}
	for by, n := range undone {
		w.gauge(fights, float64(n), by)
	}
	w.gauge(refused, float64(no))
}

// name leaves the number of a process out: each would be another series.
func name(by string) string {
	for i := range by {
		if i > 0 && by[i] == '(' && by[i-1] == ' ' {
			return by[:i-1]
		}
	}
	return unknownName
}

// unknownName stands for a program that nobody knows.
const unknownName = "unknown"

func (w writer) uplink(u *api.Uplink, began time.Time) {
	for _, p := range u.Paths() {
		w.path(u.Name, &p, began)
	}
	if u.Quota != nil {
		w.gauge(quota, float64(u.Quota.Bytes), u.Name)
		w.gauge(quotaUsed, float64(u.Quota.Used), u.Name)
	}
	if n := u.Counters.RxBytes; n.Known {
		w.counter(receive, n.N, u.Name)
	}
	if n := u.Counters.TxBytes; n.Known {
		w.counter(transmit, n.N, u.Name)
	}
	if n := u.Counters.Connections; n.Known {
		w.gauge(conns, float64(n.N), u.Name)
	}
}

func (w writer) path(uplink string, p *api.Path, began time.Time) {
	for _, s := range states {
		w.gauge(state, one(p.State == s), uplink, p.Family, string(s))
	}
	w.at(since, p.Since, uplink, p.Family)
	w.gauge(active, one(p.Active), uplink, p.Family)
	carried := 0
	if p.Active {
		carried = p.EffectiveWeight
	}
	w.gauge(weight, float64(carried), uplink, p.Family)
	w.gauge(falls, float64(p.Hold.Falls), uplink, p.Family)
	if p.DHCP != nil {
		w.gauge(dhcpState, 1, uplink, p.Family, p.DHCP.State)
		w.at(expiry, p.DHCP.Expire.Time, uplink, p.Family)
	}
	if p.ProbeInterval > 0 {
		w.gauge(interval, time.Duration(p.ProbeInterval).Seconds(), uplink, p.Family)
		w.gauge(stretched, one(p.ProbeStretched), uplink, p.Family)
	}
	if p.ProbeBudget > 0 {
		w.gauge(budget, float64(p.ProbeBudget), uplink, p.Family)
	}
	for i := range p.Probes {
		w.probe(uplink, p.Family, &p.Probes[i], began)
	}
}

func (w writer) probe(uplink, family string, p *api.Probe, began time.Time) {
	if p.RTT > 0 {
		w.gauge(rtt, p.RTT/1000, uplink, family, p.Target)
	}
	if p.Jitter > 0 { // of two answers there is none yet
		w.gauge(jitter, p.Jitter/1000, uplink, family, p.Target)
	}
	if p.Sent > 0 {
		w.gauge(loss, p.Loss/100, uplink, family, p.Target)
	}
	w.counter(sent, p.Sent, uplink, family, p.Target)
	w.counter(received, p.Received, uplink, family, p.Target)
	w.counter(bytes, p.Bytes, uplink, family, p.Target)
	w.native(trips, p.RTTs, began, uplink, family, p.Target)
	w.native(silences, p.Silences, began, uplink, family, p.Target)
	if p.DownAfter > 0 {
		w.gauge(late, p.LateAfter/1000, uplink, family, p.Target)
		w.gauge(dead, p.DownAfter/1000, uplink, family, p.Target)
	}
}
