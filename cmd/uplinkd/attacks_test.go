package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// The tests of this file come from attacks on c82b5ea, in each of which traffic went
// nowhere while status said that all was well. docs/reliability.md has them in a table.

// dialed counts how many of n new connections fail.
func (b *bench) failing(n int) int {
	b.Helper()
	failed := 0
	for i := range n {
		if _, err := b.world.Dial(1000+i, 500*time.Millisecond); err != nil {
			failed++
		}
	}
	return failed
}

// `ip rule flush` takes main's own rule away too, and with it the way to the shared
// default route: 0 of 20 connections for 40 s, in_sync true.
func TestMainRuleIsGone(t *testing.T) {
	for name, command := range map[string]string{"flush": "ip rule flush", "only main's": "ip rule del pref 32766"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 2)
			b.configure(b.static(2, 1), "")
			b.start()
			b.untilStates(5*time.Second, "up", "up")
			if rules := b.kernel("ip rule"); strings.Contains(rules, "20900:") {
				t.Errorf("a rule of ours stands before those of others though main has its own:\n%s", rules)
			}
			b.kernel(command)
			b.until("a rule of ours leads to main", time.Second, func() bool {
				return strings.Contains(b.kernel("ip rule"), "20900:\tfrom all lookup main")
			})
			if n := b.failing(20); n > 0 {
				t.Errorf("%d of 20 new connections failed", n)
			}
			b.until("in sync", 2*time.Second, func() bool { return b.status().Kernel.InSync })
			b.kernel("ip rule add pref 32766 lookup main")
			b.until("ours gives way again", time.Second, func() bool {
				return !strings.Contains(b.kernel("ip rule"), "20900:")
			})
			if n := b.failing(20); n > 0 {
				t.Errorf("%d of 20 new connections failed", n)
			}
		})
	}
}

// A lease that makes the host answer its own probes: it was up and carried, and 20 of
// 20 connections failed; as a probe target of both it took the healthy one down.
func TestLeaseOfWhatIsProbed(t *testing.T) {
	for name, tt := range map[string]struct{ address, rest string }{
		"its own gateway":     {"100.64.1.1", ""},
		"the other's gateway": {"100.64.2.1", ""},
		"a target of both":    {"198.19.1.1", "probe: {targets: [198.19.1.1], interval: 100ms, timeout: 100ms}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 2)
			lines := b.static(1, 1)
			b.ok(b.world.ISPs[0].StartDHCP(time.Hour))
			b.world.ISPs[0].DHCP.Spoil(given(tt.address, 24))
			lines[0] = fmt.Sprintf("name: isp1, interface: %s, address: dhcp, gateway: %s, dhcp: {conflict_probe: none}", b.world.ISPs[0].Interface, b.world.ISPs[0].Gateway)
			b.configure(lines, tt.rest)
			b.start()
			b.untilStates(15*time.Second, "down", "up")
			s := b.status()
			if !strings.Contains(s.Uplinks[0].Reason, "the lease's address "+tt.address) {
				t.Errorf("reason %q", s.Uplinks[0].Reason)
			}
			if n := b.failing(20); n > 0 {
				t.Errorf("%d of 20 new connections failed", n)
			}
		})
	}
}

// A lease with a wide mask drew a 256th of the Internet to its ISP: 40 of 40
// connections failed with both uplinks up.
func TestLeaseDrawsNothing(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.dhcp(time.Hour, 1, 1), "")
	isp := b.world.ISPs[0]
	isp.DHCP.Spoil(given("198.19.250.66", 15)) // where the internet of the lab is
	b.start()
	b.until("the other is up", 10*time.Second, func() bool { return b.status().Uplinks[1].State == api.Up })
	b.until("the lease is taken", 10*time.Second, func() bool { return strings.Contains(b.kernel("ip -4 addr show dev eth1"), "198.19.250.66/15") })
	if routes := b.kernel("ip route show table main"); strings.Contains(routes, "198.18.0.0/15 dev eth1") {
		t.Errorf("the network of the lease is led there by main:\n%s", routes)
	}
	if n := b.failing(40); n > 0 {
		t.Errorf("%d of 40 new connections failed", n)
	}
	if table := b.kernel("ip route show table 501"); !strings.Contains(table, "198.18.0.0/15 dev eth1") || !strings.Contains(table, "default via 100.64.1.1 dev eth1") {
		t.Errorf("its own table is\n%s", table)
	}
}

