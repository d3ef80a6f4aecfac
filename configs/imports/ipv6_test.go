package imports_test

import (
	"fmt"
	"strings"
	"testing"

	"uplinkd/configs"
	"uplinkd/configs/imports"
)

// sixes describes the paths in IPv6 of a configuration in a line each, and what the LAN gets.
func sixes(c configs.Config) string {
	var b strings.Builder
	for _, u := range c.Uplinks {
		six := u.IPv6
		if !six.Present() {
			fmt.Fprintln(&b, u.Name, "none")
			continue
		}
		gateway := map[configs.GatewayMode]string{configs.GatewayRA: "ra", configs.GatewayNone: "none", configs.GatewayFixed: six.GatewayIP.String()}[six.Gateway]
		fmt.Fprintf(&b, "%s %s %v via %s weight %d tier %d targets %v without IPv4 %v nameservers %v\n",
			u.Name, six.Address, six.Prefixes, gateway, six.Weight, six.Tier, six.Probe.Targets, u.Address == configs.AddressNone, u.Nameservers)
	}
	for _, l := range c.LAN {
		fmt.Fprintf(&b, "lan %s %d\n", l.Interface, l.Subnet)
	}
	return b.String()
}

const mwan3Of6 = `
config interface 'wan'
	option family 'ipv4'
	list track_ip '192.0.2.53'
config interface 'wan6'
	option family 'ipv6'
	list track_ip '2001:db8:53::1'
	list track_ip '2001:db8:53::2'
	list track_ip '2001:db8:53::1'
	list track_ip '192.0.2.54'
	option reliability '2'
config interface 'wanb6'
	option family 'ipv6'
config interface 'off6'
	option family 'ipv6'
	option enabled '0'
config member 'wan_m1'
	option interface 'wan'
	option weight '3'
config member 'wan6_m1'
	option interface 'wan6'
	option weight '2'
config member 'wanb6_m2'
	option interface 'wanb6'
	option metric '2'
config policy 'balanced'
	list use_member 'wan_m1'
	list use_member 'wan6_m1'
	list use_member 'wanb6_m2'
config policy 'wan_only'
	list use_member 'wan_m1'
	list use_member 'wan6_m1'
config rule 'mail'
	option dest_ip '2001:db8:25::/48,192.0.2.25'
	option use_policy 'wan_only'
config rule 'ssh6'
	option family 'ipv6'
	option proto 'tcp'
	option dest_port '22'
	option use_policy 'wan_only'
config rule 'web6'
	option dest_ip '::/0'
	option proto 'tcp'
	option dest_port '80'
	option use_policy 'wan_only'
config rule 'all6'
	option dest_ip '::/0'
	option family 'ipv6'
	option use_policy 'balanced'
config rule 'all'
	option dest_ip '0.0.0.0/0'
	option use_policy 'balanced'
`

const networkOf6 = `
config interface 'wan'
	option device 'eth1'
	option proto 'dhcp'
config interface 'wan6'
	option device '@wan'
	option proto 'dhcpv6'
	option reqprefix 'no'
config interface 'wanb6'
	option device 'eth2'
	option proto 'static'
	list ip6addr '2001:db8:2::10/64'
	option ip6gw 'fe80::1'
	option ip6prefix '2001:db8:2:100::/56'
	list dns '2001:db8:2::53'
config interface 'lan'
	option device 'br-lan'
	option proto 'static'
	option ip6assign '60'
	option ip6hint 'a'
config interface 'guest'
	option device 'br-guest'
	option ip6assign '64'
`

