package main

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// beside is a gateway with three uplinks, a LAN whose policy leads to the second, and what another program has set up.
func beside(t *testing.T, foreign string) *bench {
	t.Helper()
	b := newBench(t, 3)
	labtest.NeedPrograms(t, "conntrack")
	b.gateway([]int{1, 1, 1}, nil, normalProbe+`
policies:
  - {name: lan, in: lan0, not: {to: 198.18.9.0/24}, via: isp2}
  - {name: containers, in: docker0, via: isp3}
`)
	out, err := exec.Command("sh", "-ec", foreign).CombinedOutput()
	t.Cleanup(func() { _ = exec.Command("nft", "flush", "ruleset").Run() })
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	return b
}

// Connection tracking zones of another program: policies lead what is in a zone, its flows keep their uplink, and are
// forgotten when that dies.
func TestPolicyBesideZones(t *testing.T) {
	b := beside(t, `nft add table inet zones
		nft add chain inet zones prerouting '{ type filter hook prerouting priority raw; }'
		nft add rule inet zones prerouting iifname lan0 ct original zone set 7`)
	b.only("in a zone", at256(1), 6, 2)
	flows, _ := b.open(12, at256(9), func(n int) (*flow, error) { return b.dialTCP(n, net.Dial) })
	if out := b.kernel("conntrack -L 2>/dev/null | grep -c 'zone-orig=7'"); strings.TrimSpace(out) == "0" {
		t.Fatal("nothing is in the zone: the test proves nothing")
	}
	if errs := b.broken(flows, 0); len(errs) > 0 {
		t.Errorf("%d flows of a zone do not work: %v", len(errs), errs[0])
	}
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(3*time.Second, "down", "up", "up")
	b.until("its flows are forgotten, in their zone too", 3*time.Second, func() bool { return b.marked(0x01000000) == 0 })
	if errs := b.broken(flows, 1); len(errs) > 0 {
		t.Errorf("%d flows of other uplinks were harmed: %v", len(errs), errs[0])
	}
}

// Rules as Docker has them: a published port answers by every ISP, a container's own connections follow its policy, and
// who asks for the published port from the LAN, by an address of an uplink, is answered too.
func TestPolicyBesideDocker(t *testing.T) {
	labtest.NeedRoot(t, "iptables")
	b := beside(t, `ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; ip link set docker0 up
		iptables -t nat -N DOCKER
		iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
		iptables -t nat -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
		iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
		iptables -t nat -A POSTROUTING -s 172.17.0.2/32 -d 172.17.0.2/32 -p tcp --dport 80 -j MASQUERADE
		iptables -t nat -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80`)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "docker0").Run() })
	container, err := lab.NewNamespace()
	b.ok(err)
	t.Cleanup(container.Close)
	b.ok(b.world.Host().Wire("veth0", container, "eth0"))
	b.kernel("ip link set veth0 master docker0")
	b.ok(container.Address("eth0", netip.MustParsePrefix("172.17.0.2/16")))
	b.ok(container.Do(func() error { return exec.Command("ip", "route", "add", "default", "via", "172.17.0.1").Run() }))
	b.greet(container, ":80")
	for _, isp := range b.world.ISPs {
		if err := b.greeted(netip.AddrPortFrom(isp.Static.Addr(), 8080)); err != nil {
			t.Errorf("the published port by ISP %d: %v", isp.Number, err)
		}
	}
	b.all("the container's own connections", journey{from: container, to: other}, 3)
	b.kernel("nft -f - <<'E'\n" + `table ip hairpin {
		chain prerouting { type nat hook prerouting priority -101; ip daddr 100.64.0.0/16 tcp dport 8090 dnat to 192.168.77.2:8090;
		}
		chain postrouting { type nat hook postrouting priority 99; ip saddr 192.168.77.0/24 ip daddr 192.168.77.0/24 masquerade;
		}
	}` + "\nE")
	b.greet(b.world.Client, ":8090")
	for _, isp := range b.world.ISPs {
		for port, what := range map[uint16]string{8080: "the published port", 8090: "a server of the LAN, hairpin"} {
			if said := b.said(b.world.Client, netip.AddrPortFrom(isp.Static.Addr(), port)); said != "hello" {
				t.Errorf("%s from the LAN, by an address of ISP %d: %q", what, isp.Number, said)
			}
		}
	}
}