// Leases in the LAN or under a route of the site are refused, whatever their mask: one
// of 192.168.77.10/16 locked an administrator on the LAN out.
func TestLeaseOfTheSite(t *testing.T) {
	for name, tt := range map[string]struct {
		address string
		bits    int
		reason  string
	}{
		"a LAN client's, with a wide mask": {"192.168.77.2", 16, "is part of 192.168.77.0/24 on lan0"},
		"under a route of the site":        {"10.8.1.77", 24, "lies in 10.8.0.0/16, which this site routes elsewhere"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 2)
			b.kernel("ip route add 10.8.0.0/16 via 192.168.77.2")
			b.configure(b.dhcp(time.Hour, 1, 1), "")
			b.world.ISPs[0].DHCP.Spoil(given(tt.address, tt.bits))
			b.start()
			b.untilStates(15*time.Second, "down", "up")
			if reason := b.status().Uplinks[0].Reason; !strings.Contains(reason, tt.reason) {
				t.Errorf("reason %q", reason)
			}
			for _, to := range []string{"192.168.77.2", "10.8.1.5"} {
				if way := b.kernel("ip route get " + to); !strings.Contains(way, "dev lan0") {
					t.Errorf("%s is led elsewhere: %s", to, way)
				}
			}
		})
	}
}

// A foreign default route of our key, appended behind ours as NetworkManager does:
// ours was never changed again, and 38 of 60 connections went to the dead uplink.
func TestForeignDefaultBehindOurs(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	// It leads to the LAN, so that who takes it is seen to fail.
	b.kernel("ip route append default via 192.168.77.2 dev lan0 proto dhcp")
	b.until("it is told", 2*time.Second, func() bool { return len(b.status().Kernel.Conflicts) == 1 })
	b.ok(b.world.ISPs[0].Silence(true))
	b.until("the dead nexthop is gone", 3*time.Second, func() bool {
		return !strings.Contains(b.kernel("ip route show default proto 201"), "eth1")
	})
	if n := b.failing(60); n > 0 {
		t.Errorf("%d of 60 new connections failed", n)
	}
	b.told(t, "192.168.77.2")
	b.ok(b.world.ISPs[0].Silence(false))
	b.until("both carry again", 5*time.Second, func() bool {
		return strings.Contains(b.kernel("ip route show default proto 201"), "eth1")
	})
	b.kernel("ip route del default via 192.168.77.2 dev lan0 proto dhcp")
	b.until("the conflict is over", 2*time.Second, func() bool { return b.status().Kernel.InSync })
}

// One that stands before ours, on our key: ours behind it leads nobody, and must not
// lead to a dead uplink when it goes.
func TestForeignDefaultBeforeOurs(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	b.kernel("ip route prepend default via 192.168.77.2 dev lan0 proto dhcp")
	b.until("it is told", 2*time.Second, func() bool { return len(b.status().Kernel.Conflicts) == 1 })
	b.ok(b.world.ISPs[0].Silence(true))
	b.until("no route of ours leads to the dead uplink", 3*time.Second, func() bool {
		return !strings.Contains(b.kernel("ip route show default proto 201"), "eth1")
	})
	b.kernel("ip route del default via 192.168.77.2 dev lan0 proto dhcp")
	b.until("ours is back", time.Second, func() bool {
		return strings.Contains(b.kernel("ip route show default proto 201"), "dev eth2")
	})
	if n := b.failing(40); n > 0 {
		t.Errorf("%d of 40 new connections failed", n)
	}
}

