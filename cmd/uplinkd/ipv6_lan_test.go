package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// dialAs returns a dialer that tells IPv6 from IPv4 by itself (RFC 8305), and resolves a name that has
// both: the internet's.
func (b *bench) dualStack(n int) (took time.Duration, v6 bool, err error) {
	began := time.Now()
	for _, a := range []string{
		fmt.Sprintf("[%s]:%d", lab.Somewhere6(n), lab.Port), fmt.Sprintf("%s:%d", lab.Somewhere(n), lab.Port),
	} {
		conn, dialErr := net.DialTimeout("tcp", a, 300*time.Millisecond) // Go's fallback delay
		if dialErr == nil {
			_ = conn.Close()
			return time.Since(began), a[0] == '[', nil
		}
		err = dialErr
	}
	return time.Since(began), false, err
}

// curl is dualStack by curl(1), which then waits in vain for an answer: the lab speaks no HTTP.
func (b *bench) curl(n int) (took time.Duration, v6 bool, err error) {
	host := fmt.Sprintf("dual.example:%d", lab.Port)
	out, err := exec.Command("curl", "--silent", "--http0.9", "--noproxy", "*", "--max-time", "0.1", "--output", "/dev/null",
		"--write-out", "%{time_connect} %{remote_ip}", "--resolve", fmt.Sprintf("%s:[%s],%s", host, lab.Somewhere6(n), lab.Somewhere(n)),
		"http://"+host+"/").Output()
	seconds, address, _ := strings.Cut(string(out), " ")
	took, parseErr := time.ParseDuration(seconds + "s")
	if parseErr != nil || took == 0 {
		return 0, false, fmt.Errorf("curl has not connected within 0.1 s: %w: %s", err, out)
	}
	return took, strings.Contains(address, ":"), nil
}

// fallsBack is how long clients wait at least for an answer by IPv6 before they try IPv4 beside it: curl for 200 ms, Go
// for 300. Who takes as long was told nothing.
const fallsBack = 150 * time.Millisecond

// losesLittle holds that clients of this host and of the LAN are at IPv4 soon, while all IPv6 is dead.
func (b *bench) losesLittle(t *testing.T, connect func(n int) (time.Duration, bool, error)) {
	t.Helper()
	// slowest returns the slowest of 20. One that takes longer than it may is made again, twice at most: a machine that
	// is busy is so for a moment.
	slowest := func(limit time.Duration) (most time.Duration) {
		rate := time.NewTicker(110 * time.Millisecond) // errors are told at a rate (net.ipv6.icmp.ratelimit)
		defer rate.Stop()
		for n := range 20 {
			best := time.Duration(math.MaxInt64)
			for tries := 0; tries < 3 && best > limit; tries++ {
				<-rate.C
				took, v6, err := connect(n + 1)
				if err != nil || v6 || took >= fallsBack {
					t.Errorf("after %v, IPv6 %v: %v", took, v6, err)
				}
				best = min(best, took)
			}
			most = max(most, best)
		}
		return most
	}
	const hereMost, thereMost = 20 * time.Millisecond, 30 * time.Millisecond
	here := slowest(hereMost)
	var there time.Duration
	b.inLAN(func() error { there = slowest(thereMost); return nil })
	t.Logf("the slowest of 20: %v of this host, %v of the LAN", here, there)
	if here > hereMost {
		t.Errorf("a client of this host lost %v to IPv4, want %v at most", here, hereMost)
	}
	if there > thereMost {
		t.Errorf("a client of the LAN, 6.5 ms away, lost %v to IPv4, want %v at most", there, thereMost)
	}
}

// All IPv6 dies. Clients find it unreachable at once, and take IPv4.
func TestIPv6AllDead(t *testing.T) {
	labtest.Measured(t)
	const oneWay = 3250 * time.Microsecond
	b := newBench6Of(t, func() (*lab.World, error) { return lab.NewFarLAN(2, oneWay) })
	b.delegating(false)
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	t.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	lines := b.dual(1, 1)
	for i := range lines {
		lines[i] += ", masquerade: true"
	}
	b.configure(lines, "lan: [{interface: lan0, subnet: 1}]\n")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	b.lanClient()
	b.inLAN(func() error {
		_, v6, err := b.dualStack(1)
		if !v6 {
			t.Errorf("with both alive the LAN's host does not take IPv6 (%v)", err)
		}
		return nil
	})
	for _, isp := range b.world.ISPs {
		b.ok(isp.SilenceIn(true, true))
	}
	b.untilStates6(5*time.Second, "down", "down")
	b.untilStates(time.Second, "up", "up")
	t.Run("Go", func(t *testing.T) { b.losesLittle(t, b.dualStack) })
	t.Run("curl", func(t *testing.T) {
		labtest.NeedPrograms(t, "curl")
		b.losesLittle(t, b.curl)
	})
	for _, isp := range b.world.ISPs {
		b.ok(isp.SilenceIn(true, false))
	}
	b.untilStates6(15*time.Second, "up", "up")
	if text := b.kernel("ip -6 rule"); strings.Contains(text, "unreachable") {
		t.Errorf("IPv6 is back, and a rule says that it is unreachable:\n%s", text)
	}
}

