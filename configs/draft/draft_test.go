package draft_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"uplinkd/configs"
	"uplinkd/configs/draft"
)

func prefix(list ...string) (prefixes []netip.Prefix) {
	for _, s := range list {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	return prefixes
}

// nobody cannot be asked.
func nobody(draft.Question) (string, bool) { return "", false }

// guesses takes each guess.
func guesses(q draft.Question) (string, bool) { return q.Guess, true }

// What hosts look like, and what is made of it; each file is right.
func TestDrafts(t *testing.T) {
	router := netip.MustParseAddr("203.0.113.1")
	leased := draft.Link{
		Name: "eth0", Carrier: true, Addresses: prefix("192.168.1.7/24"), Leased: true,
		Default: true, Gateway: netip.MustParseAddr("192.168.1.1"),
	}
	fixed := draft.Link{
		Name: "eth1", Carrier: true, Addresses: prefix("203.0.113.5/24"), Default: true,
		Gateway: router,
	}
	for _, tt := range []struct {
		name    string
		host    draft.Host
		ask     draft.Ask
		want    []string // must stand in it
		without []string // must not
		uplinks int
	}{
		{
			"one lease, one fixed",
			draft.Host{Links: []draft.Link{leased, fixed}},
			nobody,
			[]string{
				"- {name: isp1, interface: eth0, address: dhcp, gateway: lease, weight: 1}",
				"- {name: isp2, interface: eth1, address: 203.0.113.5/24, gateway: 203.0.113.1, weight: 1}",
			},
			[]string{"masquerade"},
			2,
		},
		{
			"carriers without addresses, somebody there",
			draft.Host{Links: []draft.Link{{Name: "eth1", Carrier: true}, {Name: "eth2", Carrier: true}}},
			guesses,
			[]string{"interface: eth1, address: dhcp", "interface: eth2, address: dhcp"},
			nil, 2,
		},
		{
			"the same, nobody there",
			draft.Host{Links: []draft.Link{leased, {Name: "eth2", Carrier: true}}},
			nobody,
			[]string{"# eth2 may be an uplink: nobody could be asked:\n  # - {name: isp2, interface: eth2"},
			nil, 1,
		},
		{
			"a gateway",
			draft.Host{Forwards: true, Links: []draft.Link{leased, {
				Name: "lan0", Carrier: true,
				Addresses: prefix("10.0.0.1/24"),
			}}},
			nobody,
			[]string{"masquerade: true", "# lan0 has no default route, and counts as the LAN."},
			[]string{"interface: lan0"},
			1,
		},
		{
			"what others have made", draft.Host{Links: []draft.Link{
				leased,
				{Name: "docker0", Carrier: true, Addresses: prefix("172.17.0.1/16")},
				{Name: "veth12", Carrier: true, Member: true},
				{Name: "wg0", PointTo: true, Carrier: true, Addresses: prefix("10.9.0.1/24")},
				{Name: "eth5", Member: true, Carrier: true},
			}}, guesses, nil, []string{"docker0", "veth12", "wg0", "eth5"}, 1,
		},
		{
			"PPP",
			draft.Host{Links: []draft.Link{{
				Name: "ppp0", PointTo: true, Carrier: true,
				Addresses: prefix("198.51.100.9/32"), Default: true,
			}}},
			nobody,
			[]string{"interface: ppp0, address: external, gateway: none"},
			nil, 1,
		},
		{
			"no carrier",
			draft.Host{Links: []draft.Link{leased, {Name: "eth9"}}},
			guesses,
			[]string{"# eth9 has no carrier:\n  # - {name: isp2, interface: eth9"},
			nil, 1,
		},
		{
			"a second provider without a route, its router asked for", draft.Host{Links: []draft.Link{
				leased, {Name: "eth2", Carrier: true, Addresses: prefix("198.51.100.20/28")},
			}}, func(q draft.Question) (string, bool) {
				if strings.Contains(q.Text, "router") {
					return "198.51.100.30", true
				}
				return q.Guess, true
			}, []string{"interface: eth2, address: 198.51.100.20/28, gateway: 198.51.100.30"}, nil, 2,
		},
		{
			"a private address that a provider gave",
			draft.Host{Links: []draft.Link{leased, {Name: "eth2", Carrier: true, Addresses: prefix("192.168.8.2/24")}}},
			func(q draft.Question) (string, bool) {
				if slices.Contains(q.Choices, "provider") {
					return "provider", true
				}
				return q.Guess, true
			},
			[]string{"interface: eth2, address: 192.168.8.2/24, gateway: 192.168.8.1"},
			nil, 2,
		},
		{
			"a client and IPv6", draft.Host{Links: []draft.Link{func() draft.Link {
				l := leased
				l.Client, l.IPv6, l.Login = "dhclient (pid 211)", true, "198.51.100.200"
				return l
			}()}}, nobody, []string{
				"dhclient (pid 211) has its address now", "ipv6: auto",
				"logged in over it, from 198.51.100.200",
			}, nil, 1,
		},
		{
			"a router beyond the network", draft.Host{Links: []draft.Link{
				{
					Name: "eth0", Carrier: true, Addresses: prefix("192.0.2.77/32"), Default: true,
					Gateway: netip.MustParseAddr("198.51.100.1"),
				},
			}}, nobody, []string{"gateway: 198.51.100.1, weight: 1, onlink: true"}, nil, 1,
		},
		{
			"the first address of a public network is this host's", draft.Host{Links: []draft.Link{
				leased, {Name: "eth1", Carrier: true, Addresses: prefix("203.0.113.1/24")},
			}}, guesses, []string{"address: 203.0.113.1/24, gateway: 203.0.113.2"}, nil, 2,
		},
		{
			"a network of two",
			draft.Host{Links: []draft.Link{leased, {Name: "eth1", Carrier: true, Addresses: prefix("203.0.113.9/31")}}},
			guesses,
			[]string{"address: 203.0.113.9/31, gateway: 203.0.113.8, weight: 1}"},
			nil, 2,
		},
		{
			"a router mistyped, then right",
			draft.Host{Links: []draft.Link{leased, {
				Name: "eth2", Carrier: true,
				Addresses: prefix("198.51.100.20/28"),
			}}},
			func(q draft.Question) (string, bool) {
				switch {
				case strings.Contains(q.Text, "is no address"):
					return "198.51.100.30", true
				case strings.Contains(q.Text, "router"):
					return "198.51.100.300", true
				}
				return q.Guess, true
			},
			[]string{"gateway: 198.51.100.30"},
			nil, 2,
		},
		{
			"a trunk and its VLAN",
			draft.Host{Links: []draft.Link{{Name: "eth0", Carrier: true, Carries: true}, {
				Name:    "eth0.7",
				Carrier: true,
			}}},
			guesses,
			[]string{"interface: eth0.7,"},
			[]string{"interface: eth0,"},
			1,
		},
		{
			"a lease and a fixed address on one interface", draft.Host{Links: []draft.Link{func() draft.Link {
				l := leased
				l.Addresses = prefix("192.168.1.7/24", "192.168.1.8/24")
				return l
			}()}}, nobody, []string{"address: dhcp", "those that no lease gives are not here"}, nil, 1,
		},
		{"nothing", draft.Host{Links: []draft.Link{{Name: "lo", Carrier: true}}}, guesses, nil, []string{"lo,"}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.host.Name = "gw"
			d := draft.Make(tt.host, tt.ask)
			text := d.String()
			for _, part := range tt.want {
				if !strings.Contains(text, part) {
					t.Errorf("%q is not in\n%s", part, text)
				}
			}
			for _, part := range tt.without {
				if strings.Contains(text, part) {
					t.Errorf("%q is in\n%s", part, text)
				}
			}
			if d.Uplinks() != tt.uplinks {
				t.Errorf("%d uplinks, want %d", d.Uplinks(), tt.uplinks)
			}
			if tt.uplinks == 0 {
				return
			}
			if c, err := configs.Parse(strings.NewReader(text), configs.Options{File: "draft"}); err != nil ||
				len(c.Uplinks) != tt.uplinks {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

// An interface's name that the kernel allows and YAML does not take as it is makes no broken file.
func TestNamesInTheDraft(t *testing.T) {
	d := draft.Make(draft.Host{Name: "gw", Links: []draft.Link{{Name: "a,b{#'", Carrier: true, Default: true}}}, nobody)
	c, err := configs.Parse(strings.NewReader(d.String()), configs.Options{File: "draft"})
	if err != nil || c.Uplinks[0].Interface != "a,b{#'" {
		t.Errorf("%v\n%s", err, d)
	}
}
