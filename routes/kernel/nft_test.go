package kernel_test

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
	"uplinkd/routes/firewall"
	"uplinkd/routes/kernel"
)

func prefixes(list ...string) *firewall.Prefixes {
	var all []netip.Prefix
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return firewall.NewPrefixes(all)
}

// everything is a Firewall with every kind of statement.
func everything() firewall.Table {
	user, dscp := uint32(1000), uint8(46)
	return firewall.Table{
		Name: "uplinkd", Mask: 0xff, Marks: true,
		Uplinks: []firewall.Uplink{
			{Name: "isp1", Interface: "wan1", Mark: 0x97, Masquerade: true},
			{Name: "isp2", Interface: "wan2", Mark: 0x98},
			{Name: "isp3", Interface: "wan3", Mark: 0x99},
		},
		Policies: []firewall.Policy{
			{Name: "voice", Match: firewall.Match{DSCP: &dscp, Protocol: []uint8{17}}, Mark: 0x97},
			{
				Name: "mail", Match: firewall.Match{
					From: prefixes("192.0.2.0/24"), To: prefixes("198.51.100.0/25", "203.0.113.0/24", "255.255.255.0/24"),
					DPort: []firewall.PortRange{{First: 25, Last: 25}, {First: 465, Last: 587}, {First: 65000, Last: 65535}},
				}, Mark: 0x98,
			},
			{
				Name: "guest", Prohibit: true,
				Match: firewall.Match{In: []string{"wlan0"}, SPort: []firewall.PortRange{{First: 1024, Last: 2000}}},
			},
			{Name: "me", Match: firewall.Match{User: &user}, Mark: 0x98},
			{Name: "skipped", Match: firewall.Match{In: []string{"wlan1"}}, Skip: true},
			{
				Name: "login", Match: firewall.Match{To: prefixes("198.18.0.0/15")},
				Sticky: &firewall.Sticky{
					Seconds: 600, Ways: []firewall.StickyWay{{Mark: 0x97, Weight: 2}, {Mark: 0x98, Weight: 1}},
				},
			},
			{
				Name: "both", Match: firewall.Match{Protocol: []uint8{6}},
				Sticky: &firewall.Sticky{
					Destination: true, Seconds: 60, Ways: []firewall.StickyWay{{Mark: 0x97, Weight: 1}}, Away: []uint32{0x98}, Full: []uint32{0x99},
				},
			},
			{Name: "video", Match: firewall.Match{To: prefixes("198.51.100.7/32"), Names: []string{"video"}}, Mark: 0x97},
			{
				Name: "tv", Mark: 0x98,
				Match: firewall.Match{In: []string{"wlan*", "eth1", "wlan7"}, MAC: []net.HardwareAddr{{2, 0, 0, 0, 0, 9}}},
				Not: firewall.Match{
					Names: []string{"games"}, DPort: []firewall.PortRange{{First: 53, Last: 53}}, User: &user,
				},
			},
			{Name: "unit", Match: firewall.Match{Cgroup: &firewall.Cgroup{Path: "a.slice/b.service", Level: 2, ID: 77}}, Mark: 0x98},
			{Name: "rest"},
		},
	}
}

func nft(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %v: %v: %s", args, err, out)
	}
	return string(out)
}

func putFirewall(t *testing.T, k *kernel.Kernel, f firewall.Table) {
	t.Helper()
	do(t, k, []routes.Op{routes.PutFirewall{Firewall: f}})
	if got := read(t, k, routes.Set{Owner: owner}).Firewall; got != f.Version() {
		t.Errorf("the table says %q, want %q", got, f.Version())
	}
}

