package engine

import (
	"testing"

	"uplinkd/uplink"
)

// What many links bring at once is handled together, what one prober says twice is not, and nothing overtakes anything.
func TestTogether(t *testing.T) {
	report := func(iface string, f uplink.Family) message {
		return message{event: uplink.ProbeChanged{Interface: iface, Family: f}}
	}
	other := message{event: uplink.Observed{}}
	lost, failed := message{event: uplink.CarrierLost{}}, message{event: uplink.NeighbourFailed{}}
	a, a6, b := report("a", uplink.IPv4), report("a", uplink.IPv6), report("b", uplink.IPv4)
	for name, tt := range map[string]struct {
		list []message
		want int
	}{
		"none":                     {nil, 0},
		"one":                      {[]message{a}, 0},
		"three paths":              {[]message{a, a6, b}, 3},
		"carriers":                 {[]message{lost, lost, a, failed, lost, other}, 5},
		"one twice":                {[]message{a, b, a, a6}, 2},
		"something else first":     {[]message{other, a, b}, 0},
		"something else between":   {[]message{a, b, other, a6}, 2},
		"the same one right after": {[]message{a, a, b}, 1},
	} {
		if got := together(tt.list); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}
