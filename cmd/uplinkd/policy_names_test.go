package main

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// lookUp asks the host's DNS server for a name from the LAN, and returns its addresses of a family.
func (b *bench) lookUp(name, network string) []net.IP {
	b.Helper()
	var addresses []net.IP
	var err error
	b.inLAN(func() error {
		resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(lab.LANHost.Addr().String(), "53"))
		}}
		ctx, cancel := context.WithTimeout(b.Context(), 3*time.Second)
		defer cancel()
		addresses, err = resolver.LookupIP(ctx, network, name+".")
		return nil
	})
	if err != nil {
		b.Fatalf("look up %s: %v", name, err)
	}
	return addresses
}

// nameServers starts a DNS server in the internet, which knows some names, and one on the host, which asks
// it and puts the addresses of a domain into our sets.
func (b *bench) nameServers(records ...string) {
	b.Helper()
	labtest.NeedRoot(b.T, "dnsmasq") // it changes its user, or its groups
	args := []string{
		"--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--no-hosts", "--no-resolv", "--log-facility=-",
		"--user=root", "--bind-interfaces",
	}
	b.in(b.world.Internet, "dnsmasq", append(append(args, "--listen-address="+lab.Somewhere(53).String()),
		records...)...)
	b.in(b.world.Host(), "dnsmasq", append(args, "--listen-address="+lab.LANHost.Addr().String(),
		"--server="+lab.Somewhere(53).String(),
		"--nftset=/video.example/4#inet#uplinkd#video,6#inet#uplinkd#video6")...)
	b.until("the host's DNS server answers", 5*time.Second, func() bool {
		var err error
		b.inLAN(func() error {
			var conn net.Conn
			if conn, err = net.DialTimeout("tcp", net.JoinHostPort(lab.LANHost.Addr().String(), "53"),
				time.Second); err == nil {
				_ = conn.Close()
			}
			return nil
		})
		return err == nil
	})
}

// A client on the LAN looks a name up, and its connections leave by the policy's uplink, in both families; another
// name's do not. What has been looked up is kept over a reload, other weights, a restart, and a ruleset that somebody
// has flushed.
func TestPolicyByName(t *testing.T) {
	b := newBench6(t, 2)
	b.delegating(false)
	names := normalProbe + `lan: [{interface: lan0, subnet: 1}]
policies:
  - {name: video, to: "dns:video", via: isp2}
`
	dual := func(weights ...int) []string {
		lines := b.dual(weights...)
		for i := range lines {
			lines[i] += ", masquerade: true"
		}
		return lines
	}
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	t.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	b.configure(dual(1, 1), names)
	b.start()
	b.untilStates(15*time.Second, "up", "up")
	b.untilStates6(15*time.Second, "up", "up")
	b.untilPrefixes()
	b.lanClient()
	const at6 = 1 << 16
	b.nameServers(
		"--host-record=a.video.example,"+lab.Somewhere(at256(1)).String()+","+lab.Somewhere6(at6).String(),
		"--host-record=b.video.example,"+lab.Somewhere(at256(1)+1).String(),
		"--host-record=www.example,"+lab.Somewhere(at256(2)).String()+","+lab.Somewhere6(2*at6).String(),
	)
	left := func(n int) map[int]int {
		t.Helper()
		byISP := map[int]int{}
		for range 24 {
			isp, err := b.fromLAN(n)
			b.ok(err)
			byISP[isp]++
		}
		return byISP
	}
	left6 := func(n int) map[int]int {
		byISP := map[int]int{}
		b.inLAN(func() error {
			for range 24 {
				byISP[b.leftBy6(n)]++
			}
			return nil
		})
		return byISP
	}
	if got := left(at256(1)); len(got) != 2 {
		t.Errorf("before it was looked up: %v, want it spread", got)
	}
	if got := b.lookUp("a.video.example", "ip4"); len(got) != 1 || !got[0].Equal(lab.Somewhere(at256(1)).AsSlice()) {
		t.Fatalf("a.video.example is %v", got)
	}
	b.lookUp("a.video.example", "ip6")
	b.lookUp("b.video.example", "ip4")
	b.lookUp("www.example", "ip4")
	b.lookUp("www.example", "ip6")
	stays := func(when string) {
		t.Helper()
		for name, got := range map[string]map[int]int{
			"a.video.example": left(at256(1)), "b.video.example": left(at256(1) + 1),
			"a.video.example in IPv6": left6(at6),
		} {
			if got[2] != 24 {
				t.Errorf("%s: %s: %v, want all by ISP 2", when, name, got)
			}
		}
	}
	stays("looked up")
	if got := left(at256(2)); len(got) != 2 {
		t.Errorf("another name: %v, want it spread", got)
	}
	if got := left6(2 * at6); len(got) != 2 {
		t.Errorf("another name in IPv6: %v, want it spread", got)
	}
	b.explains("video", "isp2", lab.Somewhere(at256(1)).String(), "--in", "lan0", "--from", "192.168.77.2")

	b.configure(dual(3, 1), names+"  - {name: more, dport: 25, via: isp1}\n")
	out, err := b.run("reload", "--socket", filepath.Join(b.dir, "sock"))
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("the policy is there", 2*time.Second, func() bool {
		return len(b.status().Policies) == 2 &&
			b.status().Kernel.InSync
	})
	stays("after a reload with other weights and one policy more")

	b.kill(syscall.SIGKILL)
	stays("while the daemon is away")
	b.start()
	b.untilStates(15*time.Second, "up", "up")
	b.untilStates6(15*time.Second, "up", "up")
	stays("after a restart")

	// What another process had left was read at the first look.
	for n := range 3 {
		if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b.until("the table is put back", 2*time.Second, func() bool {
			text, err := exec.Command("nft", "list", "set", "inet", "uplinkd", "video").CombinedOutput()
			return err == nil && strings.Contains(string(text), lab.Somewhere(at256(1)).String())
		})
		b.until("it is as it should be", 2*time.Second, func() bool { return b.status().Kernel.InSync })
		stays(fmt.Sprintf("after the %d. flush", n+1))
	}
}

// A name that nft does not take for a set is refused by the file, and what nft takes is not: nft itself is asked.
func TestPolicyNamesOfSets(t *testing.T) {
	labtest.Need(t)
	refused := 0
	for _, name := range []string{
		"mark", "time", "ip", "ip6", "set", "update", "all", "limit", "counter", "video", "games", "a-b", "saddr", "Mark",
	} {
		text := "add table inet t; add set inet t " + name + " { type ipv4_addr; }"
		out, err := exec.Command("nft", "-c", text).CombinedOutput()
		taken := err == nil
		if !taken && !strings.Contains(string(out), "syntax error") {
			t.Fatalf("nft says nothing of the name %s: %v: %s", name, err, out)
		}
		file := "uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease}]\n" +
			"policies: [{name: p, via: a, to: 'dns:" + name + "'}]\n"
		_, err = configs.Parse(strings.NewReader(file), configs.Options{File: "f"})
		if ours := err == nil; ours && !taken || !ours && taken && !strings.HasSuffix(name, "6") {
			t.Errorf("%s: nft takes it: %v; the file: %v", name, taken, err)
		}
		if !taken {
			refused++
		}
	}
	if refused == 0 || refused == 14 {
		t.Errorf("nft refuses %d of 14: this test sees little", refused)
	}
}
