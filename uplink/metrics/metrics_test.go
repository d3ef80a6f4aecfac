package metrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"uplinkd/internal/histogram"
	"uplinkd/uplink/api"
	"uplinkd/uplink/metrics"
)

// A doubtful uplink, and what is known of it; what is not known is not there.
func TestMetrics(t *testing.T) {
	s := api.Snapshot{
		Daemon: api.Daemon{Version: "v1", Started: time.Unix(1_700_000_000, 0)},
		Uplinks: []api.Uplink{{
			Name: "isp1", Family: "ipv4", State: api.Doubtful, EffectiveWeight: 3,
			IPv6:     &api.IPv6{State: api.Up, Active: true, EffectiveWeight: 2, Probes: []api.Probe{{Target: "gateway", Sent: 10, Received: 10, DownAfter: 2000}}},
			Counters: api.Counters{RxBytes: api.Known[uint64](5)}, Quota: &api.Quota{Bytes: 1000, Used: 420},
			Probes: []api.Probe{{Target: "gateway", RTT: 1.5, Sent: 10, Received: 9, Loss: 10, LateAfter: 20, DownAfter: 1000}},
		}},
		Kernel: api.Kernel{
			Pending: []api.Pending{{Object: "a"}, {Error: "no"}},
			Fights:  []api.Fight{{By: "ip (pid 4711)"}, {By: "ip (pid 4712)"}, {}, {By: "pid 3"}},
		},
	}
	registry := pedantic(func() api.Snapshot { return s })
	const want = `
# HELP uplinkd_uplink_state 1 for the state that an uplink is in.
# TYPE uplinkd_uplink_state gauge
uplinkd_uplink_state{family="ipv4",state="disabled",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv4",state="doubtful",uplink="isp1"} 1
uplinkd_uplink_state{family="ipv4",state="down",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv4",state="drained",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv4",state="starting",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv4",state="up",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv6",state="disabled",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv6",state="doubtful",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv6",state="down",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv6",state="drained",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv6",state="starting",uplink="isp1"} 0
uplinkd_uplink_state{family="ipv6",state="up",uplink="isp1"} 1
# HELP uplinkd_uplink_quota_bytes How much an uplink may carry in its period.
# TYPE uplinkd_uplink_quota_bytes gauge
uplinkd_uplink_quota_bytes{uplink="isp1"} 1000
# HELP uplinkd_uplink_quota_used_bytes How much of that it has carried.
# TYPE uplinkd_uplink_quota_used_bytes gauge
uplinkd_uplink_quota_used_bytes{uplink="isp1"} 420
# HELP uplinkd_uplink_weight The weight of an uplink in the default route, 0 out of it.
# TYPE uplinkd_uplink_weight gauge
uplinkd_uplink_weight{family="ipv4",uplink="isp1"} 0
uplinkd_uplink_weight{family="ipv6",uplink="isp1"} 2
# HELP uplinkd_kernel_fights Objects that somebody undoes again and again, by who.
# TYPE uplinkd_kernel_fights gauge
uplinkd_kernel_fights{by="ip"} 2
uplinkd_kernel_fights{by="unknown"} 2
# HELP uplinkd_kernel_refused Objects that the kernel has refused.
# TYPE uplinkd_kernel_refused gauge
uplinkd_kernel_refused 1
# HELP uplinkd_probe_down_after_seconds How long a silence means down.
# TYPE uplinkd_probe_down_after_seconds gauge
uplinkd_probe_down_after_seconds{family="ipv4",target="gateway",uplink="isp1"} 1
uplinkd_probe_down_after_seconds{family="ipv6",target="gateway",uplink="isp1"} 2
# HELP uplinkd_probe_loss_ratio Of the last 100 probes, unanswered.
# TYPE uplinkd_probe_loss_ratio gauge
uplinkd_probe_loss_ratio{family="ipv4",target="gateway",uplink="isp1"} 0.1
uplinkd_probe_loss_ratio{family="ipv6",target="gateway",uplink="isp1"} 0
`
	err := testutil.GatherAndCompare(registry, strings.NewReader(want), "uplinkd_uplink_state", "uplinkd_uplink_weight",
		"uplinkd_kernel_fights", "uplinkd_kernel_refused", "uplinkd_probe_down_after_seconds", "uplinkd_probe_loss_ratio")
	if err != nil {
		t.Error(err)
	}
	for name, there := range map[string]int{
		"uplinkd_uplink_receive_bytes_total": 1, "uplinkd_uplink_transmit_bytes_total": 0, "uplinkd_uplink_connections": 0,
		"uplinkd_dhcp_state": 0, "uplinkd_config_trial_until_timestamp_seconds": 0,
	} {
		if n, err := testutil.GatherAndCount(registry, name); err != nil || n != there {
			t.Errorf("%s: %d, %v; want %d", name, n, err, there)
		}
	}
	counted := s
	counted.DefaultRoute.NextHops = []api.NextHop{{Uplink: "isp1", Weight: 1}, {Uplink: "isp2", Weight: 3}}
	var silences, took histogram.Durations
	silences.Add(500 * time.Millisecond)
	took.Add(700 * time.Millisecond)
	counted.Uplinks[0].Probes[0].Silences = &silences
	counted.Figures = &api.Figures{
		Switches:   []api.SwitchCount{{Uplink: "isp1", Family: "ipv4", To: api.Down, Cause: api.CauseProbes, N: 2}},
		Paths:      []api.PathFigures{{Uplink: "isp1", Family: "ipv4", ToDown: &took, EndedSockets: 31, MovedFlows: 4}},
		Operations: []api.OperationFigures{{Kind: "route", Times: &took}},
		Repairs:    []api.RepairCount{{By: "ip", N: 3}},
	}
	registry = pedantic(func() api.Snapshot { return counted })
	const wantCounted = `
# HELP uplinkd_uplink_share_ratio Part of new connections by the default route.
# TYPE uplinkd_uplink_share_ratio gauge
uplinkd_uplink_share_ratio{family="ipv4",uplink="isp1"} 0.25
# HELP uplinkd_switches_total Changes of an uplink's state, by the new one and its cause.
# TYPE uplinkd_switches_total counter
uplinkd_switches_total{cause="probes",family="ipv4",state="down",uplink="isp1"} 2
# HELP uplinkd_connections_ended_total Connections of a dead uplink, ended.
# TYPE uplinkd_connections_ended_total counter
uplinkd_connections_ended_total{family="ipv4",kind="flow",uplink="isp1"} 0
uplinkd_connections_ended_total{family="ipv4",kind="socket",uplink="isp1"} 31
# HELP uplinkd_kernel_repairs_total Operations that put back what others had changed, by who.
# TYPE uplinkd_kernel_repairs_total counter
uplinkd_kernel_repairs_total{by="ip"} 3
uplinkd_kernel_repairs_total{by="unknown"} 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(wantCounted), "uplinkd_uplink_share_ratio", "uplinkd_switches_total",
		"uplinkd_connections_ended_total", "uplinkd_kernel_repairs_total"); err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		switch h := f.GetMetric()[0].GetHistogram(); f.GetName() {
		case "uplinkd_probe_silence_seconds":
			if h.GetSchema() != 2 || h.GetSampleCount() != 1 || len(h.GetPositiveSpan()) != 1 || h.GetPositiveSpan()[0].GetOffset() != -4 {
				t.Errorf("a silence of half a second: %v", h)
			}
		case "uplinkd_time_to_down_seconds":
			for _, b := range h.GetBucket() {
				if want := b.GetUpperBound() >= 0.7; (b.GetCumulativeCount() == 1) != want {
					t.Errorf("0.7 s in the bucket up to %v: %d", b.GetUpperBound(), b.GetCumulativeCount())
				}
			}
		}
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
}

// pedantic is the registry of metrics.New, which compares each scrape with what was promised.
func pedantic(status func() api.Snapshot) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewCollector(status))
	return registry
}