// advertise runs dnsmasq on the LAN as docs/ipv6.md says, and has the LAN's host listen.
func (b *bench) advertise() {
	b.Helper()
	dnsmasq, err := exec.LookPath("dnsmasq")
	if err != nil {
		labtest.Missing(b.T, "dnsmasq")
	}
	conf := "../../configs/examples/dnsmasq-lan.conf"
	cmd := exec.Command(dnsmasq, "--keep-in-foreground", "--conf-file="+conf, "--pid-file="+filepath.Join(b.dir, "dnsmasq.pid"),
		"--dhcp-leasefile="+filepath.Join(b.dir, "dnsmasq.leases"), "--user=root")
	wait, err := lab.Spawn(cmd)
	b.ok(err)
	b.Cleanup(func() { _ = cmd.Process.Kill(); _ = wait() })
	b.ok(b.world.Client.Sysctl("net/ipv6/conf/eth0/accept_ra", "2"))
	// Whether others have its address a Linux host asks for a second or two more, which no router can shorten.
	b.ok(b.world.Client.Sysctl("net/ipv6/conf/eth0/accept_dad", "0"))
	b.ok(b.world.Host().Sysctl("net/ipv6/conf/all/forwarding", "1"))
	b.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv6/conf/all/forwarding", "0") })
}

// lanSource returns the address that a new connection of the LAN's host has; not valid: it has none.
func (b *bench) lanSource() (source netip.Addr) {
	b.inLAN(func() error {
		conn, err := (&net.Dialer{}).DialContext(context.Background(), "udp6", fmt.Sprintf("[%s]:9", lab.Somewhere6(1)))
		if err != nil {
			return nil
		}
		defer conn.Close()
		source = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		return nil
	})
	return source
}

// A provider gives another prefix. The LAN's host takes it within 1.5 s of that, by dnsmasq; what it had goes
// on with the old address. Then the provider whose prefix the LAN has dies, and nobody need be told.
func TestIPv6Renumbering(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedRoot(t, "dnsmasq")
	b := newBench6(t, 2)
	b.delegating(false)
	b.configure(b.dual(1, 1), "lan: [{interface: lan0, subnet: 1}]\n")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	b.untilPrefixes()
	b.advertise()
	first := b.status().LAN[0].Prefix
	b.until("the LAN's host has an address", 20*time.Second, func() bool { return first.Contains(b.lanSource()) })

	isp := b.world.ISPs[0]
	flows, _ := b.open(20, 1, b.dialTCP6)
	other := lab.Lend{Prefix: isp.Other6(), Preferred: lab.PreferredLifetime, Valid: lab.ValidLifetime}
	isp.DHCP6.Change(other)
	began := time.Now()
	if out, err := b.run("renew", "isp1", "-c", b.config); err != nil {
		t.Fatalf("renew: %v\n%s", err, out)
	}
	b.until("the LAN has another network", 5*time.Second, func() bool {
		return isp.Other6().Contains(b.status().LAN[0].Prefix.Addr())
	})
	seen := time.Since(began)
	b.until("the LAN's host takes it", 10*time.Second, func() bool { return isp.Other6().Contains(b.lanSource()) })
	took := time.Since(began) - seen
	t.Logf("another prefix on the LAN %v after it was asked for, at its host %v later", seen, took)
	if took > 1500*time.Millisecond {
		t.Errorf("the LAN's host took the new network after %v, want 1.5 s at most", took)
	}
	if broken := b.broken(flows, 1); len(broken) > 0 {
		t.Errorf("%d connections of the old network by the other ISP broke: %v", len(broken), broken)
	}
	if lan := b.status().LAN; len(lan) != 2 || lan[1].Preferred || lan[1].Prefix != first {
		t.Errorf("the LAN has %+v, want the old network beside the new one, and not preferred", lan)
	}

	address := b.lanSource()
	b.ok(isp.SilenceIn(true, true))
	b.untilStates6(5*time.Second, "down", "up")
	_, by := b.open(60, 100, b.dialTCP6)
	if by[2] != 60 {
		t.Errorf("of 60 connections after the switch %v went by each ISP, want all by ISP 2", by)
	}
	if now := b.lanSource(); now != address {
		t.Errorf("the LAN's host has %s after the switch, want %s as before", now, address)
	}
	b.ok(isp.SilenceIn(true, false))
}
