package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uplinkd/uplink/api"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func snapshot() api.Snapshot {
	return api.Snapshot{
		Version: api.Version,
		Daemon:  api.Daemon{Version: "v1", PID: 7, Started: now.Add(-26 * time.Hour), Config: "/etc/uplinkd/uplinkd.yaml"},
		DefaultRoute: api.DefaultRoute{Table: 254, NextHops: []api.NextHop{
			{Uplink: "fiber", Interface: "eth1", Gateway: netip.MustParseAddr("203.0.113.1"), Weight: 3},
			{Uplink: "lte", Interface: "ppp0", Weight: 1},
		}},
		Uplinks: []api.Uplink{
			{
				Name: "fiber", Interface: "eth1", State: "up", Reason: "probes are answered", Since: now.Add(-90 * time.Minute),
				Active: true, Weight: 3, EffectiveWeight: 3, Tier: 1, Table: 501, FwMark: 1, Address: "203.0.113.5/24",
				Gateway:  netip.MustParseAddr("203.0.113.1"),
				Probes:   []api.Probe{{Target: "203.0.113.1", State: "up", RTT: 4.2, Sent: 9, Received: 9}},
				Counters: api.Counters{RxBPS: api.Known[uint64](93_500_000), TxBPS: api.Known[uint64](1_234), Connections: api.Known(12)},
			},
			{
				Name: "lte", Interface: "ppp0", State: "up", Since: now.Add(-5 * time.Second), Active: true, Weight: 1, EffectiveWeight: 1, Tier: 1,
				Counters: api.Counters{RxBPS: api.Known[uint64](0), TxBPS: api.Known[uint64](0), Connections: api.Known(0)},
			},
			{
				Name: "dsl", Interface: "eth2", State: "down", Reason: "eth2 has no carrier", Since: now.Add(-50 * time.Hour), Tier: 2,
				Probes: []api.Probe{{Loss: 100}},
			},
		},
		Kernel: api.Kernel{
			LastError: "ip link set dev eth2 up: refused",
			Conflicts: []api.Conflict{{Want: "default A", Have: "default B", Remedy: "remove it"}},
		},
	}
}

func TestTable(t *testing.T) {
	s := snapshot()
	var b strings.Builder
	if err := (&statusTable{&s}).write(&b, now, 120); err != nil {
		t.Fatal(err)
	}
	want := `2 of 3 uplinks up, uplinkd v1 running for 1d02h
default route: fiber 75%, lte 25%

UPLINK  STATE  FOR    ROUTE     TIER  ADDRESS         GATEWAY      RTT     LOSS  DOWN/UP     CONNS
fiber   up     1h30m  weight 3     1  203.0.113.5/24  203.0.113.1  4.2 ms  0%    93.5M/1.2k     12
lte     up     5s     weight 1     1  -               -            -       -     0/0             0
dsl     down   2d02h  -            2  -               -            -       100%  ?/?             ?

dsl is down: eth2 has no carrier
conflict: default B stands where default A belongs; remove it
kernel: ip link set dev eth2 up: refused
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// On a narrow terminal whole columns go, so that no line wraps.
func TestNarrowTable(t *testing.T) {
	s := snapshot()
	for _, width := range []int{100, 80, 70} {
		var b strings.Builder
		if err := (&statusTable{&s}).write(&b, now, width); err != nil {
			t.Fatal(err)
		}
		head := ""
		for line := range strings.Lines(b.String()) {
			if strings.HasPrefix(line, "UPLINK") {
				head = line
			}
			if strings.HasPrefix(line, "fiber") && len(line) > width+1 {
				t.Errorf("%d columns: %s", width, line)
			}
		}
		if !strings.Contains(head, "ADDRESS") || !strings.Contains(head, "LOSS") {
			t.Errorf("%d columns: the heading lacks what matters: %s", width, head)
		}
	}
}

// A hostile answer or certificate forged lines of status and events, and wrote to root's
// terminal (attack on the first stage).
func TestHostileText(t *testing.T) {
	hostile := "evil \x1b[2J\x1b]0;pwned\a\u009b31m\n4 of 4 uplinks up"
	s := snapshot()
	s.Uplinks[2].Reason, s.Kernel.LastError = hostile, hostile
	var status, events strings.Builder
	if err := (&statusTable{&s}).write(&status, now, 120); err != nil {
		t.Fatal(err)
	}
	if err := writeEvent(&events, api.Event{Reason: hostile, Evidence: []string{hostile}}, false); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		text  string
		lines int
	}{"status": {status.String(), 11}, "events": {events.String(), 2}} {
		if strings.ContainsAny(tt.text, "\x1b\a\u009b") || strings.Count(tt.text, "\n") != tt.lines {
			t.Errorf("%s has controls, or not %d lines: %q", name, tt.lines, tt.text)
		}
	}
}
