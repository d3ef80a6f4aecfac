package uplink

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
)

// What another configuration does to connections, and to one login among them.
func TestEffects(t *testing.T) {
	const a, b = "{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}", "{name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}"
	state := func(uplinks ...string) State {
		c, err := configs.Parse(strings.NewReader("uplinks: ["+strings.Join(uplinks, ", ")+"]"), configs.Options{File: "t"})
		if err != nil {
			t.Fatal(err)
		}
		return New(c, time.Unix(0, 0))
	}
	before := state(a, b)
	byDefault := routes.Way{Type: "unicast", Table: routes.TableMain, Interface: "eth1", Gateway: netip.MustParseAddr("192.0.2.1")}
	site := routes.Way{Type: "unicast", Table: routes.TableMain, Interface: "lan0"}
	for name, tt := range map[string]struct {
		after  []string
		own    string
		way    routes.Way
		uplink string
		why    string // "": the login goes on
		count  int    // of effects
	}{
		"nothing":                  {[]string{a, b}, "192.0.2.5", byDefault, "a", "", 0},
		"another weight":           {[]string{strings.Replace(a, "name", "weight: 9, name", 1), b}, "192.0.2.5", byDefault, "a", "", 0},
		"removed":                  {[]string{b}, "192.0.2.5", byDefault, "a", "removed", 1},
		"the other removed":        {[]string{a}, "192.0.2.5", byDefault, "a", "", 1},
		"another address":          {[]string{strings.Replace(a, "2.5", "2.6", 1), b}, "192.0.2.5", byDefault, "a", "leaves", 1},
		"another gateway":          {[]string{strings.Replace(a, "2.1}", "2.2}", 1), b}, "192.0.2.5", byDefault, "a", "gateway", 1},
		"from the site":            {[]string{b}, "10.0.0.1", site, "", "", 1},
		"default, no new way":      {[]string{a, b}, "10.0.0.1", byDefault, "a", "", 0},
		"default, one way more":    {[]string{a, b, strings.NewReplacer("name: b", "name: c", "eth2", "eth3", "100.5", "100.6").Replace(b)}, "10.0.0.1", byDefault, "", "eth3", 0},
		"default, its uplink goes": {[]string{b}, "10.0.0.1", byDefault, "a", "removed", 1},
		"default, another gateway": {[]string{strings.Replace(a, "2.1}", "2.2}", 1), b}, "10.0.0.1", byDefault, "a", "gateway", 1},
		"default, another tier":    {[]string{strings.Replace(a, "name", "tier: 2, name", 1), b}, "10.0.0.1", byDefault, "a", "tier", 0},
		"the address moves along":  {[]string{strings.Replace(a, "eth1", "eth3", 1), b}, "192.0.2.5", byDefault, "a", "another interface", 1},
	} {
		after := state(tt.after...)
		effects := Effects(&before, &after)
		if len(effects) != tt.count {
			t.Errorf("%s: effects %+v, want %d", name, effects, tt.count)
		}
		uplink, why := Concerned(&before, &after, effects, netip.MustParseAddr(tt.own), tt.way)
		if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) || uplink != tt.uplink {
			t.Errorf("%s: %q, %q; want %q, %q", name, uplink, why, tt.uplink, tt.why)
		}
	}
}

// A login over IPv6 was of no interest to plan and apply, whatever happened to its uplink.
func TestEffectsInIPv6(t *testing.T) {
	const v4 = "{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1"
	const a, gateway = v4 + ", ipv6: {address: 2001:db8:1::5/64, gateway: fe80::1}}", "fe80::1}"
	const b = "{name: b, interface: eth2, address: none, ipv6: {address: 2001:db8:2::5/64, gateway: fe80::1}}"
	state := func(uplinks ...string) State {
		c, err := configs.Parse(strings.NewReader("uplinks: ["+strings.Join(uplinks, ", ")+"]"), configs.Options{File: "t"})
		if err != nil {
			t.Fatal(err)
		}
		return New(c, time.Unix(0, 0))
	}
	way := routes.Way{Type: "unicast", Table: routes.TableMain, Interface: "eth1", Gateway: netip.MustParseAddr("fe80::1")}
	const own, lan = "2001:db8:1::5", "2001:db8:77::1"
	for name, tt := range map[string]struct {
		before, after []string
		own           string
		uplink, why   string
	}{
		"nothing":                  {[]string{a}, []string{a}, own, "a", ""},
		"the family is removed":    {[]string{a}, []string{v4 + "}"}, own, "a", "leaves the address"},
		"another address":          {[]string{a}, []string{strings.Replace(a, "1::5", "1::6", 1)}, own, "a", "leaves the address"},
		"another gateway":          {[]string{a}, []string{strings.Replace(a, gateway, "fe80::2}", 1)}, own, "a", "another gateway"},
		"of IPv4":                  {[]string{a}, []string{strings.Replace(a, "192.0.2.1,", "192.0.2.2,", 1)}, own, "a", ""},
		"default, the first of it": {[]string{v4 + "}"}, []string{a}, lan, "", "which is ours then"},
		"default, one way more":    {[]string{a}, []string{a, b}, lan, "", "eth2"},
		"default, it goes":         {[]string{a, b}, []string{v4 + "}", b}, lan, "a", "removed"},
	} {
		before, after := state(tt.before...), state(tt.after...)
		uplink, why := Concerned(&before, &after, Effects(&before, &after), netip.MustParseAddr(tt.own), way)
		if (why == "") != (tt.why == "") || !strings.Contains(why, tt.why) || uplink != tt.uplink {
			t.Errorf("%s: %q, %q; want %q, %q", name, uplink, why, tt.uplink, tt.why)
		}
	}
}