// What is asked before ours takes all traffic, or ends every lookup: status said
// in_sync and no conflict.
func TestDefaultsBeforeOurs(t *testing.T) {
	for name, tt := range map[string]struct{ rest, route string }{
		"a better metric":         {"routes: {metric: 100}\n", "default via 192.168.77.2 dev lan0 metric 5"},
		"an error, any metric":    {"", "unreachable default metric 4278198272"},
		"an error, own table":     {"routes: {table: 300}\n", "blackhole default metric 7"},
		"an error of prohibit":    {"", "prohibit default metric 9999"},
		"at a start, as ifup did": {"routes: {metric: 100}\n", "default via 192.168.77.2 dev lan0"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 2)
			b.configure(b.static(1, 1), tt.rest)
			if strings.HasPrefix(name, "at a start") {
				b.kernel("ip route add " + tt.route)
			}
			b.start()
			b.untilSome(5*time.Second, "up", "up")
			if !strings.HasPrefix(name, "at a start") {
				b.until("in sync", 2*time.Second, func() bool { return b.status().Kernel.InSync })
				b.kernel("ip route add " + tt.route)
			}
			b.until("it is told", 2*time.Second, func() bool {
				c := b.status().Kernel.Conflicts
				return len(c) == 1 && !b.status().Kernel.InSync
			})
			what, _, _ := strings.Cut(tt.route, " metric")
			b.told(t, strings.Fields(what)[0])
			b.kernel("ip route del " + tt.route)
			b.until("it is over", 2*time.Second, func() bool { return b.status().Kernel.InSync })
		})
	}
}

// untilSome waits for the uplinks' states, whatever the kernel holds.
func (b *bench) untilSome(limit time.Duration, want ...string) {
	b.Helper()
	b.until(fmt.Sprintf("states %v", want), limit, func() bool {
		var got []string
		for _, u := range b.status().Uplinks {
			got = append(got, string(u.State))
		}
		return strings.Join(got, " ") == strings.Join(want, " ")
	})
}

// told checks that a conflict shows wherever a person may look.
func (b *bench) told(t *testing.T, word string) {
	t.Helper()
	table, err := b.run("status", "-c", b.config)
	b.ok(err)
	events, err := b.run("events", "-c", b.config)
	b.ok(err)
	for where, text := range map[string]string{"status": table, "events": events, "the journal": b.log.String()} {
		found := false
		for line := range strings.Lines(text) {
			found = found || (strings.Contains(line, "conflict") || strings.Contains(line, "foreign route")) && strings.Contains(line, word)
		}
		if !found {
			t.Errorf("%s does not tell of a conflict with %s:\n%s", where, word, text)
		}
	}
}

// fightOverDefault names who fights, as far as that is known.
var fightOverDefault = regexp.MustCompile(
	`fight: (another program|pid \d+|ip \(pid \d+\)) has undone route default table main \d+ times; next put back at`)

// The default route deleted ten times a second was gone 99 % of the time, and the
// table of status said nothing. It is never away for more than a second, and the fight
// is named.
func TestDefaultRouteFight(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	longest := watchAway(b, false)
	fight := exec.Command("sh", "-c", "i=0; while [ $i -lt 80 ]; do ip route del default proto 201 2>/dev/null; sleep 0.1; i=$((i+1)); done")
	b.ok(fight.Start())
	named := false
	for until := time.Now().Add(7 * time.Second); time.Now().Before(until); time.Sleep(300 * time.Millisecond) {
		text, _ := b.run("status", "-c", b.config)
		named = named || fightOverDefault.MatchString(text)
	}
	_ = fight.Wait()
	ended := time.Now()
	b.until("it is back for good", 2*time.Second, func() bool { return b.status().Kernel.InSync })
	away := longest()
	t.Logf("away for %v at the longest; in sync %v after the end", away, time.Since(ended))
	if away == 0 || away > 1300*time.Millisecond {
		t.Errorf("the default route was away for %v, want a second at most", away)
	}
	if !named {
		t.Error("status never named the fight")
	}
}

