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

// Marks that the file does not give stay with their interface over a reload, and a
// new uplink gets one that nobody had. From the review.
func TestKeepMarks(t *testing.T) {
	line := func(n int, more string) string {
		return fmt.Sprintf("  - {name: u%d, interface: eth%d, address: 192.0.%d.5/24, gateway: 192.0.%d.1%s}\n", n, n, n, n, more)
	}
	marks := func(c configs.Config) string {
		var list []string
		for _, u := range c.Uplinks {
			list = append(list, fmt.Sprintf("%s:%d", u.Name, u.FwMark))
		}
		return strings.Join(list, " ")
	}
	running := valid(t, "uplinks:\n"+line(1, "")+line(2, "")+line(3, ""))
	for name, tt := range map[string]struct{ next, want string }{
		"one removed": {line(2, "") + line(3, ""), "u2:2 u3:3"},
		"swapped":     {line(3, "") + line(1, "") + line(2, ""), "u3:3 u1:1 u2:2"},
		"one new":     {line(4, "") + line(2, "") + line(3, ""), "u4:4 u2:2 u3:3"},
		"one given":   {line(1, ", fwmark: 9") + line(2, "") + line(3, ""), "u1:9 u2:2 u3:3"},
	} {
		if got := marks(configs.KeepMarks(running, valid(t, "uplinks:\n"+tt.next))); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
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
