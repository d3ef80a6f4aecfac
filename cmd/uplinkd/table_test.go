package main

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"

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
				Probes: []api.Probe{{Sent: 100, Loss: 100}},
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
	if err := (&statusTable{Snapshot: &s, now: now, width: 120}).write(&b); err != nil {
		t.Fatal(err)
	}
	want := `2 of 3 uplinks up, uplinkd v1 running for 1d02h
default route: fiber 75%, lte 25%

UPLINK  STATE  FOR    SHARE  CONNS  TIER  ADDRESS         GATEWAY      RTT     LOSS  DOWN AFTER  DOWN/UP
fiber   up     1h30m    75%     12     1  203.0.113.5/24  203.0.113.1  4.2 ms  0%    -           93.5M/1.2k
lte     up     5s       25%      0     1  -               -            -       -     -           0/0
dsl     down   2d02h      -      ?     2  -               -            -       100%  -           ?/?

dsl is down: eth2 has no carrier
conflict: default B stands where default A belongs; remove it
kernel: ip link set dev eth2 up: refused
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// manyUplinks returns a snapshot of n uplinks with both families, of every state in turn.
func manyUplinks(n int) *api.Snapshot {
	s := snapshot()
	s.Uplinks, s.DefaultRoute.NextHops, s.Kernel = nil, nil, api.Kernel{}
	s.DefaultRoute6 = &api.DefaultRoute{}
	states := []api.OperState{api.Up, api.Doubtful, api.Down, api.Drained, api.Disabled, api.Starting}
	for i := range n {
		name := fmt.Sprintf("provider-%d", i+1)
		u := api.Uplink{
			Name: name, Interface: fmt.Sprintf("enp%ds0", i), Family: "ipv4", State: states[i%len(states)], Reason: "the gateway answers late",
			Since: now.Add(-time.Hour), Weight: 1, EffectiveWeight: 1, Tier: 1, Table: uint32(501 + i), FwMark: uint32(1 + i),
			Address: fmt.Sprintf("203.0.113.%d/24", i+1), Gateway: netip.MustParseAddr("203.0.113.254"),
			Counters: api.Counters{RxBPS: api.Known[uint64](93_500_000), TxBPS: api.Known[uint64](1_234), Connections: api.Known(i)},
			Probes:   []api.Probe{{Target: "gateway", State: "up", RTT: 12.3, Sent: 9, Received: 9, DownAfter: 812, LateAfter: 40}, {Target: "198.51.100.1"}},
			DHCP:     &api.DHCP{State: "bound", Server: netip.MustParseAddr("203.0.113.254"), Expire: api.When{Time: now.Add(time.Hour)}},
			IPv6:     &api.IPv6{State: api.Down, Since: now, Tier: 1, Weight: 1, Reason: "no router", Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8:1:2:3:4:5:6/64")}},
		}
		if u.State.Works() {
			u.Active = true
			s.DefaultRoute.NextHops = append(s.DefaultRoute.NextHops, api.NextHop{Uplink: name, Weight: 1})
		}
		s.Uplinks = append(s.Uplinks, u)
	}
	return &s
}

// On a narrow terminal whole columns go, so that no line wraps; what is unknown is never 0; and a colour
// never says what the words do not.
func TestScreens(t *testing.T) {
	few := snapshot()
	for name, s := range map[string]*api.Snapshot{"3": &few, "3 of both families": manyUplinks(3), "30": manyUplinks(30)} {
		for _, width := range []int{70, 80, 100, 140} {
			var plain, colored strings.Builder
			if err := (&statusTable{Snapshot: s, now: now, width: width}).write(&plain); err != nil {
				t.Fatal(err)
			}
			if err := (&statusTable{Snapshot: s, now: now, width: width, color: true}).write(&colored); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(plain.String(), "\x1b") || text.StripEscape(colored.String()) != plain.String() || colored.String() == plain.String() {
				t.Errorf("%s uplinks, %d columns: with colours\n%s\nand without\n%s", name, width, text.StripEscape(colored.String()), plain.String())
			}
			remarks := false
			for line := range strings.Lines(plain.String()) {
				remarks = remarks || strings.Contains(line, " is ") // which are sentences
				if len(line) > width+1 && !remarks {
					t.Errorf("%s uplinks, %d columns: %s", name, width, line)
				}
			}
			for _, head := range []string{"STATE", "SHARE", "ADDRESS", "LOSS"} {
				if !strings.Contains(plain.String(), head) {
					t.Errorf("%s uplinks, %d columns: the heading lacks %s", name, width, head)
				}
			}
		}
	}
}

// All that is known, a block for each uplink and family.
func TestBlocks(t *testing.T) {
	var b strings.Builder
	if err := (&statusTable{Snapshot: manyUplinks(2), now: now}).writeBlocks(&b); err != nil {
		t.Fatal(err)
	}
	want := `1 of 2 uplinks up, uplinkd v1 running for 1d02h
default route: provider-1 50%, provider-2 50%
of IPv6: none: no uplink carries it, and it is unreachable

provider-1: up for 1h00m: the gateway answers late
  share      50% of new connections: weight 1 of configured 1, tier 1
  address    203.0.113.1/24 on enp0s0, gateway 203.0.113.254
  lease      bound by 203.0.113.254, expires in 1h00m
  traffic    93.5M bit/s down, 1.2k bit/s up; 0 (0%) connections
  kernel     table 501, fwmark 0x1
  TARGET        STATE  RTT ms  LOSS  LATE AFTER ms  DOWN AFTER  SPREAD ms  SURVIVED
  gateway       up     12.3    0%    40             0.8s        0          -
  198.51.100.1         -       -     -              -           -          -
`
	if diff := cmp.Diff(want, b.String()[:min(len(want), b.Len())]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, part := range []string{"provider-1 v6: down for 0s: no router\n", "\nprovider-2: doubtful", "share      none of new"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("no %q in\n%s", part, b.String())
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
	if err := (&statusTable{Snapshot: &s, now: now, width: 120}).write(&status); err != nil {
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
