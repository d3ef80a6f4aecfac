package main

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
)

// fromSource opens a connection from one address of the LAN's client to an address of the internet, and returns the
// ISP it left by.
func (b *bench) fromSource(source, to netip.Addr) int {
	b.Helper()
	isp := 0
	b.inLAN(func() error {
		dialer := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: source.AsSlice()}}
		conn, err := dialer.Dial("tcp", netip.AddrPortFrom(to, lab.Port).String())
		if err != nil {
			return nil
		}
		defer conn.Close()
		isp = b.ispOf(conn)
		return nil
	})
	return isp
}

// Clients keep to the uplink that they were first given, in both families, by source and by source and destination:
// over a reload, a restart, and a ruleset that somebody has flushed. While an uplink is doubtful its clients begin new
// connections elsewhere, and when it is well again they are back; when it was down they stay where they went.
func TestPolicySticky(t *testing.T) {
	b := newBench6(t, 3)
	b.delegating(false)
	lines := b.dual(1, 1, 1)
	for i := range lines {
		lines[i] += ", masquerade: true"
	}
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	t.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	const patient = "probe: {hold_down: 0s, down_within: 9s, down_within_max: 10s}\n"
	const policies = `lan: [{interface: lan0, subnet: 1}]
policies:
  - {name: bank, to: [198.18.1.0/24, "2001:2::1:0/112"], via: balance, sticky: source, sticky_for: 5m}
  - {name: pair, to: [198.18.2.0/24, "2001:2::2:0/112"], via: balance, sticky: source-destination, sticky_for: 5m}
  - {name: short, to: 198.18.3.0/24, via: balance, sticky: source, sticky_for: 1s}
`
	b.configure(lines, patient+policies)
	b.start()
	b.untilStates(15*time.Second, "up", "up", "up")
	b.untilStates6(15*time.Second, "up", "up", "up")
	b.untilPrefixes()
	first6 := b.lanClient()
	const each, at6 = 8, 1 << 16
	var sources []netip.Addr
	b.inLAN(func() error {
		a4, a6 := netip.MustParseAddr("192.168.77.100"), first6
		for range each {
			sources = append(sources, a4, a6)
			a4, a6 = a4.Next(), a6.Next()
			for _, a := range []netip.Addr{a4, a6} {
				if out, err := exec.Command("ip", "addr", "replace", a.String()+map[bool]string{true: "/64", false: "/24"}[a.Is6()],
					"dev", "eth0", "nodad").CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
			}
		}
		return nil
	})
	b.inLAN(func() error { return exec.Command("ip", "addr", "add", "192.168.77.100/24", "dev", "eth0").Run() })
	// bank returns whose each source is now, of two connections to different places.
	bank := func() map[netip.Addr]int {
		t.Helper()
		whose := map[netip.Addr]int{}
		for n, source := range sources {
			to := [2]netip.Addr{lab.Somewhere(at256(1) + n), lab.Somewhere(at256(1) + n + 50)}
			if source.Is6() {
				to = [2]netip.Addr{lab.Somewhere6(at6 + n), lab.Somewhere6(at6 + n + 50)}
			}
			whose[source] = b.fromSource(source, to[0])
			if again := b.fromSource(source, to[1]); again != whose[source] || again == 0 {
				t.Errorf("%s went by ISP %d, and then by %d", source, whose[source], again)
			}
		}
		return whose
	}
	home := bank()
	used := map[int]bool{}
	for _, isp := range home {
		used[isp] = true
	}
	if len(used) < 3 {
		t.Errorf("sixteen sources are all by %v", used)
	}
	same := func(when string) {
		t.Helper()
		if got := bank(); !maps.Equal(got, home) {
			t.Errorf("%s: %v, want %v", when, got, home)
		}
	}
	same("asked again")

	pairs := func(source netip.Addr, to func(int) netip.Addr) []int {
		var list []int
		for n := range 12 {
			list = append(list, b.fromSource(source, to(n)))
		}
		return list
	}
	for _, source := range sources[:2] {
		to := func(n int) netip.Addr { return lab.Somewhere(at256(2) + n) }
		if source.Is6() {
			to = func(n int) netip.Addr { return lab.Somewhere6(2*at6 + n) }
		}
		once, again := pairs(source, to), pairs(source, to)
		if fmt.Sprint(once) != fmt.Sprint(again) || strings.Count(fmt.Sprint(once), fmt.Sprint(once[0])) == len(once) {
			t.Errorf("by source and destination: %v, then %v; want the same, and not all by one", once, again)
		}
	}

	// For a second, and no longer.
	short := func() (list []int) {
		for n, source := range sources {
			if source.Is4() {
				list = append(list, b.fromSource(source, lab.Somewhere(at256(3)+n)))
			}
		}
		return list
	}
	once, at := short(), time.Now()
	if again := short(); time.Since(at) < time.Second && !slices.Equal(again, once) {
		t.Errorf("within sticky_for: %v, then %v", once, again)
	}
	b.until("who has stuck for his time is spread anew", 20*time.Second, func() bool {
		time.Sleep(1500 * time.Millisecond)
		return !slices.Equal(short(), once)
	})

	b.configure(lines, patient+policies+"  - {name: more, dport: 25, via: isp1}\n")
	if out, err := b.run("reload", "--socket", filepath.Join(b.dir, "sock")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("the reload is in force", 2*time.Second, func() bool { return len(b.status().Policies) == 4 && b.status().Kernel.InSync })
	same("after a reload")
	b.kill(syscall.SIGKILL)
	b.start()
	b.untilStates(15*time.Second, "up", "up", "up")
	b.untilStates6(15*time.Second, "up", "up", "up")
	same("after a restart")
	time.Sleep(11 * time.Second) // what packets add is read every ten
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("the table is put back", 2*time.Second, func() bool {
		return exec.Command("nft", "list", "chain", "inet", "uplinkd", "stuck.bank").Run() == nil && b.status().Kernel.InSync
	})
	same("after a flush")

	// Doubt, and no more: of the uplink's clients none goes by it, and the others stay.
	silent := func(on bool) { b.ok(b.world.ISPs[0].SilenceIn(false, on)); b.ok(b.world.ISPs[0].SilenceIn(true, on)) }
	silent(true)
	b.until("doubt", 3*time.Second, func() bool {
		u := b.status().Uplinks[0]
		return u.State == "doubtful" && u.IPv6.State == "doubtful" && b.status().Kernel.InSync
	})
	moved := bank()
	if state := b.status().Uplinks[0].State; state != "doubtful" {
		t.Fatalf("the uplink is %s by now: nothing is proved", state)
	}
	for source, isp := range moved {
		if isp == 1 || isp == 0 || home[source] != 1 && isp != home[source] {
			t.Errorf("in doubt: %s, at home with ISP %d, went by %d", source, home[source], isp)
		}
	}
	silent(false)
	b.untilStates(5*time.Second, "up", "up", "up")
	b.untilStates6(5*time.Second, "up", "up", "up")
	b.until("it carries again", 2*time.Second, func() bool { return b.status().Kernel.InSync })
	same("when it is well again")

	// Down: what they had has ended, and where they went is their home.
	if out, err := b.run("disable", "isp1", "-c", b.config); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.untilStates(2*time.Second, "disabled", "up", "up")
	b.until("it is in force", 2*time.Second, func() bool { return b.status().Kernel.InSync })
	home = bank()
	for source, isp := range home {
		if isp == 1 || isp == 0 {
			t.Errorf("disabled, and %s went by ISP %d", source, isp)
		}
	}
	if out, err := b.run("enable", "isp1", "-c", b.config); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.untilStates(5*time.Second, "up", "up", "up")
	b.untilStates6(5*time.Second, "up", "up", "up")
	b.until("it is in force again", 2*time.Second, func() bool { return b.status().Kernel.InSync })
	same("when it is back after it was down")
}
