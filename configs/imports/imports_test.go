package imports_test

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"uplinkd/configs"
	"uplinkd/configs/imports"
)

// files are a host's, by name.
func files(pairs ...string) fs.FS {
	root := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		root[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return root
}

// made reads an import back as a configuration.
func made(t *testing.T, r *imports.Result, err error, tables map[string]uint32) (configs.Config, string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c, err := configs.Parse(strings.NewReader(r.String()), configs.Options{File: "import", Tables: tables})
	if err != nil {
		t.Fatalf("check does not accept it: %v\n%s", err, r)
	}
	return c, r.String()
}

// each describes the uplinks of a configuration in a line each.
func each(c configs.Config) string {
	var b strings.Builder
	for _, u := range c.Uplinks {
		gateway := map[configs.GatewayMode]string{configs.GatewayLease: "lease", configs.GatewayNone: "none", configs.GatewayFixed: u.GatewayIP.String()}[u.Gateway]
		table := "-"
		if !u.AssignedTable {
			table = fmt.Sprint(u.Table)
		}
		fmt.Fprintf(&b, "%s %s %s %v via %s weight %d tier %d table %s nameservers %v\n",
			u.Name, u.Interface, u.Address, u.Prefixes, gateway, u.Weight, u.Tier, table, u.Nameservers)
	}
	return b.String()
}

func same(t *testing.T, got, want string) {
	t.Helper()
	if strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("uplinks:\n%s\nwant\n%s", got, want)
	}
}

// has looks for texts in an import.
func has(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
}

const script = `#!/bin/bash
IFACE_TABLES=( isp1 "isp2"
	# the third
	102 )
IFACE_TABLES_PRIO=(101 102 103)
declare -a IFACE_DEVICE=("eth1" 'eth2' ppp0)
IFACE_IPS=(203.0.113.5 198.51.100.9 dhcp)
IFACE_NMS=(255.255.255.0 29)
IFACE_GWS=(203.0.113.1 192.0.2.1 $(dig +short gw))
IFACE_WEI=(2 1)
IFACE_WEI[2]=900
IFACE_MARK=(0x97 0x98/0xff 153)
ROUTE_OPTIONS="initcwnd 70 initrwnd 70 quickack 1 rto_min 40ms proto static"
touch /tmp/it-was-run; rm -rf /nowhere
for i in ${!IFACE_DEVICE[@]}; do
	ip route replace default via ${IFACE_GWS[$i]} \
		table ${IFACE_TABLES[$i]} $ROUTE_OPTIONS
done
/sbin/iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE
`

// The arrays of the script, what stands beside it, and what of it has no counterpart.
func TestScript(t *testing.T) {
	_ = os.Remove("/tmp/it-was-run")
	tables := map[string]uint32{"isp1": 101}
	root := files("etc/network/if-up.d/uplinks", script, "etc/network/interfaces", `
auto eth1
iface eth1 inet static
	address 203.0.113.5
	netmask 255.255.255.0
	gateway 203.0.113.1
	dns-nameservers 192.0.2.53 192.0.2.54
	up ip rule add from 203.0.113.5 table isp1
iface ppp0 inet ppp
	provider dsl
iface eth9 inet dhcp
`, "etc/dhcp/dhclient.conf", `
request subnet-mask, broadcast-address,
	domain-name-servers;
send host-name "gate";
send dhcp-lease-time 3600;
`)
	r, err := imports.Script(root, "etc/network/if-up.d/uplinks", tables)
	c, text := made(t, r, err, tables)
	same(t, each(c), `
isp1 eth1 static [203.0.113.5/24] via 203.0.113.1 weight 2 tier 1 table 101 nameservers [192.0.2.53 192.0.2.54]
isp2 eth2 static [198.51.100.9/29] via 192.0.2.1 weight 1 tier 1 table - nameservers []
102 ppp0 external [] via none weight 1 tier 1 table 102 nameservers []`)
	u := c.Uplinks[1]
	if u.FwMark != 0x98 || !u.OnLink || u.Options.InitCwnd != 70 || !u.Options.QuickAck || u.Options.RTOMin.String() != "40ms" {
		t.Errorf("isp2: %+v", u)
	}
	has(t, text, "/etc/network/if-up.d/uplinks:16: ip route replace", "iptables -t nat", `"900" is not a weight`,
		"/etc/network/interfaces:8: up ip rule add", "/etc/dhcp/dhclient.conf:2: request", "dhcp-lease-time", "no gateway to probe",
		"priorities of rules", "make it `iface eth1 inet manual`")
	if _, err := os.Stat("/tmp/it-was-run"); err == nil {
		t.Error("the script was run")
	}
}

