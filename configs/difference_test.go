package configs_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"uplinkd/configs"
)

func TestDifference(t *testing.T) {
	before := `
uplinks:
  - {name: a, interface: eth1, address: dhcp, gateway: lease, weight: 2} # the old one
  - {name: b, interface: eth2, address: [192.0.2.5/24, 192.0.2.6/24], gateway: 192.0.2.1}
probe: {interval: 500ms, targets: [gateway]}
hooks: [{command: /bin/true}]
`
	after := `
probe: {targets: [gateway, 192.0.2.53], interval: 500ms}
hooks: [{command: /bin/false}]
uplinks:
  - {name: b, interface: eth2, address: [192.0.2.5/24], gateway: 192.0.2.1}
  - {name: a, interface: eth1, address: dhcp, gateway: lease, weight: 3}
  - {name: c, interface: eth3}
`
	want := []string{
		"hooks.1.command: /bin/true -> /bin/false",
		"probe.targets: [gateway] -> [gateway, 192.0.2.53]",
		"uplinks.a.weight: 2 -> 3",
		"uplinks.b.address: [192.0.2.5/24, 192.0.2.6/24] -> [192.0.2.5/24]",
		"uplinks.c.interface: - -> eth3",
		"uplinks.c.name: - -> c",
	}
	if diff := cmp.Diff(want, configs.Difference([]byte(before), []byte(after))); diff != "" {
		t.Error(diff)
	}
	for _, text := range []string{"", "\t", "- a", "a: [", "a: &x {b: *x}"} {
		if lines := configs.Difference([]byte(text), []byte(text)); len(lines) > 0 {
			t.Errorf("%q differs from itself: %v", text, lines)
		}
	}
}

// What is compared has been parsed before, or lies on a disk: neither a text of aliases nor
// any other may take long, or panic.
func FuzzDifference(f *testing.F) {
	f.Add("a: &x [b, *x]", "a: &x {b: {c: *x}}")
	f.Add("uplinks: [{name: a}]", "a: &a [1]\nb: &b [*a,*a]\nc: [*b,*b]")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, line := range configs.Difference([]byte(before), []byte(after)) {
			if line == "" {
				t.Error("an empty line")
			}
		}
	})
}
