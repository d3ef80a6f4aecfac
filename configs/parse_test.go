package configs_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"uplinkd/configs"
)

var byValue = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func parse(text string) (configs.Config, error) {
	return configs.Parse(strings.NewReader(text), configs.Options{File: "f.yaml", Tables: map[string]uint32{"blue": 77}})
}

// The file that is shipped says what the first user of the project has.
func TestShippedExample(t *testing.T) {
	got, err := parse(configs.Example)
	if err != nil {
		t.Fatal(err)
	}
	probe := configs.Probe{
		Targets: []configs.Target{configs.Gateway}, Interval: 500 * time.Millisecond, Timeout: 400 * time.Millisecond,
		Confirm: 100 * time.Millisecond, DownWithin: time.Second, DownWithinMax: 10 * time.Second, DownAfter: 3, UpAfter: 5, Quorum: 1, MaxLoss: 15, ReturnLoss: 5,
		ExecTimeout: 5 * time.Second, Passive: true, HoldDown: 2 * time.Second, HoldDownMax: 5 * time.Minute,
		FlapWindow: 10 * time.Minute,
	}
	options := configs.RouteOptions{InitCwnd: 70, InitRwnd: 70, QuickAck: true}
	want := configs.Config{
		Uplinks: []configs.Uplink{
			{Name: "isp1", Interface: "eth1", Path: configs.Path{Address: configs.AddressDHCP, Gateway: configs.GatewayLease, Weight: 2, Tier: 1, Probe: probe}, Table: 501, FwMark: 0x97, DHCP: configs.DHCP{RenewAfter: 10 * time.Second}, Options: options},
			{Name: "isp2", Interface: "eth2", Path: configs.Path{Address: configs.AddressDHCP, Gateway: configs.GatewayLease, Weight: 1, Tier: 1, Probe: probe}, Table: 502, FwMark: 0x98, DHCP: configs.DHCP{RenewAfter: 10 * time.Second}, Options: options},
		},
		Routes: configs.Routes{
			Table: 254, Protocol: 201, RulePriority: 20000, FwMarkMask: 0xff, Hash: configs.HashL4, Options: options,
			BalanceInterval: 10 * time.Second,
		},
		Control: configs.Control{Socket: "/run/uplinkd/uplinkd.sock", Group: "uplinkd"}, StateDir: "/var/lib/uplinkd", Marks: true,
		OnDown: configs.OnDown{Conntrack: true, Sockets: true, Again: true},
	}
	if diff := cmp.Diff(want, got, byValue); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExamplesParse(t *testing.T) {
	files, _ := filepath.Glob("examples/*.yaml")
	if len(files) < 3 {
		t.Fatalf("found %d examples, want at least 3", len(files))
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(string(text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Commented keys of the shipped file are its documentation: they must be keys,
// and their values the defaults.
func TestShippedCommentsAreDefaults(t *testing.T) {
	var lines []string
	for line := range strings.Lines(configs.Example) {
		if i := strings.Index(line, "# "); i > 0 && strings.Contains(line[i:], ": ") && strings.TrimSpace(line[:i]) == "" {
			key, _, _ := strings.Cut(line[i+2:], ":")
			if !strings.ContainsAny(strings.TrimSpace(key), " `") {
				line = line[:i] + line[i+2:]
			}
		}
		if strings.HasPrefix(line, "# probe:") || strings.HasPrefix(line, "# control:") {
			line = line[2:]
		}
		if strings.TrimSpace(line) == "# dhcp:" {
			line = strings.Replace(line, "# ", "", 1)
		}
		lines = append(lines, line)
	}
	full, err := parse(strings.Join(lines, ""))
	if err != nil {
		t.Fatalf("with every comment made a key: %v\n%s", err, strings.Join(lines, ""))
	}
	plain, err := parse(configs.Example)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, full, byValue); diff != "" {
		t.Errorf("a comment shows another value than the default (-default +comment):\n%s", diff)
	}
}

const head = "uplinks:\n  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1"

func TestGood(t *testing.T) {
	for name, tt := range map[string]struct {
		text  string
		check func(configs.Config) (got, want any)
	}{
		"table by name":   {head + ", table: blue}", func(c configs.Config) (any, any) { return c.Uplinks[0].Table, uint32(77) }},
		"default table":   {head + "}", func(c configs.Config) (any, any) { return c.Uplinks[0].Table, uint32(501) }},
		"assigned mark":   {head + "}", func(c configs.Config) (any, any) { return c.Uplinks[0].FwMark, uint32(0x01000000) }},
		"assigned low":    {head + ", fwmark: 0x97}", func(c configs.Config) (any, any) { return c.Routes.FwMarkMask, uint32(0xff) }},
		"assigned high":   {head + "}\nroutes: {fwmark_mask: 0xa000}", func(c configs.Config) (any, any) { return c.Uplinks[0].FwMark, uint32(0x2000) }},
		"probe inherits":  {head + ", probe: {up_after: 9}}\nprobe: {interval: 2s}", func(c configs.Config) (any, any) { return c.Uplinks[0].Probe.Interval, 2 * time.Second }},
		"probe overrides": {head + ", probe: {up_after: 9}}\nprobe: {up_after: 2}", func(c configs.Config) (any, any) { return c.Uplinks[0].Probe.UpAfter, 9 }},
		"options inherit": {head + ", options: {mtu: 1400}}\nroutes: {options: {initcwnd: 3}}", func(c configs.Config) (any, any) {
			return c.Uplinks[0].Options, configs.RouteOptions{InitCwnd: 3, InitRwnd: 70, MTU: 1400, QuickAck: true}
		}},
		"quorum all":  {head + ", probe: {targets: [gateway, 192.0.2.9], quorum: all}}", func(c configs.Config) (any, any) { return c.Uplinks[0].Probe.Quorum, 2 }},
		"weight 256":  {head + ", weight: 256}", func(c configs.Config) (any, any) { return c.Uplinks[0].Weight, 256 }},
		"renew_after": {"uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease, dhcp: {renew_after: 1m}}]", func(c configs.Config) (any, any) { return c.Uplinks[0].DHCP.RenewAfter, time.Minute }},
		"targets": {head + ", probe: {targets: ['tcp://192.0.2.9:443', 'https://example.org/x', 'dns://192.0.2.53/example.org', 'exec:/bin/true', 'socks5://proxy.example:1080/192.0.2.9:443']}}", func(c configs.Config) (any, any) {
			return c.Uplinks[0].Probe.Targets, []configs.Target{
				{Kind: configs.TargetTCP, Text: "tcp://192.0.2.9:443", IP: netip.MustParseAddr("192.0.2.9"), Port: 443},
				{Kind: configs.TargetHTTP, Text: "https://example.org/x", Rest: "https://example.org/x"},
				{Kind: configs.TargetDNS, Text: "dns://192.0.2.53/example.org", IP: netip.MustParseAddr("192.0.2.53"), Rest: "example.org"},
				{Kind: configs.TargetExec, Text: "exec:/bin/true", Rest: "/bin/true"},
				{
					Kind: configs.TargetSOCKS5, Text: "socks5://proxy.example:1080/192.0.2.9:443", IP: netip.MustParseAddr("192.0.2.9"),
					Port: 443, Rest: "proxy.example:1080",
				},
			}
		}},
		"limits to come back to": {head + ", probe: {max_loss: 30, max_rtt: 100ms, max_jitter: 50ms}}", func(c configs.Config) (any, any) {
			p := c.Uplinks[0].Probe
			return []any{p.ReturnLoss, p.ReturnRTT, p.ReturnJitter}, []any{10, 80 * time.Millisecond, 40 * time.Millisecond}
		}},
		"budget":    {head + ", probe: {budget: 500MB}}", func(c configs.Config) (any, any) { return c.Uplinks[0].Probe.Budget, uint64(500e6) }},
		"bandwidth": {head + ", bandwidth: 100Mbit}", func(c configs.Config) (any, any) { return c.Uplinks[0].Bandwidth, uint64(100e6) }},
		"client id": {"uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease, dhcp: {client_id: 'hex:01:aB', mtu: accept, conflict_probe: none}}]", func(c configs.Config) (any, any) {
			return c.Uplinks[0].DHCP, configs.DHCP{
				RenewAfter: 10 * time.Second, ConflictProbe: configs.ConflictNone, MTU: configs.MTUAccept, Send: configs.DHCPOptions{ClientID: "\x01\xab"},
			}
		}},
		"ipv6 auto": {head + ", weight: 3, tier: 2, ipv6: auto}", func(c configs.Config) (any, any) {
			v6 := c.Uplinks[0].IPv6
			return []any{v6.Address, v6.Gateway, v6.Delegation, v6.Translate, v6.Weight, v6.Tier, v6.Probe.Targets},
				[]any{configs.AddressAuto, configs.GatewayRA, configs.DelegationAsk, true, 3, 2, []configs.Target{configs.Gateway}}
		}},
		"ipv6 absent": {head + "}", func(c configs.Config) (any, any) { return c.Uplinks[0].IPv6, configs.IPv6{} }},
		"ipv6 none":   {head + ", ipv6: none}", func(c configs.Config) (any, any) { return c.Uplinks[0].IPv6, configs.IPv6{} }},
		"ipv6 by key": {head + ", weight: 3, ipv6: {address: ['2001:db8::5/64'], gateway: 'fe80::1', prefix: '2001:db8:1::/56', weight: 7, translate: false}}", func(c configs.Config) (any, any) {
			v6 := c.Uplinks[0].IPv6
			return []any{v6.Address, v6.Prefixes, v6.GatewayIP, v6.Routed, v6.Weight, v6.Translate}, []any{
				configs.AddressStatic,
				[]netip.Prefix{netip.MustParsePrefix("2001:db8::5/64")},
				netip.MustParseAddr("fe80::1"),
				netip.MustParsePrefix("2001:db8:1::/56"), 7, false,
			}
		}},
		"targets of both families": {head + ", ipv6: auto}\nprobe: {quorum: all, targets: [gateway, 192.0.2.9, '2001:db8::9', 'https://example.org/']}", func(c configs.Config) (any, any) {
			texts := func(list []configs.Target) (texts []string) {
				for _, t := range list {
					texts = append(texts, t.Text)
				}
				return texts
			}
			u := c.Uplinks[0]
			return []any{texts(u.Probe.Targets), u.Probe.Quorum, texts(u.IPv6.Probe.Targets), u.IPv6.Probe.Quorum}, []any{
				[]string{"gateway", "192.0.2.9", "https://example.org/"}, 3, []string{"gateway", "2001:db8::9", "https://example.org/"}, 3,
			}
		}},
		"no IPv4": {"uplinks: [{name: a, interface: eth1, address: none, ipv6: auto}]", func(c configs.Config) (any, any) {
			return []any{c.Uplinks[0].Present(), c.Uplinks[0].IPv6.Present()}, []any{false, true}
		}},
		"lan": {head + ", ipv6: auto}\nlan: [{interface: lan0, subnet: 1}, {interface: lan1, subnet: 2}]", func(c configs.Config) (any, any) {
			return []any{c.LAN, c.LANPrefix}, []any{[]configs.LAN{{Interface: "lan0", Subnet: 1}, {Interface: "lan1", Subnet: 2}}, []string{"a"}}
		}},
		"lan of its own": {head + ", ipv6: auto}\nlan: [{interface: lan0}]\nipv6: {lan_prefix: 'fd00:aaaa::/56'}", func(c configs.Config) (any, any) {
			return c.OwnPrefix, netip.MustParsePrefix("fd00:aaaa::/56")
		}},
		"policy of both": {head + ", ipv6: auto}\npolicies: [{name: p, to: [192.0.2.0/24, '2001:db8::/32'], via: a}]", func(c configs.Config) (any, any) {
			return c.Policies[0].To.Prefixes, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
		}},
		"empty section":    {head + "}\nprobe:\n", func(c configs.Config) (any, any) { return c.Uplinks[0].Probe.UpAfter, 5 }},
		"alias":            {"probe: &p {up_after: 3}\nuplinks:\n  - {name: a, interface: eth1, address: dhcp, gateway: lease, probe: *p}", func(c configs.Config) (any, any) { return c.Uplinks[0].Probe.UpAfter, 3 }},
		"last resort none": {head + "}\nroutes: {last_resort: none, hash: keep}", func(c configs.Config) (any, any) { return c.Routes.LastResort, configs.LastResortNone }},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := parse(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := tt.check(c); !cmp.Equal(got, want, byValue) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestBad(t *testing.T) {
	two := func(a, b string) string {
		return "uplinks:\n- {name: a, interface: eth1, address: dhcp, gateway: lease" + a +
			"}\n- {name: b, interface: eth2, address: dhcp, gateway: lease" + b + "}\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"empty":              {"", "f.yaml: empty: name at least one uplink under `uplinks:`"},
		"comment only":       {"# nothing\n", "f.yaml: must hold one YAML document with at least the key uplinks: yaml: no documents in stream"},
		"a tab":              {"uplinks:\n\t- {name: a}\n", "f.yaml:2:1: not YAML: found character that cannot start any token: a tab: indent with spaces"},
		"not YAML":           {"uplinks: [\n", "f.yaml:2:1: not YAML: did not find expected node content"},
		"a list":             {"- a\n", "f.yaml:1:1: must be a mapping with at least the key uplinks"},
		"no uplinks":         {"state_dir: /x\n", "f.yaml: uplinks: missing: name at least one uplink"},
		"empty uplinks":      {"uplinks: []\n", "f.yaml:1:10: uplinks: empty: name at least one uplink"},
		"unknown key":        {head + "}\ncolour: red\n", "f.yaml:3:1: colour: unknown key: the keys here are control, dns, hooks, ipv6, lan, marks, mptcp, on_down, on_return, policies, probe, routes, state_dir, uplinks"},
		"misspelt key":       {head + ", wieght: 3}\n", "f.yaml:2:75: uplink a: wieght: unknown key: did you mean weight?"},
		"dns":                {head + "}\ndns: dnsmasq\n", "f.yaml:3:6: dns: \"dnsmasq\": must be none or route or resolved or file or hook"},
		"nameserver":         {head + ", nameservers: [a.example]}\n", "f.yaml:2:89: uplink a: nameservers[0]: \"a.example\": must be the IP address of a DNS server"},
		"nameserver twice":   {head + ", nameservers: [192.0.2.1, 192.0.2.1]}\n", "f.yaml:2:100: uplink a: nameservers[1]: 192.0.2.1: named twice: keep one"},
		"another family":     {head + ", nameservers: [2001:db8::1]}\n", "f.yaml:2:88: uplink a: nameservers: 2001:db8::1 is of IPv6, which this uplink does not have: remove it, or give the uplink ipv6"},
		"four nameservers":   {head + ", nameservers: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]}\n", "f.yaml:2:122: uplink a: nameservers[3]: 192.0.2.4: more than 3: keep those that are to be asked"},
		"here as nameserver": {head + ", nameservers: [127.0.0.1]}\n", "f.yaml:2:89: uplink a: nameservers[0]: 127.0.0.1: must be an address that one host can have"},
		"doubled key":        {head + ", tier: 1, tier: 2}\n", "f.yaml:2:84: uplink a: tier: given twice, first on line 2: keep one"},
		"weight 0":           {head + ", weight: 0}\n", "f.yaml:2:83: uplink a: weight: 0: must be 1 to 256"},
		"weight 257":         {head + ", weight: 257}\n", "f.yaml:2:83: uplink a: weight: 257: must be 1 to 256"},
		"weight of words":    {head + ", weight: two}\n", "f.yaml:2:83: uplink a: weight: two: must be 1 to 256"},
		"same name":          {two("", "") + "- {name: a, interface: eth3, address: dhcp, gateway: lease}", "f.yaml:4:10: uplink a: name: a: an earlier uplink has it: give each its own"},
		"same interface":     {two("", "") + "- {name: c, interface: eth1, address: dhcp, gateway: lease}", "f.yaml:4:24: uplink c: interface: eth1: already used by uplink a: an interface is one uplink"},
		"same table":         {two(", table: 600", ", table: 600"), "f.yaml:3:68: uplink b: table: 600: already used by uplink a: give each its own"},
		"table by default":   {two(", table: 502", ""), "f.yaml:3:3: uplink b: table: 502: already used by uplink a: give each its own"},
		"table of routes":    {two(", table: 99", "") + "routes: {table: 99}", "f.yaml:2:68: uplink a: table: 99: also routes.table: give each its own"},
		"table main":         {two(", table: main", ""), "f.yaml:2:68: uplink a: table: 254: the kernel's own (default, main, local): give another"},
		"unknown table":      {two(", table: green", ""), "f.yaml:2:68: uplink a: table: \"green\": no table has that name in rt_tables: add it there or give a number"},
		"same mark":          {two(", fwmark: 7", ", fwmark: 7"), "f.yaml:3:69: uplink b: fwmark: 0x7: already used by uplink a: give each its own"},
		"mark outside mask":  {two(", fwmark: 0x100", ""), "f.yaml:2:69: uplink a: fwmark: 0x100: outside routes.fwmark_mask 0xff000000: change one of them"},
		"no mark left":       {two("", "") + "routes: {fwmark_mask: 1}", "f.yaml:3:3: uplink b: fwmark: no mark is left under routes.fwmark_mask 0x1: widen the mask"},
		"gateway outside":    {"uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 198.51.100.1}]", "f.yaml:1:70: uplink a: gateway: 198.51.100.1: outside the uplink's networks (192.0.2.0/24): correct one of them, or set onlink: true"},
		"gateway is self":    {"uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.5}]", "f.yaml:1:70: uplink a: gateway: 192.0.2.5: this is the uplink's own address: give the router's"},
		"dhcp, no gateway":   {"uplinks: [{name: a, interface: eth1, address: dhcp}]", "f.yaml:1:11: uplink a: gateway: missing: with address dhcp give it the address of this ISP's router, or lease to take the router that DHCP names"},
		"static, lease":      {"uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: lease}]", "f.yaml:1:70: uplink a: gateway: lease: only with address: dhcp; give the address of this ISP's router, or none"},
		"network address":    {"uplinks: [{name: a, interface: eth1, address: 192.0.2.0/24, gateway: 192.0.2.1}]", "f.yaml:1:47: uplink a: address: 192.0.2.0/24: this is the network or its broadcast address: give the host's own"},
		"no prefix length":   {"uplinks: [{name: a, interface: eth1, address: 192.0.2.5, gateway: 192.0.2.1}]", "f.yaml:1:47: uplink a: address: \"192.0.2.5\": must be dhcp, external, or an address with its prefix length such as 203.0.113.5/24"},
		"IPv6":               {"uplinks: [{name: a, interface: eth1, address: '2001:db8::5/64', gateway: none, probe: {targets: [192.0.2.9]}}]", "f.yaml:1:47: uplink a: address: 2001:db8::5: must be an IPv4 address: one of IPv6 belongs under ipv6"},
		"loopback gateway":   {"uplinks: [{name: a, interface: eth1, address: dhcp, gateway: 127.0.0.1}]", "f.yaml:1:62: uplink a: gateway: 127.0.0.1: must be an address that one host can have"},
		"dhcp of a static":   {head + ", dhcp: {renew_after: 1s}}", "f.yaml:2:81: uplink a: dhcp: only with address: dhcp: remove it, or take the address by DHCP"},
		"host name":          {"uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease, dhcp: {host_name: ''}}]", "f.yaml:1:87: uplink a: dhcp.host_name: \"\": must be 1 to 63 bytes without control characters"},
		"nothing to probe":   {"uplinks: [{name: a, interface: ppp0, address: external, gateway: none}]", "f.yaml:1:66: uplink a: gateway: none: there is no gateway to probe: name addresses under probe.targets of this uplink"},
		"bgp, no name":       {head + "}\npolicies: [{name: p, to: 'bgp:../etc', via: a}]\n", "f.yaml:3:26: policies[0].to: \"bgp:../etc\": must be bgp: and a name of 1 to 32 letters, digits, '-' or '_'"},
		"agent, no port":     {head + "}\nprobe: {targets: ['agent://192.0.2.9']}", "f.yaml:3:19: probe.targets[0]: \"agent://192.0.2.9\": must be agent://host:port"},
		"agent on this host": {head + "}\nprobe: {targets: ['agent://127.0.0.1:9']}", "f.yaml:3:19: probe.targets[0]: 127.0.0.1: must be an address that one host can have"},
		"socks5, no port":    {head + "}\nprobe: {targets: ['socks5://proxy/192.0.2.9:443']}", "f.yaml:3:19: probe.targets[0]: \"socks5://proxy/192.0.2.9:443\": must be socks5://host:port/IP:port"},
		"socks5, no target":  {head + "}\nprobe: {targets: ['socks5://proxy:1080']}", "f.yaml:3:19: probe.targets[0]: \"socks5://proxy:1080\": must be socks5://host:port/IP:port"},
		"tcp, no port":       {head + "}\nprobe: {targets: ['tcp://192.0.2.9']}", "f.yaml:3:19: probe.targets[0]: \"tcp://192.0.2.9\": must be tcp://IP:port"},
		"http, no host":      {head + "}\nprobe: {targets: ['http:///x']}", "f.yaml:3:19: probe.targets[0]: \"http:///x\": must be http://host/path or https://host/path"},
		"dns, no name":       {head + "}\nprobe: {targets: ['dns://192.0.2.9']}", "f.yaml:3:19: probe.targets[0]: \"dns://192.0.2.9\": must be dns://IP/name"},
		"exec, relative":     {head + "}\nprobe: {targets: ['exec:check.sh']}", "f.yaml:3:19: probe.targets[0]: \"exec:check.sh\": must be exec: and the absolute path of a program"},
		"nothing known":      {head + "}\nprobe: {targets: [example.org]}", "f.yaml:3:19: probe.targets[0]: \"example.org\": must be gateway, an IP address, tcp://IP:port, http(s)://host/path, dns://IP/name, socks5://host:port/IP:port, agent://host:port or exec:/path"},
		"loss comes back":    {head + "}\nprobe: {max_loss: 10, return_loss: 10}", "f.yaml:3:36: probe.return_loss: return_loss must lie below max_loss"},
		"budget":             {head + "}\nprobe: {budget: 5kB}", "f.yaml:3:17: probe.budget: \"5kB\": must be bytes a month with their unit, such as 500MB, 100kB at least, or 0"},
		"hold_down":          {head + "}\nprobe: {hold_down: 10m}", "f.yaml:3:20: probe.hold_down: hold_down must lie below hold_down_max"},
		"bandwidth":          {head + ", bandwidth: fast}", "f.yaml:2:86: uplink a: bandwidth: \"fast\": must be bits a second with their unit, such as 100Mbit"},
		"balance":            {head + "}\nroutes: {balance: luck}", "f.yaml:3:19: routes.balance: \"luck\": must be static or response-time or least-traffic or least-connections or overflow"},
		"client id":          {"uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease, dhcp: {client_id: 'hex:0g'}}]", "f.yaml:1:87: uplink a: dhcp.client_id: \"hex:0g\": after hex: must stand at least two bytes in hexadecimal digits, the type first"},
		// Two of them are wrong; it said "of 2 targets".
		"quorum with bad ones": {head + ", probe: {quorum: 4, targets: [gateway, 192.0.2.9, nonsense, 'tcp://x']}}", `f.yaml:2:124: uplink a: probe.targets[2]: "nonsense": must be gateway, an IP address, tcp://IP:port, http(s)://host/path, dns://IP/name, socks5://host:port/IP:port, agent://host:port or exec:/path
f.yaml:2:134: uplink a: probe.targets[3]: "tcp://x": must be tcp://IP:port`},
		"quorum too high":       {head + "}\nprobe: {quorum: 2}", "f.yaml:3:17: probe.quorum: quorum 2 of 1 targets: must be at most as many as there are targets"},
		"ipv6, IPv4 address":    {head + ", ipv6: 192.0.2.7/24}", "f.yaml:2:81: uplink a: ipv6: 192.0.2.7: must be an IPv6 address: one of IPv4 belongs under address"},
		"ipv6, no length":       {head + ", ipv6: '2001:db8::5'}", "f.yaml:2:81: uplink a: ipv6: \"2001:db8::5\": must be none, auto, external, or an address with its prefix length such as 2001:db8::5/64"},
		"ipv6, of the link":     {head + ", ipv6: 'fe80::5/64'}", "f.yaml:2:81: uplink a: ipv6: fe80::5/64: of the link alone: give an address that the Internet can answer to"},
		"ipv6, of routers":      {head + ", ipv6: '2001:db8::/64'}", "f.yaml:2:81: uplink a: ipv6: 2001:db8::/64: this is the address of all routers there (RFC 4291 section 2.6.1): give the host's own"},
		"ipv6, IPv4 gateway":    {head + ", ipv6: {gateway: 192.0.2.1}}", "f.yaml:2:91: uplink a: ipv6.gateway: 192.0.2.1: must be an IPv6 address, ra or none"},
		"ipv6, gateway none":    {head + ", ipv6: {gateway: none}}", "f.yaml:2:81: uplink a: ipv6: gateway: none: there is no gateway to probe: name addresses under ipv6.probe.targets of this uplink"},
		"ipv6, length of none":  {head + ", ipv6: {prefix: none, prefix_length: 56}}", "f.yaml:2:111: uplink a: ipv6.prefix_length: only with prefix: ask: it is what DHCPv6 is asked for"},
		"ipv6, prefix too long": {head + ", ipv6: {prefix: '2001:db8::/65'}}", "f.yaml:2:90: uplink a: ipv6.prefix: 2001:db8::/65: must be /16 to /64: the LAN gets a /64 of it"},
		"ipv6, bits beyond":     {head + ", ipv6: {prefix: '2001:db8::1/56'}}", "f.yaml:2:90: uplink a: ipv6.prefix: 2001:db8::1/56: must have no bits set beyond its length: 2001:db8::/56"},
		"ipv6, IPv4 target":     {head + ", ipv6: {probe: {targets: [192.0.2.9]}}}", "f.yaml:2:99: uplink a: ipv6.probe.targets: 192.0.2.9: an address of the other family: it belongs under probe.targets of the uplink"},
		"IPv6 target without":   {head + ", probe: {targets: ['2001:db8::9']}}", "f.yaml:2:92: uplink a: probe.targets: 2001:db8::9: an address of the other family: it belongs under an uplink that has ipv6"},
		"no target left":        {head + ", ipv6: auto}\nprobe: {targets: [192.0.2.9]}", "f.yaml:2:81: uplink a: ipv6: probe.targets: none can be asked over IPv6: name one, or gateway"},
		"no family":             {"uplinks: [{name: a, interface: eth1, address: none}]", "f.yaml:1:47: uplink a: address: none: the uplink has no address in any family: give it one, or ipv6"},
		"lan without ipv6":      {head + "}\nlan: [{interface: lan0}]", "f.yaml:3:19: lan[0].interface: lan: no uplink has ipv6 that could number it"},
		"lan of an uplink":      {head + ", ipv6: auto}\nlan: [{interface: eth1}]", "f.yaml:3:19: lan[0].interface: eth1: an uplink is on it: name the interface that the hosts are on"},
		"two lans, one subnet":  {head + ", ipv6: auto}\nlan: [{interface: lan0}, {interface: lan1}]", "f.yaml:3:38: lan[1].interface: subnet 0: also that of lan0: give each its own"},
		"lan_prefix unknown":    {head + ", ipv6: auto}\nlan: [{interface: lan0}]\nipv6: {lan_prefix: [b]}", "f.yaml:4:20: ipv6.lan_prefix: b: no uplink of that name has ipv6"},
		"metric of the kernel":  {head + ", ipv6: auto}\nroutes: {metric: 1024}", "f.yaml:3:18: routes.metric: 1024: in IPv6 that is where the kernel puts the routers it hears of, and one would take the place of the other: give another"},
		"no unit":               {head + "}\nprobe: {interval: 500}", "f.yaml:3:19: probe.interval: \"500\": must be a number with its unit, such as 500ms or 2s"},
		"interval too fast":     {head + "}\nprobe: {interval: 1ms}", "f.yaml:3:19: probe.interval: 1ms: must be 10ms to 1h0m0s"},
		"too many waiting":      {head + "}\nprobe: {rule: fixed, timeout: 1m}", "f.yaml:3:31: probe.timeout: timeout 1m0s with a probe every 100ms: more than 200 would wait for their answer: lower timeout or raise confirm"},
		"interface name":        {"uplinks: [{name: a, interface: ../eth1, address: dhcp, gateway: lease}]", "f.yaml:1:32: uplink a: interface: \"../eth1\": must be an interface's name, at most 15 bytes"},
		"no uplink":             {"uplinks: [{name: a, interface: all, address: dhcp, gateway: lease}]", "f.yaml:1:32: uplink a: interface: \"all\" is no way to the Internet: name the interface that the provider is on"},
		"relative socket":       {head + "}\ncontrol: {socket: s}", "f.yaml:3:19: control.socket: \"s\": must be an absolute path of at most 107 bytes"},
		"metrics":               {head + "}\ncontrol: {metrics: 'localhost:9'}", "f.yaml:3:20: control.metrics: \"localhost:9\": must be an address and a port, such as 127.0.0.1:9877"},
		"web":                   {head + "}\ncontrol: {web: ':9'}", "f.yaml:3:16: control.web: \":9\": must be an address and a port, such as 127.0.0.1:9878"},
		"control group":         {head + "}\ncontrol: {group: 'a b'}", "f.yaml:3:18: control.group: \"a b\": must be the name of a group"},
		"priority too late":     {head + "}\nroutes: {rule_priority: 32000}", "f.yaml:3:25: routes.rule_priority: 32000: must be 1 to 31766"},
		"protocol taken":        {head + "}\nroutes: {protocol: 4}", "f.yaml:3:20: routes.protocol: 4: must be 5 to 255"},
		"too large":             {strings.Repeat("#", configs.Most+1), "f.yaml: more than 1048576 bytes: this cannot be a configuration of uplinkd"},
		"all at once, in order": {
			"uplinks:\n- {name: a, interface: eth1, address: dhcp, weight: 0}\n- {name: 'b c', address: dhcp, gateway: lease}\nprobe: {up_after: 0}\n",
			"f.yaml:2:3: uplink a: gateway: missing: with address dhcp give it the address of this ISP's router, or lease to take the router that DHCP names\n" +
				"f.yaml:2:53: uplink a: weight: 0: must be 1 to 256\n" +
				"f.yaml:3:3: uplink uplinks[1]: interface: missing: name the interface this uplink is on\n" +
				"f.yaml:3:10: uplink uplinks[1]: name: \"b c\": must be 1 to 32 letters, digits, '-' or '_'\n" +
				"f.yaml:4:19: probe.up_after: 0: must be 1 to 100",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse(tt.text)
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadTables(t *testing.T) {
	got := configs.LoadTables(fstest.MapFS{
		"usr/share/iproute2/rt_tables":    {Data: []byte("255 local\n# comment\n10 old\n")},
		"etc/iproute2/rt_tables":          {Data: []byte("10 isp # one\n0x20\thex\nnonsense\n1 2 3\n-1 minus\n")},
		"etc/iproute2/rt_tables.d/a.conf": {Data: []byte("30 thirty\n")},
		"etc/iproute2/rt_tables.d/a.txt":  {Data: []byte("40 forty\n")},
	})
	want := map[string]uint32{"local": 255, "old": 10, "isp": 10, "hex": 32, "thirty": 30}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Whatever the bytes, a config that comes back keeps the promises the rest of
// the program rests upon.
func FuzzParse(f *testing.F) {
	f.Add([]byte(configs.Example))
	f.Add([]byte(head + "}"))
	f.Add([]byte("a: &a [*a]\nuplinks: *a\n"))
	f.Add([]byte("uplinks: [{name: a, interface: b, address: [1.2.3.4/31], gateway: 1.2.3.5, fwmark: 1}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse(string(text))
		if err != nil {
			return
		}
		seen := map[any]string{}
		for _, u := range c.Uplinks {
			if u.Weight < 1 || u.Weight > 256 || u.FwMark == 0 || u.FwMark&^c.Routes.FwMarkMask != 0 ||
				u.Name == "" || u.Interface == "" || strings.ContainsAny(u.Interface, "/ \n") ||
				u.Probe.Quorum < 1 || u.Probe.Quorum > len(u.Probe.Targets) {
				t.Errorf("bad uplink came through: %+v", u)
			}
			type tableOf uint32
			for _, key := range []any{u.Name, tableOf(u.Table), u.FwMark} {
				if seen[key] != "" {
					t.Errorf("%v in two uplinks", key)
				}
				seen[key] = u.Name
			}
		}
	})
}