const mwan3 = `
config globals 'globals'
	option mmx_mask '0x3F00'
config rule 'https'
	option sticky '1'
	option timeout '600'
	option dest_port '443'
	option proto 'tcp'
	option use_policy 'balanced'
config rule 'phones'
	option src_ip '192.168.1.20'
	option dest_port '5060:5061,10000'
	option proto 'udp'
	option use_policy 'cable_first'
config rule 'rest'
	option dest_ip '0.0.0.0/0'
	option use_policy 'balanced'
config interface 'wan'
	option enabled '1'
	option interval '5'
	list track_ip '192.0.2.53'
	list track_ip '198.51.100.53'
	list track_ip '2001:db8::53'
	option reliability '2'
config interface 'cable'
	option enabled '1'
config interface 'wan6'
	option family 'ipv6'
config interface 'old'
	option enabled '0'
config policy 'cable_first'
	list use_member 'wan_m2'
	list use_member 'cable_m1'
config policy 'balanced'
	list use_member 'wan_m1'
	list use_member 'cable_m20'
config member 'wan_m1'
	option interface 'wan'
	option metric '1'
	option weight '3'
config member 'wan_m2'
	option interface 'wan'
	option metric '2'
config member 'cable_m1'
	option interface 'cable'
	option metric '1'
config member 'cable_m20'
	option interface 'cable'
	option metric '20'
	option weight '2'
`

// Interfaces, weights and tiers of the policy for all that no other is about, rules.
func TestMWAN3(t *testing.T) {
	r, err := imports.MWAN3(files("etc/config/mwan3", mwan3, "etc/config/network", `
config interface 'wan'
	option proto 'pppoe'
	option ifname 'eth1'
config interface 'cable'
	option proto 'static'
	option device 'eth2'
	option ipaddr '198.51.100.5'
	option netmask '255.255.255.0'
	option gateway '198.51.100.1'
	list dns '198.51.100.53'
`), "etc/config/mwan3")
	c, text := made(t, r, err, nil)
	same(t, each(c), `
wan pppoe-wan external [] via none weight 3 tier 1 table - nameservers []
cable eth2 static [198.51.100.5/24] via 198.51.100.1 weight 2 tier 2 table - nameservers [198.51.100.53]
wan6 wan6 none [] via invalid IP weight 1 tier 1 table - nameservers []`)
	if p := c.Uplinks[0].Probe; p.Quorum != 2 || len(p.Targets) != 2 {
		t.Errorf("probe: %+v", p)
	}
	if len(c.Policies) != 2 || c.Policies[0].Sticky != configs.StickyNone || c.Policies[1].Name != "phones" ||
		strings.Join(c.Policies[1].Via, " ") != "cable wan" {
		t.Errorf("policies: %+v", c.Policies)
	}
	if wan6 := c.Uplinks[2]; wan6.Address != configs.AddressNone || wan6.IPv6.Address != configs.AddressAuto {
		t.Errorf("wan6: %+v", wan6)
	}
	has(t, text, "mwan3:20: option interval '5': uplinkd learns", "mmx_mask", "config interface old: not enabled", "config rule rest")
	_, text = made(t, must(imports.MWAN3(files("mwan3", mwan3), "mwan3")), nil, nil)
	has(t, text, "the file network was not beside this one")
}

func must(r *imports.Result, err error) *imports.Result {
	if err != nil {
		panic(err)
	}
	return r
}

// What has a gateway or a lease is an uplink.
func TestNetplan(t *testing.T) {
	r, err := imports.Netplan(files("etc/netplan/1.yaml", `
network:
  version: 2
  ethernets:
    id0: {match: {name: enp1s0}, addresses: [203.0.113.5/24, "2001:db8::5/64", "fe80::5/64"], nameservers: {addresses: [192.0.2.53]},
      routes: [{to: default, via: 203.0.113.1, metric: 100, table: 101}, {to: 10.0.0.0/8, via: 203.0.113.9}], dhcp6: true}
    engreen: {dhcp4: yes, dhcp4-overrides: {route-metric: 200}}
    hetzner: {addresses: [198.51.100.7/32], routes: [{to: 0.0.0.0/0, via: 198.51.100.1, on-link: true}]}
    old: {addresses: [192.0.2.9/24], gateway4: 192.0.2.1}
    lan: {addresses: [192.168.1.1/24]}
`), "etc/netplan")
	c, text := made(t, r, err, nil)
	same(t, each(c), `
id0 enp1s0 static [203.0.113.5/24] via 203.0.113.1 weight 1 tier 1 table 101 nameservers [192.0.2.53]
engreen engreen dhcp [] via lease weight 1 tier 1 table - nameservers []
hetzner hetzner static [198.51.100.7/32] via 198.51.100.1 weight 1 tier 1 table - nameservers []
old old static [192.0.2.9/24] via 192.0.2.1 weight 1 tier 1 table - nameservers []`)
	has(t, text, "metric: 100", "route to 10.0.0.0/8: stays", "dhcp4-overrides", "lan: no gateway and no lease")
}

