package uplink

import (
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
)

// What a configuration on trial takes away is ended when it is confirmed, and not when it goes back;
// what another uplink would take for its own, at once. A list of prefixes that is read anew meanwhile
// changes nothing of that.
func TestTrialEndsNothing(t *testing.T) {
	const a, b = "{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, fwmark: 1}", "{name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1, fwmark: 2}"
	parse := func(uplinks ...string) configs.Config {
		const rest = "\nroutes: {fwmark_mask: 0xff}\non_down: {sockets: true, conntrack: true}\n"
		c, err := configs.Parse(strings.NewReader("uplinks: ["+strings.Join(uplinks, ", ")+"]"+rest), configs.Options{File: "t"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	both, without := parse(a, b), parse(b)
	other := parse(strings.Replace(a, "2.5/24", "2.6/24", 1), b)
	taken := parse(strings.Replace(b, "fwmark: 2", "fwmark: 1", 1))
	for name, tt := range map[string]struct {
		events []Event
		want   string // after each event the uplinks whose connections end
	}{
		"for good":                  {[]Event{Reloaded{Config: without}}, "a"},
		"confirmed":                 {[]Event{Reloaded{without, true}, Resumed{}, Confirmed{}, Resumed{}}, "||a|"},
		"gone back":                 {[]Event{Reloaded{without, true}, Reloaded{Config: both}, Resumed{}}, "||"},
		"added, and gone back":      {[]Event{Reloaded{Config: without}, Reloaded{both, true}, Reloaded{Config: without}}, "a||a"},
		"lists read anew":           {[]Event{Reloaded{without, true}, Reloaded{without, true}, Confirmed{}}, "||a"},
		"its mark is another's":     {[]Event{Reloaded{taken, true}, Confirmed{}}, "a|b"},
		"another address, for good": {[]Event{Reloaded{Config: other}}, "a"},
		"another address, on trial": {[]Event{Reloaded{other, true}, Reloaded{Config: both}}, "|a"},
		"another address, stays":    {[]Event{Reloaded{other, true}, Confirmed{}}, "|a"},
	} {
		now := time.Unix(100, 0)
		s := New(both, now)
		s.Settled = true
		var got []string
		for _, e := range tt.events {
			next := Step(s, e, now)
			var ended []string
			for _, transition := range Transitions(s, next, now) {
				if transition.Disconnect != nil {
					ended = append(ended, transition.Uplink)
				}
			}
			got = append(got, strings.Join(ended, " "))
			s = next
		}
		if text := strings.Join(got, "|"); text != tt.want {
			t.Errorf("%s: ended %q, want %q", name, text, tt.want)
		}
	}
}