// Every statement reaches the kernel as nft itself would put it; what is put again
// keeps its counters; what is no longer used goes; and at the end nothing is left.
func TestFirewall(t *testing.T) {
	labtest.Need(t)
	if _, err := exec.LookPath("nft"); err != nil {
		labtest.NeedRoot(t, "nft")
	}
	k := openKernel(t)
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "uplinkd").Run() })
	nft(t, "add table inet foreign; add chain inet foreign c; add rule inet foreign c counter")
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "foreign").Run() })
	foreign := nft(t, "list", "table", "inet", "foreign")
	f := everything()
	putFirewall(t, k, f)
	text := nft(t, "-n", "list", "table", "inet", "uplinkd")
	for _, want := range []string{
		`type filter hook prerouting priority -150; policy accept;`, `type route hook output priority -150; policy accept;`,
		`type nat hook postrouting priority 100; policy accept;`,
		`meta nfproto != 2 return`,
		`iifname "wan1" ct mark & 0x000000ff == 0x00000000 ct mark set ct mark & 0xffffff97 | 0x00000097`,
		`oifname "wan2" ct mark set ct mark & 0xffffff98 | 0x00000098`,
		`meta mark & 0x000000ff != 0x00000000 return`,
		`meta mark set meta mark & 0xffffff97 | 0x00000097 accept`,
		`meta l4proto { 17 } ip dscp 0x2e counter name "policy_voice" goto to_97`,
		`th dport { 25, 465-587, 65000-65535 } counter name "policy_mail" goto to_98`,
		`198.51.100.0/25`, `203.0.113.0/24`, `255.255.255.0/24`,
		`iifname { "wlan0" } meta l4proto { 6, 17 } th sport { 1024-2000 } counter name "policy_guest" reject with icmpx 3`,
		`meta skuid 1000 counter name "policy_me" goto to_98`,
		`numgen random mod 3 vmap { 0-1 : goto stuck.login.97, 2 : goto stuck.login.98 }`,
		`update @stuck_s600_login_97 { ip saddr timeout 600s }`,
		`ip saddr . ip daddr @stuck_sd60_both_97 goto stuck.both.97`,
		`ip saddr . ip daddr @stuck_sd60_both_98 update @stuck_sd60_both_98 { ip saddr . ip daddr timeout 60s } goto away.both`,
		`ip saddr . ip daddr @away_sd60_both_97 goto away.both.97`,
		`ip saddr . ip daddr @stuck_sd60_both_99 goto stuck.both.99`,
		`ip saddr . ip daddr @away_sd60_both_97 goto stuck.both.97`,
		`ip daddr @video update @video { ip daddr timeout 86400s } counter name "policy_video" goto to_97`,
		`iifname { "eth1", "wlan*" } ether saddr { 02:00:00:00:00:09 } jump except.tv`,
		`ip daddr @games update @games { ip daddr timeout 86400s } return`,
		`th dport { 53 } return`, `meta skuid 1000 return`,
		`socket cgroupv2 level 2`,
		`set video { type ipv4_addr size 65536 flags dynamic,timeout timeout 86400s }`,
		`counter name "policy_rest" accept`,
		`oifname "wan1" fib saddr type != 2 masquerade`,
		`fib saddr type 2 meta mark & 0x000000ff == 0x00000097 fib saddr . oif type != 2 masquerade`,
	} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	less := f
	less.Policies = f.Policies[1:2]
	putFirewall(t, k, less)
	putFirewall(t, k, less) // again, without harm
	text = nft(t, "list", "table", "inet", "uplinkd")
	if strings.Contains(text, "sticky") || strings.Contains(text, "stuck") || strings.Contains(text, f.Version()) ||
		!strings.Contains(text, "203.0.113.0/24") {
		t.Errorf("not cleared of what is gone:\n%s", text)
	}
	// Somebody flushes the table: its chains are there, and empty. From the review.
	nft(t, "flush", "table", "inet", "uplinkd")
	if got := read(t, k, routes.Set{Owner: owner}).Firewall; got == less.Version() {
		t.Error("an empty table says that all is there")
	}
	// Another kind of stickiness under the same name. From the review.
	other := everything()
	putFirewall(t, k, other)
	other.Policies[5].Sticky = &firewall.Sticky{Destination: true, Seconds: 60, Ways: other.Policies[5].Sticky.Ways}
	putFirewall(t, k, other)
	if now := nft(t, "list", "table", "inet", "foreign"); now != foreign {
		t.Errorf("a foreign table was touched:\n%s", now)
	}
	plan := routes.Cleanup(owner, read(t, k, routes.Set{Owner: owner}))
	do(t, k, plan.Ops)
	if tables := nft(t, "list", "tables"); strings.Contains(tables, "uplinkd") {
		t.Errorf("left over: %s", tables)
	}
	do(t, k, []routes.Op{routes.DeleteFirewall{Table: "uplinkd"}}) // again, without harm
}

