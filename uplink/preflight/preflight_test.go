package preflight_test

import (
	"maps"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink/preflight"
)

var (
	owner = routes.Owner{Protocol: 201, RulePriority: 20000}
	eth1  = routes.Link{Name: "eth1", Index: 2, Up: true, Carrier: true}
	any4  = netip.MustParsePrefix("0.0.0.0/0")
)

func config(t *testing.T) configs.Config {
	t.Helper()
	c, err := configs.Parse(strings.NewReader(
		"uplinks: [{name: isp1, interface: eth1, address: dhcp, gateway: lease, fwmark: 0x97000000}]\nroutes: {metric: 10}"), configs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func route(table, metric uint32, protocol uint8) routes.Route {
	return routes.Route{
		RouteKey: routes.RouteKey{Table: table, Metric: metric, Dst: any4}, Protocol: protocol,
		NextHops: []routes.NextHop{{Interface: "eth0", Gateway: netip.MustParseAddr("10.0.0.1"), Weight: 1}},
	}
}

// Who saves his ruleset saves our table with it.
func TestSavedTable(t *testing.T) {
	for text, found := range map[string]bool{
		"": false, "flush ruleset\ntable inet filter {\n}\n": false,
		"flush ruleset\n\ntable inet  uplinkd {\n\tchain v_1 {\n\t}\n}\n": true,
		"table inet uplinkd\n": true, "table inet uplinkd_2 {\n": false, "# table inet uplinkd {": false, "table ip uplinkd {": false,
	} {
		host := preflight.ReadHost(fstest.MapFS{"etc/nftables.conf": {Data: []byte(text)}}, []routes.Link{eth1}, []string{"eth1"})
		got := false
		for _, f := range preflight.Inspect(config(t), owner, routes.State{Links: []routes.Link{eth1}}, host) {
			got = got || strings.Contains(f.What, "/etc/nftables.conf") && f.Severity == preflight.Warning
		}
		if got != found {
			t.Errorf("%q: found %v", text, got)
		}
	}
}

func TestMPTCPIsLookedFor(t *testing.T) {
	for name, tt := range map[string]struct {
		wanted bool
		files  fstest.MapFS
		found  bool
	}{
		"wanted and there":      {true, fstest.MapFS{"proc/sys/net/mptcp/enabled": {Data: []byte("1\n")}}, false},
		"wanted and not there":  {true, fstest.MapFS{}, true},
		"not there, not wanted": {false, fstest.MapFS{}, false},
	} {
		c := config(t)
		c.MPTCP = tt.wanted
		found := false
		host := preflight.ReadHost(tt.files, []routes.Link{eth1}, []string{"eth1"})
		for _, f := range preflight.Inspect(c, owner, routes.State{Links: []routes.Link{eth1}}, host) {
			found = found || strings.Contains(f.What, "MPTCP") && f.Severity == preflight.Problem
		}
		if found != tt.found {
			t.Errorf("%s: found %v", name, found)
		}
	}
}

func TestInspect(t *testing.T) {
	for name, tt := range map[string]struct {
		have    routes.State
		files   fstest.MapFS
		writes  []routes.MarkWrite
		timeout time.Duration
		want    string // part of the one finding; "": none
		remedy  string
	}{
		"all is well": {have: routes.State{
			Links: []routes.Link{eth1}, Routes: []routes.Route{route(254, 10, 201), route(501, 0, 201), route(254, 100, 3)},
			Rules: []routes.Rule{{Priority: 20100, Mark: 0x97000000, Mask: 0xff000000, Table: 501, Protocol: 201}, {Priority: 5210, Mark: 0x80000, Mask: 0xff0000, Table: 254}},
		}},
		"no interface":        {have: routes.State{}, want: "there is no interface eth1", remedy: "ip link"},
		"a foreign default":   {have: routes.State{Links: []routes.Link{eth1}, Routes: []routes.Route{route(254, 10, 3)}}, want: "stands where ours belongs", remedy: "ip route del default via 10.0.0.1"},
		"a better default":    {have: routes.State{Links: []routes.Link{eth1}, Routes: []routes.Route{route(254, 0, 3)}}, want: "wins over ours", remedy: "remove it"},
		"our table in use":    {have: routes.State{Links: []routes.Link{eth1}, Routes: []routes.Route{route(501, 5, 3)}}, want: "table 501 holds a foreign route", remedy: "another `table:`"},
		"a rule to our table": {have: routes.State{Links: []routes.Link{eth1}, Rules: []routes.Rule{{Priority: 100, From: netip.MustParsePrefix("10.0.0.0/8"), Table: 501}}}, want: "leads to table 501", remedy: "if-up script"},
		"our marks in use":    {have: routes.State{Links: []routes.Link{eth1}, Rules: []routes.Rule{{Priority: 100, Mark: 1 << 24, Mask: 1 << 24, Table: 99}}}, want: "bits of our marks", remedy: "fwmark_mask"},
		"our priorities":      {have: routes.State{Links: []routes.Link{eth1}, Rules: []routes.Rule{{Priority: 20500, From: any4, Table: 99}}}, want: "in our range", remedy: "rule_priority"},
		"a rule for all":      {have: routes.State{Links: []routes.Link{eth1}, Rules: []routes.Rule{{Priority: 100, Table: 52}}}, want: "sends all packets to another table", remedy: "it wins"},
		"a foreign address": {
			have: routes.State{Links: []routes.Link{eth1}, Addresses: []routes.Address{{Interface: "eth1", Prefix: netip.MustParsePrefix("192.0.2.7/24")}}},
			want: "already has the address 192.0.2.7/24", remedy: "ip addr del",
		},
		"dhclient": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/77/comm": {Data: []byte("dhclient\n")}, "proc/77/cmdline": {Data: []byte("dhclient\x00-v\x00eth1\x00")},
		}, want: "dhclient (pid 77)", remedy: "inet manual"},
		"dhclient elsewhere": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/77/comm": {Data: []byte("dhclient\n")}, "proc/77/cmdline": {Data: []byte("dhclient\x00-v\x00eth0\x00")},
		}},
		// From installing the first stage: 21 lines of dhcpcd's processes on another interface.
		"dhcpcd": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/70/comm": {Data: []byte("dhcpcd\n")}, "proc/70/cmdline": {Data: []byte("dhcpcd: eth1 [ip4]\x00")},
			"proc/71/comm": {Data: []byte("dhcpcd\n")}, "proc/71/cmdline": {Data: []byte("dhcpcd: [privileged proxy] eth1 [ip4]\x00")},
			"proc/72/comm": {Data: []byte("dhcpcd\n")}, "proc/72/cmdline": {Data: []byte("dhcpcd: [BPF ARP] eth1 100.64.1.10\x00")},
		}, want: "dhcpcd (pid 70)", remedy: "inet manual"},
		"dhcpcd elsewhere": {have: routes.State{Links: []routes.Link{eth1, {Name: "lan0"}}}, files: fstest.MapFS{
			"proc/70/comm": {Data: []byte("dhcpcd\n")}, "proc/70/cmdline": {Data: []byte("dhcpcd: lan0 [ip4]\x00")},
			"proc/71/comm": {Data: []byte("dhcpcd\n")}, "proc/71/cmdline": {Data: []byte("dhcpcd: [privileged proxy] lan0 [ip4]\x00")},
			"proc/72/comm": {Data: []byte("dhcpcd\n")}, "proc/72/cmdline": {Data: []byte("dhcpcd: [network proxy]\x00")},
			"proc/73/comm": {Data: []byte("dhcpcd\n")}, "proc/73/cmdline": {Data: []byte("dhcpcd: [BPF ARP] lan0 192.168.77.1\x00")},
		}},
		"NetworkManager": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"run/NetworkManager/devices/2": {Data: []byte("[device]\nmanaged=true\n")},
		}, want: "NetworkManager manages eth1", remedy: "nmcli device set eth1 managed no"},
		"networkd": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"run/systemd/netif/links/2": {Data: []byte("ADMIN_STATE=configured\n")},
		}, want: "systemd-networkd manages eth1", remedy: "Unmanaged=yes"},
		"networkd, not this one": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"run/systemd/netif/links/2": {Data: []byte("ADMIN_STATE=unmanaged\n")},
		}},
		"strict": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/sys/net/ipv4/conf/all/rp_filter": {Data: []byte("1\n")}, "proc/sys/net/ipv4/conf/eth1/rp_filter": {Data: []byte("0\n")},
		}, want: "strict rp_filter on eth1", remedy: "sysctl.d"},
		"loose": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/sys/net/ipv4/conf/all/rp_filter": {Data: []byte("1\n")}, "proc/sys/net/ipv4/conf/eth1/rp_filter": {Data: []byte("2\n")},
		}},
		// From installing the first stage: check was blind to all of these.
		"networkd that deletes": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/9/comm": {Data: []byte("systemd-network\n")},
		}, want: "without ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no", remedy: "networkd-foreign.conf"},
		"networkd that deletes rules": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/9/comm": {Data: []byte("systemd-network\n")},
			"usr/lib/systemd/networkd.conf.d/50-uplinkd.conf": {Data: []byte("[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n")},
			"etc/systemd/networkd.conf.d/60-mine.conf":        {Data: []byte("[Network]\nManageForeignRoutingPolicyRules=yes\n")},
		}, want: "runs without ManageForeignRoutingPolicyRules=no:", remedy: "restart"},
		"networkd with the drop-in": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"proc/9/comm": {Data: []byte("systemd-network\n")},
			"usr/lib/systemd/networkd.conf.d/50-uplinkd.conf": {Data: []byte("[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n")},
		}},
		"a .network file": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": {},
			"etc/systemd/networkd.conf":          {Data: []byte("[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n")},
			"etc/systemd/network/20-wan.network": {Data: []byte("[Match]\nName=!eth0 eth*\n[Network]\nDHCP=yes\n")},
		}, want: "/etc/systemd/network/20-wan.network has systemd-networkd configure eth1", remedy: "Unmanaged=yes"},
		"a .network file that lets go": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/systemd/system/multi-user.target.wants/systemd-networkd.service": {},
			"etc/systemd/networkd.conf":              {Data: []byte("[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n")},
			"usr/lib/systemd/network/20-wan.network": {Data: []byte("[Match]\nName=eth*\n[Network]\nDHCP=yes\n")},
			"etc/systemd/network/10-ours.network":    {Data: []byte("[Match]\nName=eth1\n[Link]\nUnmanaged=yes\n")},
		}},
		"a .network file, and no networkd": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/systemd/network/20-wan.network": {Data: []byte("[Match]\nName=eth1\n[Network]\nDHCP=yes\n")},
		}},
		"ifupdown asks for a lease": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/network/interfaces.d/wan": {Data: []byte("auto eth1\niface eth1 inet dhcp\n")},
		}, want: "/etc/network/interfaces.d/wan: iface eth1 inet dhcp", remedy: "inet manual"},
		"ifupdown sets a gateway": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/network/interfaces": {Data: []byte("iface eth0 inet static\n\tgateway 192.0.2.1\niface eth1 inet static\n\taddress 192.0.2.5/24\n\tgateway 192.0.2.1\n")},
		}, want: "iface eth1 has a gateway", remedy: "gateway"},
		"ifupdown lets go": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/network/interfaces": {Data: []byte("auto lo\niface lo inet loopback\n# iface eth1 inet dhcp\niface eth1 inet manual\niface eth1 inet6 auto\n\tgateway fe80::1\n")},
		}},
		"no DNS": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/resolv.conf": {Data: []byte("# nothing\nsearch example.org\n")},
		}, want: "resolv.conf names none", remedy: "dns: resolved"},
		"a stub of nothing": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/resolv.conf": {Data: []byte("nameserver 127.0.0.53\n")}, "run/systemd/resolve/resolv.conf": {Data: []byte("search .\n")},
		}, want: "systemd-resolved", remedy: "dns: resolved"},
		"a stub of something": {have: routes.State{Links: []routes.Link{eth1}}, files: fstest.MapFS{
			"etc/resolv.conf": {Data: []byte("nameserver 127.0.0.53\n")}, "run/systemd/resolve/resolv.conf": {Data: []byte("nameserver 192.0.2.53\n")},
		}},
		// From the attacks: ct mark 1 of a QoS class was taken for an uplink's mark.
		"marks of ours": {
			have:   routes.State{Links: []routes.Link{eth1}},
			writes: []routes.MarkWrite{{Table: "ip qos", Chain: "pre", Connection: true, Bits: 0xffffffff, Sets: 0x01000000}},
			want:   "sets bits of our marks (0xff000000): table ip qos, chain pre: ct mark set 0x1000000", remedy: "fwmark_mask",
		},
		"marks taken away": {
			have:   routes.State{Links: []routes.Link{eth1}},
			writes: []routes.MarkWrite{{Table: "ip qos", Chain: "pre", Connection: true, Bits: 0xffffffff, Sets: 1}},
			want:   "takes our bits", remedy: "ct mark set ct mark and 0xff000000",
		},
		"marks of others": {
			have: routes.State{Links: []routes.Link{eth1}},
			writes: []routes.MarkWrite{
				{Table: "ip qos", Chain: "pre", Connection: true, Bits: 0xff, Sets: 1}, {Table: "ip qos", Chain: "pre", Bits: 0xffffffff, Sets: 1},
			},
		},
		"a timeout longer than the interval": {
			have: routes.State{Links: []routes.Link{eth1}}, timeout: 10 * time.Second, want: "longer than probe.interval", remedy: "lower timeout",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := fstest.MapFS{"etc/resolv.conf": {Data: []byte("nameserver 192.0.2.53\n")}}
			maps.Copy(files, tt.files)
			host := preflight.ReadHost(files, tt.have.Links, []string{"eth1"})
			host.MarkWrites = tt.writes
			c := config(t)
			c.Uplinks[0].Probe.Timeout = max(c.Uplinks[0].Probe.Timeout, tt.timeout)
			got := preflight.Inspect(c, owner, tt.have, host)
			if tt.want == "" {
				if len(got) != 0 {
					t.Errorf("found %+v where nothing is", got)
				}
				return
			}
			if len(got) != 1 || !strings.Contains(got[0].What, tt.want) || !strings.Contains(got[0].Remedy, tt.remedy) {
				t.Errorf("got %+v, want one with %q and %q", got, tt.want, tt.remedy)
			}
		})
	}
}

