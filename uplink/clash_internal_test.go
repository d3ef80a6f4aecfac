package uplink

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// leasedUplink is an uplink by DHCP with a lease that a server has given.
func leasedUplink(name, prefix, router string) Uplink {
	return Uplink{
		Config: configs.Uplink{
			Name: name, Interface: name, Path: configs.Path{Address: configs.AddressDHCP, Gateway: configs.GatewayLease, Weight: 1, Tier: 1},
		},
		Device: Device{
			Read: true, MAC: "02:00:00:00:00:01", Link: routes.Link{Name: name, Index: 2, Up: true, Carrier: true},
		},
		Paths: [families]Path{{Report: LeaseReport{Confirmed: true, Lease: &Lease{
			Prefix: netip.MustParsePrefix(prefix), Router: netip.MustParseAddr(router), MTU: 1400,
		}}}},
	}
}

// A lease that would draw another uplink's traffic to itself is not used; one
// of the very same network is, as carrier-grade NAT gives such.
func TestClash(t *testing.T) {
	static := Uplink{Device: Device{Read: true}, Config: configs.Uplink{
		Name: "fixed", Interface: "fixed", Path: configs.Path{
			Address:   configs.AddressStatic,
			Prefixes:  []netip.Prefix{netip.MustParsePrefix("203.0.113.5/24")},
			Gateway:   configs.GatewayFixed,
			GatewayIP: netip.MustParseAddr("203.0.113.1"),
		},
	}}
	inUse := leasedUplink("b", "100.64.0.5/16", "100.64.0.1")
	inUse.Paths[IPv4].Assigned = []netip.Prefix{inUse.Paths[IPv4].Report.Lease.Prefix}
	for name, tt := range map[string]struct {
		uplinks []Uplink
		want    []string // of each uplink: a part of the reason, "" for none
	}{
		"apart": {[]Uplink{leasedUplink("a", "10.0.0.5/24", "10.0.0.1"), static}, []string{"", ""}},
		"the same network": {
			[]Uplink{leasedUplink("a", "10.0.0.5/24", "10.0.0.1"), leasedUplink("b", "10.0.0.6/24", "10.0.0.1")},
			[]string{"", ""},
		},
		"around a fixed one, which stands later in the file": {
			[]Uplink{leasedUplink("a", "203.0.0.5/16", "203.0.0.1"), static},
			[]string{"203.0.0.0/16 overlaps 203.0.113.0/24 of fixed", ""},
		},
		"within a fixed one": {
			[]Uplink{static, leasedUplink("a", "203.0.113.130/25", "203.0.113.129")},
			[]string{"", "203.0.113.128/25 overlaps"},
		},
		"another's gateway": {
			[]Uplink{static, leasedUplink("a", "203.0.113.1/24", "203.0.113.2")},
			[]string{"", "203.0.113.1 is the gateway of fixed"},
		},
		"within the LAN": {
			[]Uplink{leasedUplink("a", "192.168.77.130/25", "192.168.77.129")}, []string{"part of 192.168.77.0/24 on lan0"},
		},
		"the LAN's own network": {
			[]Uplink{leasedUplink("a", "192.168.77.130/24", "192.168.77.129")}, []string{"part of 192.168.77.0/24 on lan0"},
		},
		"around the LAN, which stays more specific": {
			[]Uplink{leasedUplink("a", "192.168.0.130/16", "192.168.0.1")}, []string{""},
		},
		"two leases: the first in the file": {
			[]Uplink{leasedUplink("a", "100.64.1.5/24", "100.64.1.1"), leasedUplink("b", "100.64.0.5/16", "100.64.0.1")},
			[]string{"", "100.64.0.0/16 overlaps 100.64.1.0/24 of a"},
		},
		"two leases: the one in use": {
			[]Uplink{leasedUplink("a", "100.64.1.5/24", "100.64.1.1"), inUse},
			[]string{"100.64.1.0/24 overlaps 100.64.0.0/16 of b", ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := State{Read: true, StartedAt: time.Now(), Uplinks: tt.uplinks, LAN: []routes.Address{
				{Interface: "lan0", Prefix: netip.MustParsePrefix("192.168.77.1/24")},
				{Interface: "tun0", Prefix: netip.MustParsePrefix("10.0.0.200/32")},
			}}
			s.decide(time.Now())
			for i := range s.Uplinks {
				u := &s.Uplinks[i]
				p := &u.Paths[IPv4]
				if got := p.Clash; (got == "") != (tt.want[i] == "") || !strings.Contains(got, tt.want[i]) {
					t.Errorf("%s: %q, want %q", u.Config.Name, got, tt.want[i])
				}
				if tt.want[i] != "" && (len(u.Addresses(p)) > 0 || p.OperState != api.Down) {
					t.Errorf("%s is %s with %v, want down without an address", u.Config.Name, p.OperState, u.Addresses(p))
				}
			}
		})
	}
}

// The interface gets the lease's MTU where that is accepted, and can be meant.
func TestMTU(t *testing.T) {
	for _, tt := range []struct {
		policy configs.MTUPolicy
		mtu    int
		want   string
	}{
		{configs.MTUIgnore, 1400, ""},
		{configs.MTUAccept, 1400, "1400"},
		{configs.MTUAccept, 0, ""},
		{configs.MTUAccept, 576, ""},
		{configs.MTUAccept, 9000, ""},
		{configs.MTUAccept, 1280, "1280"},
	} {
		u := leasedUplink("eth1", "10.0.0.5/24", "10.0.0.1")
		p := &u.Paths[IPv4]
		u.Config.DHCP.MTU, p.Report.Lease.MTU = tt.policy, tt.mtu
		p.Lease = p.Report.Lease
		set := Desired(&State{Read: true, Uplinks: []Uplink{u}})
		i := slices.IndexFunc(set.Settings, func(s routes.Setting) bool { return s.Kind == routes.LinkMTU })
		got := ""
		if i >= 0 {
			got = set.Settings[i].Value
		}
		if got != tt.want {
			t.Errorf("%v of %d: %q, want %q", tt.policy, tt.mtu, got, tt.want)
		}
	}
}
