package uplink

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// Which DNS servers are to be asked, in which order.
func TestDNS(t *testing.T) {
	const (
		a = "{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, nameservers: [203.0.113.1, 203.0.113.2]}"
		b = "{name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1, nameservers: [203.0.113.11, 203.0.113.2]}"
		c = "{name: c, interface: eth3, address: 192.88.99.5/24, gateway: 192.88.99.1, tier: 2, nameservers: [203.0.113.21]}"
		d = "{name: d, interface: eth4, address: dhcp, gateway: lease}"
	)
	config, err := configs.Parse(strings.NewReader("uplinks: ["+strings.Join([]string{a, b, c, d}, ", ")+"]\ndns: file\n"), configs.Options{File: "t"})
	if err != nil {
		t.Fatal(err)
	}
	var hostile []netip.Addr
	for _, text := range []string{"127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "203.0.113.31", "203.0.113.31", "169.254.1.1", "203.0.113.33", "203.0.113.34"} {
		hostile = append(hostile, netip.MustParseAddr(text))
	}
	for name, tt := range map[string]struct {
		states string // of a, b, c, d; in upper case: carries
		lease  []netip.Addr
		want   string
	}{
		"both carry, one stands by":    {"UP UP up down", nil, "1 a, 11 b, 21 c, 2 a"},
		"one down":                     {"down UP up down", nil, "11 b, 21 c, 2 b"},
		"doubtful is left out":         {"doubtful UP up down", nil, "11 b, 21 c, 2 b"},
		"all it carries is in doubt":   {"DOUBTFUL down down down", nil, "1 a, 2 a"},
		"the last resort":              {"down DOWN down down", nil, "11 b, 2 b"},
		"none carries":                 {"down down down down", nil, "1 a, 11 b, 21 c, 2 a"},
		"the tier that carries first":  {"drained down UP down", nil, "21 c"},
		"a lease, as far as it can be": {"down down down UP", hostile, "31 d, 1.1 d, 33 d"},
	} {
		s := New(config, time.Unix(0, 0))
		for i, word := range strings.Fields(tt.states) {
			p := &s.Uplinks[i].Paths[IPv4]
			p.OperState, p.Carries = api.OperState(strings.ToLower(word)), word == strings.ToUpper(word)
		}
		if tt.lease != nil {
			s.Uplinks[3].Paths[IPv4].Lease = &Lease{DNS: tt.lease}
		}
		var got []string
		for _, server := range s.DNS().Servers() {
			text := strings.TrimPrefix(strings.TrimPrefix(server.Address.String(), "203.0.113."), "169.254.")
			got = append(got, fmt.Sprintf("%s %s", text, server.Uplink))
		}
		if text := strings.Join(got, ", "); text != tt.want {
			t.Errorf("%s: %s, want %s", name, text, tt.want)
		}
	}
}

// An event tells which servers are to be asked, when every uplink has been judged and whenever
// that changes; none where nobody is given any.
func TestDNSChanges(t *testing.T) {
	states := func(mode string, settled bool, words ...string) *State {
		config, err := configs.Parse(strings.NewReader("uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, nameservers: [203.0.113.1]}]\ndns: "+mode), configs.Options{File: "t"})
		if err != nil {
			t.Fatal(err)
		}
		s := New(config, time.Unix(0, 0))
		s.Settled = settled
		s.Uplinks[0].Device.Link.Index = len(words)
		return &s
	}
	for name, tt := range map[string]struct {
		before, after *State
		want          int
	}{
		"not judged yet":        {states("hook", false), states("hook", false), 0},
		"judged":                {states("hook", false), states("hook", true), 1},
		"nothing new":           {states("hook", true), states("hook", true), 0},
		"another interface":     {states("hook", true), states("hook", true, "new"), 0},
		"from now on":           {states("none", true), states("file", true), 1},
		"nobody is given any":   {states("none", true), states("route", true), 0},
		"nobody is any more":    {states("file", true), states("none", true), 0},
		"given in another way":  {states("file", true), states("hook", true), 0},
		"not told before hooks": {states("route", true), states("hook", true), 1},
	} {
		if got := dnsChanges(tt.before, tt.after, time.Unix(1, 0)); len(got) != tt.want {
			t.Errorf("%s: %v, want %d events", name, got, tt.want)
		}
	}
}
