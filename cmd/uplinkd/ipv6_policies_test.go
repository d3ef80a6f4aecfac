package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
)

// Policies of IPv6 for the LAN: by destination, of both families in one, by port, sticky, to nowhere; beside those of
// IPv4, which they leave alone; in status, in explain, and with an uplink dead in that family alone.
func TestIPv6Policies(t *testing.T) {
	b := newBench6(t, 2)
	b.delegating(false)
	b.configure(b.dual(1, 1), normalProbe+`lan: [{interface: lan0, subnet: 1}]
policies:
  - {name: both, to: [198.18.1.0/24, "2001:2::1:0/112"], via: isp2}
  - {name: strict, to: "2001:2::2:0/112", protocol: tcp, dport: 7000, via: isp1, when_down: prohibit}
  - {name: other_protocol, to: "2001:2::3:0/112", protocol: udp, via: isp1}
  - {name: login, to: "2001:2::4:0/112", via: balance, sticky: source, sticky_for: 1m}
`)
	b.start()
	b.untilStates(15*time.Second, "up", "up")
	b.untilStates6(15*time.Second, "up", "up")
	b.untilPrefixes()
	b.lanClient()
	by := func(from, count int) map[int]int {
		t.Helper()
		left := map[int]int{}
		b.inLAN(func() error {
			for n := range count {
				left[b.leftBy6(from+n)]++
			}
			return nil
		})
		return left
	}
	const at = 1 << 16
	if got := by(at, 20); got[2] != 20 {
		t.Errorf("a policy of both families: %v, want all by ISP 2", got)
	}
	if got := by(2*at, 20); got[1] != 20 {
		t.Errorf("strict: %v, want all by ISP 1", got)
	}
	if got := by(3*at, 30); len(got) != 2 {
		t.Errorf("of another protocol: %v, want it spread", got)
	}
	if got := by(4*at, 30); len(got) != 1 || got[0] > 0 {
		t.Errorf("sticky: %v, want all by one", got)
	}
	if got := by(9*at, 30); len(got) != 2 {
		t.Errorf("what no policy names: %v, want it spread", got)
	}
	b.until("the policies have counted what opened the connections", 5*time.Second, func() bool {
		p := b.status().Policies
		return len(p) == 4 && p[0].Packets.N == 20 && p[1].Packets.N == 20 && p[2].Packets.N == 0 && p[3].Packets.N == 30
	})
	client := b.status().LAN[0].Prefix.Addr().Next().Next()
	for to, want := range map[string]string{
		lab.Somewhere6(at).String(): "isp2", lab.Somewhere6(2 * at).String(): "isp1",
	} {
		out, err := b.run("explain", to, "--from", client.String(), "--in", "lan0", "--proto", "tcp", "--dport", "7000", "-c", b.config)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("explain %s, want %s: %v\n%s", to, want, err, out)
		}
	}
	b.ok(b.world.ISPs[0].SilenceIn(true, true))
	b.untilStates6(5*time.Second, "down", "up")
	if got := by(2*at, 5); got[0] != 5 {
		t.Errorf("strict, its uplink dead in IPv6: %v, want none to get out", got)
	}
	if got := by(9*at, 20); got[2] != 20 {
		t.Errorf("what no policy names, with one dead: %v", got)
	}
	b.untilStates(time.Second, "up", "up")
}

// leftBy6 opens a connection over IPv6 from where it is called, and returns the ISP it left by; 0: by none.
func (b *bench) leftBy6(n int) int {
	conn, err := net.DialTimeout("tcp6", fmt.Sprintf("[%s]:%d", lab.Somewhere6(n), lab.Port), 2*time.Second)
	if err != nil {
		return 0
	}
	defer conn.Close()
	from, err := lab.ReadCaller(conn)
	if err != nil {
		return 0
	}
	if isp := b.world.ISPOf(from); isp != nil {
		return isp.Number
	}
	return 0
}