// Docker drops what is forwarded: a NAT gateway has to know, another host not. Tailscale's own
// packets look in main.
func TestNeighbours(t *testing.T) {
	c := config(t)
	drops := preflight.Host{ForwardDrops: []string{"table ip filter, chain FORWARD"}}
	have := routes.State{Links: []routes.Link{eth1}, Rules: []routes.Rule{{Priority: 5210, Mark: 0x80000, Mask: 0xff0000, Table: 254}}}
	if got := preflight.Inspect(c, owner, have, drops); len(got) != 0 {
		t.Errorf("found %+v on a host that is no gateway", got)
	}
	c.Uplinks[0].Masquerade = true
	got := preflight.Inspect(c, owner, have, drops)
	if len(got) != 1 || !strings.Contains(got[0].What, "chain FORWARD drops what is forwarded") || !strings.Contains(got[0].Remedy, "DOCKER-USER") {
		t.Errorf("got %+v", got)
	}
	c.Routes.Table = 77
	got = preflight.Inspect(c, owner, have, preflight.Host{})
	if len(got) != 1 || !strings.Contains(got[0].What, "Tailscale's own packets") || !strings.Contains(got[0].Remedy, "main") {
		t.Errorf("got %+v", got)
	}
}

// What would get in the way of IPv6 is looked for where an uplink has it, and nowhere else.
func TestIPv6IsLookedAt(t *testing.T) {
	parse := func(text string) configs.Config {
		c, err := configs.Parse(strings.NewReader(text), configs.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	const head = "uplinks: [{name: isp1, interface: eth1, address: "
	auto := parse(head + "dhcp, gateway: lease, ipv6: auto}]\nlan: [{interface: lan0, subnet: 1}]")
	external := parse(head + "external, gateway: 192.0.2.1, ipv6: external}]")
	mixed := parse(head + "external, gateway: 192.0.2.1, ipv6: auto}]")
	four := parse(head + "dhcp, gateway: lease}]")
	forwards := fstest.MapFile{Data: []byte("1\n")}
	const conf = "proc/sys/net/ipv6/conf/"
	last := routes.Route{
		RouteKey: routes.RouteKey{Table: routes.TableMain, Dst: netip.MustParsePrefix("::/0"), Metric: 4278198272},
		Type:     routes.Unreachable, Protocol: 3,
	}
	for name, tt := range map[string]struct {
		config configs.Config
		files  fstest.MapFS
		drops  []string
		routes []routes.Route
		want   string // a part of a finding; "": none of IPv6
	}{
		"nothing, and no IPv6":  {four, fstest.MapFS{}, nil, nil, ""},
		"no forwarding":         {auto, fstest.MapFS{}, nil, nil, "forwarding is 0: the LAN's hosts"},
		"no filter":             {auto, fstest.MapFS{conf + "all/forwarding": &forwards}, []string{"table ip filter, chain FORWARD"}, nil, "no nft chain drops by default what of IPv6 is forwarded"},
		"a filter":              {auto, fstest.MapFS{conf + "all/forwarding": &forwards}, []string{"table inet filter, chain forward"}, nil, ""},
		"Docker's toggle":       {external, fstest.MapFS{conf + "all/forwarding": &forwards, conf + "eth1/accept_ra": &forwards}, nil, nil, "the kernel hears no router there"},
		"heard all the same":    {external, fstest.MapFS{conf + "all/forwarding": &forwards, conf + "eth1/accept_ra": {Data: []byte("2")}}, nil, nil, ""},
		"networkd hears too":    {mixed, fstest.MapFS{"run/systemd/netif/links/2": {Data: []byte("ADMIN_STATE=configured\n")}}, nil, nil, "hears its routers too"},
		"another client":        {mixed, fstest.MapFS{"proc/7/comm": {Data: []byte("odhcp6c\n")}, "proc/7/cmdline": {Data: []byte("odhcp6c\x00eth1\x00")}}, nil, nil, "odhcp6c (pid 7) may speak IPv6"},
		"on another interface":  {mixed, fstest.MapFS{"proc/7/comm": {Data: []byte("odhcp6c\n")}, "proc/7/cmdline": {Data: []byte("odhcp6c\x00eth9\x00")}}, nil, nil, ""},
		"a last word in main":   {mixed, fstest.MapFS{}, nil, []routes.Route{last}, "ends every lookup before ours: unreachable default"},
		"one of our own metric": {mixed, fstest.MapFS{}, nil, []routes.Route{{RouteKey: routes.RouteKey{Table: routes.TableMain, Dst: netip.MustParsePrefix("::/0"), Metric: 1}, Protocol: 3}}, "a foreign default route stands where ours belongs"},
		"the kernel's":          {mixed, fstest.MapFS{}, nil, []routes.Route{{RouteKey: routes.RouteKey{Table: routes.TableMain, Dst: netip.MustParsePrefix("::/0"), Metric: 1024}, Protocol: 9}}, ""},
	} {
		host := preflight.ReadHost(tt.files, []routes.Link{eth1}, []string{"eth1"})
		host.ForwardDrops = tt.drops
		var found []string
		for _, f := range preflight.Inspect(tt.config, owner, routes.State{Links: []routes.Link{eth1}, Routes: tt.routes}, host) {
			if !strings.Contains(f.What, "no DNS server") {
				found = append(found, f.What)
			}
		}
		text := strings.Join(found, "; ")
		if tt.want == "" != (text == "") || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %q, want %q", name, text, tt.want)
		}
	}
}
