package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/proxy"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// The other ways to an address: the configuration, somebody else, and an uplink without IPv4.
func TestIPv6OtherWays(t *testing.T) {
	b := newBench6(t, 3)
	b.routers()
	one, two, three := b.world.ISPs[0], b.world.ISPs[1], b.world.ISPs[2]
	// Somebody else is who hears the second one's router, and gives the third one its address.
	b.ok(b.world.Host().Sysctl("net/ipv6/conf/eth3/accept_ra", "0"))
	b.configure([]string{
		fmt.Sprintf("name: isp1, interface: eth1, address: %s, gateway: %s, ipv6: {address: '%s', gateway: 'fe80::1', weight: 2}",
			one.Static, one.Gateway, one.Static6()),
		fmt.Sprintf("name: isp2, interface: eth2, address: %s, gateway: %s, ipv6: external", two.Static, two.Gateway),
		fmt.Sprintf("name: isp3, interface: eth3, address: none, ipv6: {address: external, gateway: '%s', probe: {targets: [gateway, '%s']}}",
			host(three.Link6(), 1), lab.Somewhere6(1)),
	}, "")
	b.start()
	b.ok(b.world.Host().Address("eth3", three.Static6()))
	b.untilStates6(15*time.Second, "up", "up", "up")
	s := b.status()
	if s.Uplinks[2].Family != "ipv6" || s.Uplinks[2].State != "up" {
		t.Errorf("of an uplink without IPv4: family %s, state %s", s.Uplinks[2].Family, s.Uplinks[2].State)
	}
	if hops := s.DefaultRoute.NextHops; len(hops) != 2 {
		t.Errorf("the default route of IPv4 has %v, want isp1 and isp2", hops)
	}
	counts := b.spread6(net.Dial)
	if counts[1] < counts[2] || counts[2] == 0 || counts[3] == 0 {
		t.Errorf("connections by each ISP: %v, want some by each and most by isp1", counts)
	}
	text, err := b.run("status", "-c", b.config)
	b.ok(err)
	t.Logf("\n%s", text)
	if !strings.Contains(text, "  v6") || !strings.Contains(text, "of IPv6: ") {
		t.Errorf("status says nothing of IPv6:\n%s", text)
	}
	for _, args := range [][]string{
		{"explain", lab.Somewhere6(1).String(), "-c", b.config},
		{"ping", "isp1", "fe80::1", "-n", "1", "-c", b.config},
		{"ping", "isp3", "-n", "1", "-c", b.config},
		{"probe", "tcp://[" + lab.Somewhere6(1).String() + "]:7000", "--via", "isp3", "-c", b.config},
	} {
		if out, err := b.run(args...); err != nil {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func host(p netip.Prefix, n byte) netip.Addr {
	a := p.Addr().As16()
	a[15] = n
	return netip.AddrFrom16(a)
}

// Without a prefix, what the LAN sends by an uplink gets that uplink's address.
func TestIPv6Masquerade(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.routers()
	b.ok(b.world.ISPs[0].StartDHCP6(lab.Lend{
		Prefix: b.world.ISPs[0].Delegated6(), Preferred: lab.PreferredLifetime, Valid: lab.ValidLifetime,
	}))
	b.configure(b.dual(2, 1), "lan: [{interface: lan0, subnet: 1}]\n")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	b.lanClient()
	b.twoToOne("of the LAN, masqueraded", b.spreadLAN6)
}

// A SOCKS server spreads what it is asked for over IPv6.
func TestIPv6ThroughDanted(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedRoot(t, "danted")
	b := newBench6(t, 2)
	b.routers()
	b.configure(b.dual(2, 1), "")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	server := b.danted()
	b.twoToOne("through danted", func() (counts map[int]int) {
		b.inLAN(func() error {
			dialer, err := proxy.SOCKS5("tcp4", server, nil, &net.Dialer{Timeout: 5 * time.Second})
			if err == nil {
				counts = b.spread6(dialer.Dial)
			}
			return err
		})
		return counts
	})
}

// everything6 is how all is looked at that the daemon may change in IPv6, but for what the kernel has of
// routers itself.
var everything6 = []string{
	"ip -6 rule", "ip -6 route show table all | grep -v '^fe80\\|^anycast\\|^local\\|^multicast\\|dev eth.*proto kernel\\|dev lo proto kernel\\|proto ra'|| true",
	"ip -6 addr show scope global | grep inet6 | grep -v mngtmpaddr || true",
	"cd /proc/sys/net/ipv6; grep . conf/eth*/accept_ra conf/eth*/use_oif_addrs_only conf/eth*/ignore_routes_with_linkdown fib_multipath_hash_policy",
	"nft list tables",
}

// What was found is given back: by cleanup all of it, the settings too.
func TestIPv6CleansUp(t *testing.T) {
	b := newBench6(t, 2)
	look := func() string { return b.kernel(everything6...) }
	before := look()
	b.delegating(false)
	b.configure(b.dual(2, 1), "lan: [{interface: lan0, subnet: 1}]\n")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	b.untilPrefixes()
	b.kill(syscall.SIGTERM)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Fatalf("cleanup: %v\n%s", err, out)
	}
	b.until("the kernel has heard the routers again", time.Second, func() bool {
		return strings.Count(b.kernel("ip -6 route show default proto ra"), "via fe80::1") == 2
	})
	if after := look(); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if _, err := os.Stat(b.dir + "/state/kernel.json"); err == nil {
		t.Error("the record of what to give back is still there")
	}
}

// Orders count for both families, or for one alone.
func TestIPv6Orders(t *testing.T) {
	b := newBench6(t, 2)
	b.routers()
	b.configure(b.dual(1, 1), "")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	order := func(args ...string) {
		t.Helper()
		if out, err := b.run(append(args, "-c", b.config)...); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	flows, _ := b.openHere(10, b.dialTCP6)
	for _, tt := range []struct {
		args   []string
		v4, v6 string // of isp1
	}{
		{[]string{"drain", "isp1", "--family", "ipv6"}, "up", "drained"},
		{[]string{"enable", "isp1"}, "up", "up"},
		{[]string{"disable", "isp1"}, "disabled", "disabled"},
		{[]string{"enable", "isp1", "--family", "ipv6"}, "disabled", "up"},
		{[]string{"enable", "isp1", "--family", "ipv4"}, "up", "up"},
		{[]string{"drain", "isp1", "--family", "ipv4"}, "drained", "up"},
		{[]string{"enable", "isp1"}, "up", "up"},
	} {
		order(tt.args...)
		b.untilStates6(15*time.Second, tt.v6, "up")
		b.untilStates(15*time.Second, tt.v4, "up")
		if tt.args[0] == "drain" {
			if broken := b.broken(flows, 0); len(broken) > 0 {
				t.Errorf("%v broke %v", tt.args, broken)
			}
		}
		if tt.args[0] == "disable" {
			flows, _ = b.openHere(10, b.dialTCP6)
		}
	}
	order("weight", "isp1", "3", "--family", "ipv6")
	b.until("the weight of IPv6 alone", 3*time.Second, func() bool {
		u := b.status().Uplinks[0]
		return u.EffectiveWeight == 1 && u.IPv6.EffectiveWeight == 3
	})
	if out, err := b.run("drain", "isp1", "--family", "ipv5", "-c", b.config); err == nil {
		t.Errorf("another family is taken:\n%s", out)
	}
}

// What providers run: dnsmasq as router and DHCPv6 server, Kea with a prefix to delegate.
func TestIPv6RealServers(t *testing.T) {
	labtest.NeedRoot(t, "dnsmasq", "kea-dhcp6")
	b := newBench6(t, 2)
	one, two := b.world.ISPs[0], b.world.ISPs[1]
	b.in(one.Namespace(), "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--user=root",
		"--interface=cust", "--bind-interfaces", "--enable-ra", "--dhcp-range=2001:db8:1::100,2001:db8:1::1ff,64,1h",
		"--dhcp-leasefile="+b.dir+"/leases6", "--pid-file="+b.dir+"/dnsmasq6.pid")
	b.ok(two.StartRouter())
	b.ok(two.Router.Change(func(a *ndp.RouterAdvertisement) { a.ManagedConfiguration, a.Options = true, nil }))
	config := b.dir + "/kea6.json"
	b.ok(os.MkdirAll("/run/kea", 0o755))
	b.ok(os.WriteFile(config, []byte(`{"Dhcp6": {
		"data-directory": "`+b.dir+`",
		"interfaces-config": {"interfaces": ["cust"]}, "lease-database": {"type": "memfile", "persist": false},
		"preferred-lifetime": 1800, "valid-lifetime": 3600, "renew-timer": 5, "rebind-timer": 900,
		"subnet6": [{"id": 2, "subnet": "2001:db8:2::/64", "interface": "cust",
			"pools": [{"pool": "2001:db8:2::100 - 2001:db8:2::1ff"}],
			"pd-pools": [{"prefix": "2001:db8:2:100::", "prefix-len": 56, "delegated-len": 60}]}],
		"loggers": [{"name": "kea-dhcp6", "severity": "INFO", "output_options": [{"output": "stdout"}]}]
	}}`), 0o600))
	b.in(two.Namespace(), "sh", "-c", "KEA_PIDFILE_DIR="+b.dir+" KEA_LOCKFILE_DIR="+b.dir+
		" KEA_DHCP_DATA_DIR="+b.dir+" exec kea-dhcp6 -c "+config)
	b.configure(b.dual(1, 1), "lan: [{interface: lan0, subnet: 1}]\n")
	b.start()
	b.untilStates6(20*time.Second, "up", "up")
	s := b.status()
	for i, within := range []string{"2001:db8:1::100/120", "2001:db8:2::100/120"} {
		a := s.Uplinks[i].IPv6.Addresses
		if len(a) == 0 || !netip.MustParsePrefix(within).Contains(a[0].Addr()) || s.Uplinks[i].IPv6.DHCP == nil {
			t.Errorf("isp%d: %+v, want an address of %s by DHCPv6", i+1, s.Uplinks[i].IPv6, within)
		}
	}
	if p := s.Uplinks[1].IPv6.Prefixes; len(p) != 1 || p[0].Bits() != 60 {
		t.Errorf("Kea has delegated %v, want a /60", p)
	}
	before := s.Uplinks[1].IPv6.DHCP.Expire.Time
	b.until("Kea has renewed the lease", 15*time.Second, func() bool {
		return b.status().Uplinks[1].IPv6.DHCP.Expire.After(before)
	})
	b.spread6(net.Dial)
}