func TestNetworkd(t *testing.T) {
	r, err := imports.Networkd(files(
		"n/10-wan.network", "[Match]\nName=eth1\n[Network]\nDHCP=ipv4\nIPMasquerade=ipv4\n",
		"n/20-dsl.network", "[Match]\nName=eth2\n[Network]\nAddress=203.0.113.5/29\nDNS=192.0.2.53 192.0.2.54\n[Route]\nGateway=203.0.113.1\nTable=102\n[RoutingPolicyRule]\nFrom=203.0.113.5\nTable=102\n",
		"n/30-lan.network", "[Match]\nName=lan*\n[Network]\nAddress=192.168.1.1/24\n",
	), "n")
	c, text := made(t, r, err, nil)
	same(t, each(c), `
wan eth1 dhcp [] via lease weight 1 tier 1 table - nameservers []
dsl eth2 static [203.0.113.5/29] via 203.0.113.1 weight 1 tier 1 table 102 nameservers [192.0.2.53 192.0.2.54]`)
	has(t, text, "IPMasquerade=ipv4: `masquerade: true`", "From=203.0.113.5: uplinkd sets the rules", "30-lan.network:0", "Unmanaged=yes")
}

// What is something else is an error that says so.
func TestNotThat(t *testing.T) {
	root := files("x", "hello\n", "d/a.yaml", "a: [b\n", "d/b.network", "hello\n", "e/a.yaml", "network: 7\n", "e/b.network", "[Match]\nName=lo\n")
	for name, read := range map[string]func() (*imports.Result, error){
		"a script":         func() (*imports.Result, error) { return imports.Script(root, "x", nil) },
		"no script":        func() (*imports.Result, error) { return imports.Script(root, "none", nil) },
		"mwan3":            func() (*imports.Result, error) { return imports.MWAN3(root, "x") },
		"netplan, no YAML": func() (*imports.Result, error) { return imports.Netplan(root, "d") },
		"netplan":          func() (*imports.Result, error) { return imports.Netplan(root, "e") },
		"networkd":         func() (*imports.Result, error) { return imports.Networkd(root, "e") },
		"an empty place":   func() (*imports.Result, error) { return imports.Networkd(root, "nowhere") },
	} {
		if r, err := read(); err == nil {
			t.Errorf("%s: no error, but\n%s", name, r)
		}
	}
}

// Whatever a file holds, what is made of it is YAML, on lines that no terminal minds.
func FuzzImport(f *testing.F) {
	f.Add(script, "iface eth1 inet static\naddress 1.2.3.4\n")
	f.Add(mwan3, "config interface 'wan'\n option proto 'dhcp'\n")
	f.Add("[Match]\nName=eth1\n[Network]\nDHCP=yes\n", "send host-name \"a\";\n")
	f.Add("network: {ethernets: {a: {dhcp4: true, nameservers: {addresses: [1.2.3.4]}}}}", "")
	f.Add(mwan3Of6, networkOf6)
	f.Add("[Match]\nName=eth1\n[Network]\nDHCP=yes\nAddress=2001:db8::5/64\nGateway=fe80::1\n", "iface eth1 inet6 static\naddress 2001:db8::5/64\n")
	f.Fuzz(func(t *testing.T, one, other string) {
		root := files("d/file", one, "d/network", other, "d/a.network", one, "d/a.yaml", one,
			"etc/network/interfaces", other, "etc/dhcp/dhclient.conf", other)
		for name, read := range map[string]func() (*imports.Result, error){
			"script":   func() (*imports.Result, error) { return imports.Script(root, "d/file", nil) },
			"mwan3":    func() (*imports.Result, error) { return imports.MWAN3(root, "d/file") },
			"netplan":  func() (*imports.Result, error) { return imports.Netplan(root, "d") },
			"networkd": func() (*imports.Result, error) { return imports.Networkd(root, "d") },
		} {
			r, err := read()
			if err != nil {
				continue
			}
			text := r.String()
			_, err = configs.Parse(strings.NewReader(text), configs.Options{File: "x"})
			if err != nil && strings.Contains(err.Error(), "not YAML") {
				t.Errorf("%s: %v\n%s", name, err, text)
			}
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
				t.Errorf("%s: control characters in %q", name, text)
			}
		}
	})
}
