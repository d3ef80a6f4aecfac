package preflight_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

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
		"uplinks: [{name: isp1, interface: eth1, address: dhcp, gateway: lease, fwmark: 0x97}]\nroutes: {metric: 10}"), configs.Options{})
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

func TestInspect(t *testing.T) {
	for name, tt := range map[string]struct {
		have   routes.State
		files  fstest.MapFS
		want   string // part of the one finding; "": none
		remedy string
	}{
		"all is well": {have: routes.State{
			Links: []routes.Link{eth1}, Routes: []routes.Route{route(254, 10, 201), route(501, 0, 201), route(254, 100, 3)},
			Rules: []routes.Rule{{Priority: 20100, Mark: 0x97, Mask: 0xff, Table: 501, Protocol: 201}, {Priority: 5210, Mark: 0x80000, Mask: 0xff0000, Table: 254}},
		}},
		"no interface":        {have: routes.State{}, want: "there is no interface eth1", remedy: "ip link"},
		"a foreign default":   {have: routes.State{Links: []routes.Link{eth1}, Routes: []routes.Route{route(254, 10, 3)}}, want: "stands where ours belongs", remedy: "ip route del default via 10.0.0.1"},
		"a better default":    {have: routes.State{Links: []routes.Link{eth1}, Routes: []routes.Route{route(254, 0, 3)}}, want: "wins over ours", remedy: "remove it"},
		"our table in use":    {have: routes.State{Links: []routes.Link{eth1}, Routes: []routes.Route{route(501, 5, 3)}}, want: "table 501 holds a foreign route", remedy: "another `table:`"},
		"a rule to our table": {have: routes.State{Links: []routes.Link{eth1}, Rules: []routes.Rule{{Priority: 100, From: netip.MustParsePrefix("10.0.0.0/8"), Table: 501}}}, want: "leads to table 501", remedy: "if-up script"},
		"our marks in use":    {have: routes.State{Links: []routes.Link{eth1}, Rules: []routes.Rule{{Priority: 100, Mark: 1, Mask: 1, Table: 99}}}, want: "bits of our marks", remedy: "fwmark_mask"},
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
	} {
		t.Run(name, func(t *testing.T) {
			if tt.files == nil {
				tt.files = fstest.MapFS{}
			}
			got := preflight.Inspect(config(t), owner, tt.have, preflight.ReadHost(tt.files, tt.have.Links))
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