// A hundred thousand prefixes are in the kernel in less than a second, at the best of three times, and are not sent
// again when something else changes.
func TestManyPrefixes(t *testing.T) {
	labtest.Need(t)
	k := openKernel(t)
	remove := func() { do(t, k, []routes.Op{routes.DeleteFirewall{Table: "uplinkd"}}) }
	t.Cleanup(remove)
	list := make([]netip.Prefix, 100_000)
	for i := range list {
		// Every other /24, so that none touch.
		list[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i>>15), byte(i >> 7), byte(i << 1), 0}), 24)
	}
	f := everything()
	took := time.Hour
	for range 3 {
		remove()
		start := time.Now()
		f.Policies = []firewall.Policy{{Name: "many", Match: firewall.Match{To: firewall.NewPrefixes(list)}, Mark: 0x97}}
		if n := len(f.Policies[0].Match.To.Ranges); n != len(list) {
			t.Fatalf("%d ranges of %d prefixes: the test proves nothing", n, len(list))
		}
		putFirewall(t, k, f)
		took = min(took, time.Since(start))
	}
	start := time.Now()
	f.Policies[0].Mark = 0x98
	putFirewall(t, k, f)
	t.Logf("100,000 prefixes: %v; another way for them: %v", took, time.Since(start))
	if took > time.Second*slowFactor {
		t.Errorf("%v, want less than a second", took)
	}
	if again := time.Since(start); again > took/3 {
		t.Errorf("another way took %v of %v: were they sent again?", again, took)
	}
	sum := fmt.Sprint(len(nft(t, "list", "set", "inet", "uplinkd", f.Policies[0].Match.To.SetName())))
	if sum == "0" {
		t.Error("the set is empty")
	}
}

// ofBothFamilies is a Firewall with what IPv6 alone has.
func ofBothFamilies() firewall.Table {
	dscp := uint8(46)
	prefix := netip.MustParsePrefix
	return firewall.Table{
		Name: "uplinkd", Mask: 0xff, Marks: true,
		Uplinks: []firewall.Uplink{{Name: "isp1", Interface: "wan1", Mark: 0x97}},
		Uplinks6: []firewall.Uplink{
			{Name: "isp1", Interface: "wan1", Mark: 0x97, Foreign: prefixes("2001:db8:2::/48")},
			{
				Name: "isp2", Interface: "wan2", Mark: 0x98, Masquerade: true,
				Translate: []firewall.Translation{
					{From: prefix("2001:db8:1:101::/64"), To: prefix("2001:db8:2:101::/64")}, {From: prefix("2001:db8:1:102::/64")},
				},
			},
		},
		Policies: []firewall.Policy{{Name: "voice", Match: firewall.Match{DSCP: &dscp}, Mark: 0x97}},
		Policies6: []firewall.Policy{
			{
				Name: "voice", Mark: 0x98,
				Match: firewall.Match{DSCP: &dscp, To: prefixes("2001:db8:9::/48", "ffff::/16"), Names: []string{"video"}},
			},
			{Name: "login", Sticky: &firewall.Sticky{Seconds: 60, Destination: true, Ways: []firewall.StickyWay{{Mark: 0x97, Weight: 1}}}},
		},
	}
}

// Of IPv6: chains, sets and translations of its own, with the marks and counters of IPv4.
func TestFirewallOfIPv6(t *testing.T) {
	labtest.Need(t)
	if _, err := exec.LookPath("nft"); err != nil {
		labtest.NeedRoot(t, "nft")
	}
	k := openKernel(t)
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "uplinkd").Run() })
	f := ofBothFamilies()
	putFirewall(t, k, f)
	text := strings.Join(strings.Fields(nft(t, "-n", "list", "table", "inet", "uplinkd")), " ")
	for _, want := range []string{
		`meta nfproto != 2 return`, `meta nfproto != 10 return`, `chain output6 { type route hook output priority -150;`,
		`2001:db8:9::/48, ffff::/16`, `chain prerouting6`, `chain postrouting6`, `chain policies6`,
		`ip6 dscp 0x2e counter name "policy_voice" goto to_98`,
		`oifname "wan2" ip6 saddr 2001:db8:1:101::/64 snat ip6 prefix to 2001:db8:2:101::/64`,
		`ip6 saddr 2001:db8:1:102::/64 masquerade`, `fib saddr type != 2 masquerade`,
		`type filter hook postrouting priority 150;`, `oifname "wan1" ip6 saddr @net6_`, `drop`,
		`update @stuck_sd6_60_login_97`, `ip6 daddr @video6 ip6 dscp 0x2e update @video6`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	f.Uplinks6, f.Policies6 = nil, nil
	putFirewall(t, k, f)
	if text := nft(t, "-n", "list", "table", "inet", "uplinkd"); strings.Contains(text, "6 {") && strings.Contains(text, "ip6") {
		t.Errorf("without uplinks of IPv6 there is still\n%s", text)
	}
}
