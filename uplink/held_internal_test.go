package uplink

import (
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

const (
	trialA = "{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, fwmark: 1}"
	trialB = "{name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1, fwmark: 2}"
)

func trialConfig(t *testing.T, uplinks ...string) configs.Config {
	t.Helper()
	const rest = "\nroutes: {fwmark_mask: 0xff}\non_return: move\non_down: {sockets: true, conntrack: true}\n"
	c, err := configs.Parse(strings.NewReader("uplinks: ["+strings.Join(uplinks, ", ")+"]"+rest), configs.Options{File: "t"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ended returns the uplinks whose connections end between two states.
func ended(before, after State, now time.Time) string {
	var list []string
	for _, transition := range Transitions(before, after, now) {
		if transition.Disconnect != nil {
			list = append(list, transition.Uplink)
		}
	}
	return strings.Join(list, " ")
}

// An uplink that a configuration on trial has changed is down: maybe by that alone, and its connections end when
// it is confirmed. Those of one that it has left alone end at once. Likewise of a tier that it makes a worse one.
func TestTrialOfWhatIsDown(t *testing.T) {
	now := time.Unix(100, 0)
	up := func(s State, a, b api.OperState) State {
		s.Settled, s.Uplinks = true, slices.Clone(s.Uplinks)
		for i, state := range []api.OperState{a, b} {
			p := &s.Uplinks[i].Paths[IPv4]
			p.OperState, p.Carries = state, state == api.Up
		}
		return s
	}
	both := trialConfig(t, trialA, trialB)
	mistyped := trialConfig(t, strings.Replace(trialA, "192.0.2.1,", "192.0.2.9,", 1), trialB)
	trial := Step(up(New(both, now), api.Up, api.Up), Reloaded{mistyped, true}, now)
	down := up(trial, api.Down, api.Up)
	if got := ended(trial, down, now); got != "" {
		t.Errorf("changed, and down: ended %q", got)
	}
	if got := ended(trial, up(trial, api.Up, api.Down), now); got != "b" {
		t.Errorf("left alone, and down: ended %q, want b", got)
	}
	if got := ended(down, Step(down, Confirmed{}, now), now); got != "a" {
		t.Errorf("confirmed: ended %q, want a", got)
	}
	if got := ended(down, Step(down, Reloaded{Config: both}, now), now); got != "" {
		t.Errorf("gone back: ended %q", got)
	}
	worse := trialConfig(t, strings.Replace(trialA, "name: a", "name: a, tier: 2", 1), trialB)
	begun := up(New(both, now), api.Up, api.Up)
	after := Step(begun, Reloaded{worse, true}, now)
	after.Uplinks[0].Paths[IPv4].Carries = false
	after.hold(&begun)
	if got := ended(begun, after, now); got != "" {
		t.Errorf("another tier: ended %q", got)
	}
	if got := ended(after, Step(after, Confirmed{}, now), now); got != "a" {
		t.Errorf("another tier, confirmed: ended %q, want a", got)
	}
}

// What a configuration on trial takes away is ended when it is confirmed, and not when it goes back;
// what another uplink would take for its own, at once. A list of prefixes that is read anew meanwhile
// changes nothing of that.
func TestTrialEndsNothing(t *testing.T) {
	both, without := trialConfig(t, trialA, trialB), trialConfig(t, trialB)
	other := trialConfig(t, strings.Replace(trialA, "2.5/24", "2.6/24", 1), trialB)
	taken := trialConfig(t, strings.Replace(trialB, "fwmark: 2", "fwmark: 1", 1))
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
			got = append(got, ended(s, next, now))
			s = next
		}
		if text := strings.Join(got, "|"); text != tt.want {
			t.Errorf("%s: ended %q, want %q", name, text, tt.want)
		}
	}
}
