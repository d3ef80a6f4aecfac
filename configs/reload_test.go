package configs_test

import (
	"fmt"
	"strings"
	"testing"

	"uplinkd/configs"
)

const (
	twoUplinks = `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, weight: 2}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}
`
	twoTiers = `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1, tier: 2}
`
)

func TestCanReload(t *testing.T) {
	if err := configs.CanReload(valid(t, twoUplinks), valid(t, twoTiers)); err != nil {
		t.Error(err)
	}
	err := configs.CanReload(valid(t, twoUplinks), valid(t, twoUplinks+"routes: {protocol: 99, rule_priority: 100}\nstate_dir: /x\ncontrol: {socket: /y}"))
	for _, key := range []string{"routes.protocol", "routes.rule_priority", "state_dir", "control.socket"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is not in %v", key, err)
		}
	}
}

// Tables and marks that the file does not give stay with their interface, and a new
// uplink gets some that nobody had. From the review; and from an attack: with two uplinks
// exchanged in the file 30 of 94,000 packets left with the other's address.
func TestKeep(t *testing.T) {
	line := func(n int, more string) string {
		return fmt.Sprintf("  - {name: u%d, interface: eth%d, address: 192.0.%d.5/24, gateway: 192.0.%d.1%s}\n", n, n, n, n, more)
	}
	numbers := func(c configs.Config) string {
		var list []string
		for _, u := range c.Uplinks {
			list = append(list, fmt.Sprintf("%s:%d/%d", u.Name, u.Table, u.FwMark>>24|u.FwMark&0xff))
		}
		return strings.Join(list, " ")
	}
	running := configs.GivenOf(valid(t, "uplinks:\n"+line(1, "")+line(2, "")+line(3, "")))
	for name, tt := range map[string]struct{ next, want string }{
		"the same":         {line(1, "") + line(2, "") + line(3, ""), "u1:501/1 u2:502/2 u3:503/3"},
		"one removed":      {line(2, "") + line(3, ""), "u2:502/2 u3:503/3"},
		"exchanged":        {line(3, "") + line(1, "") + line(2, ""), "u3:503/3 u1:501/1 u2:502/2"},
		"one new":          {line(4, "") + line(2, "") + line(3, ""), "u4:504/4 u2:502/2 u3:503/3"},
		"a table given":    {line(2, ", table: 700") + line(1, ""), "u2:700/2 u1:501/1"},
		"a table taken":    {line(2, ", table: 501") + line(1, ""), "u2:501/2 u1:502/1"},
		"marks of its own": {line(2, "") + line(1, ", fwmark: 9"), "u2:502/1 u1:501/9"}, // under another mask
		"the mask given":   {line(2, "") + line(1, "") + "routes: {fwmark_mask: 0xf0}\n", "u2:502/16 u1:501/32"},
	} {
		if got := numbers(configs.Keep(running, valid(t, "uplinks:\n"+tt.next))); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	if got := numbers(configs.Keep(configs.Given{}, valid(t, "uplinks:\n"+line(2, "")+line(1, "")))); got != "u2:501/1 u1:502/2" {
		t.Errorf("the first time: %s", got)
	}
}

func valid(t *testing.T, text string) configs.Config {
	t.Helper()
	c, err := parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