// What is configured in IPv6 becomes the path in IPv6 of the uplink on that interface, or an uplink
// that has no other; what hands on a prefix, a LAN.
func TestImportsIPv6(t *testing.T) {
	netplan := files("n/1.yaml", `
network:
  ethernets:
    eth1: {dhcp4: true, dhcp6: true, ipv6-privacy: true, nameservers: {addresses: ["2001:db8::53", 192.0.2.53]}}
    eth2: {addresses: [203.0.113.5/24, "2001:db8:2::5/64"], routes: [{to: default, via: 203.0.113.1}, {to: "::/0", via: "fe80::1"}]}
    eth3: {addresses: ["2001:db8:3::5/64"], gateway6: "2001:db8:3::1"}
    eth4: {dhcp4: true, addresses: ["2001:db8:4::5/64"]}
    lan: {addresses: ["fd00::1/64", 192.168.1.1/24]}
`)
	networkd := files(
		"d/1.network", "[Match]\nName=eth1\n[Network]\nDHCP=yes\nIPv6PrivacyExtensions=yes\n[DHCPv6]\nPrefixDelegationHint=::/56\n",
		"d/2.network", "[Match]\nName=eth2\n[Network]\nDHCP=ipv4\nAddress=2001:db8:2::5/64\nGateway=fe80::1\nDNS=2001:db8:2::53\n",
		"d/3.network", "[Match]\nName=eth3\n[Network]\nDHCP=ipv6\nAddress=192.0.2.1/24\n[Route]\nDestination=::/0\nGateway=fe80::2\n",
		"d/4.network", "[Match]\nName=lan0\n[Network]\nDHCPPrefixDelegation=yes\n[DHCPPrefixDelegation]\nSubnetId=0x1f\n",
		"d/5.network", "[Match]\nName=lan1\n[Network]\nDHCPPrefixDelegation=yes\n",
		"d/0.network", "[Match]\nName=eth0\n[Network]\nDHCP=ipv6\nDHCPPrefixDelegation=yes\n[DHCPPrefixDelegation]\nUplinkInterface=:self\n",
		"d/6.network", "[Match]\nName=lan2\n[Network]\nAddress=fd00::1/64\n",
	)
	debian := files("u", "IFACE_DEVICE=(eth1 eth2 eth3 ppp0)\nIFACE_IPS=(dhcp 203.0.113.5)\nIFACE_GWS=(0 203.0.113.1)\n", "etc/network/interfaces", `
iface eth1 inet dhcp
iface eth1 inet6 auto
	privext 2
iface eth2 inet static
	address 203.0.113.5/24
	dns-nameservers 192.0.2.53
iface eth2 inet6 static
	address 2001:db8:2::5
	netmask 56
	gateway fe80::1
	dns-nameservers 2001:db8:2::53
	up ip -6 route add default via fe80::1 dev eth2
iface eth3 inet6 manual
iface ppp0 inet6 ppp
`)
	for _, tt := range []struct {
		name  string
		read  func() (*imports.Result, error)
		want  string
		notes []string
	}{
		{"mwan3", func() (*imports.Result, error) {
			return imports.MWAN3(files("c/mwan3", mwan3Of6, "c/network", networkOf6), "c/mwan3")
		}, `
wan auto [] via ra weight 2 tier 1 targets [2001:db8:53::1 2001:db8:53::2] without IPv4 false nameservers []
wanb6 static [2001:db8:2::10/64] via fe80::1 weight 1 tier 2 targets [gateway] without IPv4 true nameservers [2001:db8:2::53]
lan br-guest 1
lan br-lan 10`, []string{
			"off6: not enabled", "config rule all:", "config rule all6:",
			"to: ['2001:db8:25::/48', 192.0.2.25], via: [wan]", "to: ['::/0'], protocol: tcp, dport: [22], via: [wan]",
		}},
		{"netplan", func() (*imports.Result, error) { return imports.Netplan(netplan, "n") }, `
eth1 auto [] via ra weight 1 tier 1 targets [gateway] without IPv4 false nameservers [2001:db8::53 192.0.2.53]
eth2 static [2001:db8:2::5/64] via fe80::1 weight 1 tier 1 targets [gateway] without IPv4 false nameservers []
eth3 static [2001:db8:3::5/64] via 2001:db8:3::1 weight 1 tier 1 targets [gateway] without IPv4 true nameservers []
eth4 none`, []string{"ipv6-privacy: uplinkd hears", "lan: no gateway", "of IPv6 2001:db8:4::5/64", "routers are heard"}},
		{"networkd", func() (*imports.Result, error) { return imports.Networkd(networkd, "d") }, `
uplink auto [] via ra weight 1 tier 1 targets [gateway] without IPv4 true nameservers []
uplink-2 auto [] via ra weight 1 tier 1 targets [gateway] without IPv4 false nameservers []
uplink-3 static [2001:db8:2::5/64] via fe80::1 weight 1 tier 1 targets [gateway] without IPv4 false nameservers [2001:db8:2::53]
uplink-4 auto [] via fe80::2 weight 1 tier 1 targets [gateway] without IPv4 true nameservers []
lan lan0 31
lan lan1 1`, []string{"PrefixDelegationHint=::/56: uplinkd hears", "IPv6PrivacyExtensions=yes: uplinkd hears", "addresses of IPv4 have no gateway", "[Match] Name=lan2"}},
		{"interfaces", func() (*imports.Result, error) { return imports.Script(debian, "u", nil) }, `
eth1 auto [] via ra weight 1 tier 1 targets [gateway] without IPv4 false nameservers []
eth2 static [2001:db8:2::5/56] via fe80::1 weight 1 tier 1 targets [gateway] without IPv4 false nameservers [192.0.2.53 2001:db8:2::53]
eth3 none
ppp0 external [] via ra weight 1 tier 1 targets [gateway] without IPv4 false nameservers []`, []string{"privext 2: uplinkd hears"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := tt.read()
			c, text := made(t, r, err, nil)
			same(t, sixes(c), tt.want)
			has(t, text, tt.notes...)
		})
	}
}