// said is what a server says to who connects from a namespace, or why it says nothing.
func (b *bench) said(from *lab.Namespace, to netip.AddrPort) (said string) {
	b.ok(from.Do(func() error {
		conn, err := net.DialTimeout("tcp4", to.String(), time.Second)
		if err != nil {
			said = err.Error()
			return nil
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		text, _ := io.ReadAll(conn)
		said = string(text)
		return nil
	}))
	return said
}

// A transparent proxy in front (tproxy): what it takes it takes, though a policy marks it too, as long as its own rule looks
// at its own bits of the mark and comes before ours. What it opens itself goes by weight.
func TestPolicyBesideTproxy(t *testing.T) {
	labtest.NeedRoot(t)
	b := beside(t, `ip rule add pref 100 fwmark 0x1/0x1 lookup 100; ip route add local 0.0.0.0/0 dev lo table 100
		nft add table ip proxy
		nft add chain ip proxy prerouting '{ type filter hook prerouting priority mangle; }'
		nft add rule ip proxy prerouting iifname lan0 tcp dport 7000 tproxy to :3129 meta mark set meta mark or 0x1 accept`)
	t.Cleanup(func() { _ = exec.Command("sh", "-c", "ip rule del pref 100; ip route flush table 100").Run() })
	taken := make(chan string, 100)
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1) })
		return err
	}}
	var listener net.Listener
	b.ok(b.world.Host().Do(func() (err error) {
		listener, err = config.Listen(context.Background(), "tcp4", ":3129")
		return err
	}))
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			taken <- conn.LocalAddr().String()
			_ = conn.Close()
		}
	}()
	for n := range 6 {
		to := netip.AddrPortFrom(lab.Somewhere(at256(1)+n), lab.Port).String()
		b.inLAN(func() error {
			if conn, err := net.DialTimeout("tcp4", to, time.Second); err == nil {
				_, _ = io.ReadAll(conn)
				_ = conn.Close()
			}
			return nil
		})
		select {
		case got := <-taken:
			if got != to {
				t.Errorf("the proxy has taken a connection to %s, want %s", got, to)
			}
		case <-time.After(2 * time.Second):
			t.Fatalf("the proxy has not taken the connection to %s", to)
		}
	}
	b.spread("what the proxy would open itself", journey{to: other})
}

// Flow tables, where the kernel has them: what is offloaded keeps its uplink, and is not counted by quotas.
func TestPolicyBesideFlowtable(t *testing.T) {
	b := newBench(t, 2)
	labtest.NeedPrograms(t, "conntrack")
	b.gateway([]int{1, 1}, []string{"quota: {bytes: 1GB}"}, normalProbe)
	table := `table inet fast {
	flowtable f { hook ingress priority filter; devices = { lan0, eth1, eth2 }; }
	chain forward { type filter hook forward priority filter; ct state established flow add @f; }
}
`
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(strings.ReplaceAll(table, "; }", ";\n}"))
	if out, err := cmd.CombinedOutput(); err != nil {
		labtest.Missing(t, "this kernel has no flow tables: "+strings.SplitN(string(out), "\n", 2)[0])
	}
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "fast").Run() })
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	flows, _ := b.open(20, 0, func(n int) (*flow, error) { return b.dialTCP(n, net.Dial) })
	for range 3 {
		if errs := b.broken(flows, 0); len(errs) > 0 {
			t.Fatalf("%d flows do not work: %v", len(errs), errs[0])
		}
	}
	if out := b.kernel("conntrack -L 2>/dev/null | grep -c OFFLOAD || true"); strings.TrimSpace(out) == "0" {
		t.Error("nothing was offloaded: the test proves nothing")
	}
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(3*time.Second, "down", "up")
	if errs := b.broken(flows, 1); len(errs) > 0 {
		t.Errorf("%d flows of the other uplink were harmed: %v", len(errs), errs[0])
	}
}