// watchAway watches the shared default route as the kernel tells of it, however short it
// stands, and returns what tells for how long it has been away at the longest.
func watchAway(b *bench, v6 bool) (longest func() time.Duration) {
	b.Helper()
	monitor := exec.Command("ip", map[bool]string{false: "-4", true: "-6"}[v6], "-o", "monitor", "route")
	out, err := monitor.StdoutPipe()
	b.ok(err)
	b.ok(monitor.Start())
	told := make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		var gone time.Time
		for lines := bufio.NewScanner(out); lines.Scan(); {
			switch line := lines.Text(); {
			case strings.Contains(line, " table ") || !strings.Contains(line, "proto 201"):
			case strings.HasPrefix(line, "Deleted default"):
				gone = time.Now()
			case strings.HasPrefix(line, "default") && !gone.IsZero():
				most, gone = max(most, time.Since(gone)), time.Time{}
			}
		}
		told <- most
	}()
	b.Cleanup(func() { _ = monitor.Process.Kill() })
	return func() time.Duration {
		_ = monitor.Process.Kill()
		most := <-told
		_ = monitor.Wait()
		return most
	}
}

// 60 connections from one stranger to each address emptied the default route: both
// uplinks had max_connections: 50.
func TestStrangersDoNotCount(t *testing.T) {
	b := newBench(t, 2)
	lines := b.static(1, 1)
	for i := range lines {
		lines[i] += ", max_connections: 20"
	}
	b.configure(lines, "")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	b.serveTCP(8080)
	conns := b.strangers(30, 8080)
	defer closeAll(conns)
	time.Sleep(2500 * time.Millisecond)
	s := b.status()
	for i := range s.Uplinks {
		if u := &s.Uplinks[i]; u.Capped || !u.Active || u.Counters.Connections.N >= 20 {
			t.Errorf("%s is capped %v, carries %v with %v connections of strangers", u.Name, u.Capped, u.Active, u.Counters.Connections)
		}
	}
	if n := b.failing(20); n > 0 {
		t.Errorf("%d of 20 outbound connections failed", n)
	}
	// And when all that are up are full of our own, they are used all the same.
	own := b.dialMany(60)
	defer closeAll(own)
	b.until("both are full", 5*time.Second, func() bool {
		s := b.status()
		return s.Uplinks[0].Capped && s.Uplinks[1].Capped
	})
	if n := b.failing(20); n > 0 {
		t.Errorf("with all full %d of 20 new connections failed", n)
	}
}

// Connection marks of others under our mask led new connections to a dead uplink: 40 of
// 40 failed. Those of quality-of-service classes lie outside the mask now; one within it
// leads to an uplink while that is up.
func TestForeignConnectionMarks(t *testing.T) {
	for name, mark := range map[string]string{"a class": "1", "the mark of an uplink": "0x01000000"} {
		t.Run(name, func(t *testing.T) {
			b := gatewayBench(t, []int{1, 1}, nil, normalProbe)
			b.start()
			b.untilStates(5*time.Second, "up", "up")
			b.kernel("nft 'table ip qos { chain pre { type filter hook prerouting priority -160; " +
				"ct state new iifname lan0 ct mark set " + mark + "; }; }'")
			b.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "ip", "qos").Run() })
			_, byISP := b.open(20, 0, b.dialUDP)
			if mark == "1" && len(byISP) != 2 {
				t.Errorf("by ISP: %v, want both", byISP)
			}
			b.ok(b.world.ISPs[0].Carrier(false))
			b.untilStates(3*time.Second, "down", "up")
			flows, byISP := b.open(40, 100, b.dialUDP)
			if len(flows) != 40 || byISP[2] != 40 {
				t.Errorf("%d of 40 new connections, by ISP %v: want all by the second", len(flows), byISP)
			}
		})
	}
}
