package uplink_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// many returns a state of n uplinks that are all up, each with a gateway and one
// far target that all share.
func many(tb testing.TB, n int) uplink.State {
	tb.Helper()
	var text strings.Builder
	text.WriteString("uplinks:\n")
	for i := range n {
		fmt.Fprintf(&text, "  - {name: u%d, interface: eth%d, address: 10.%d.%d.5/24, gateway: 10.%d.%d.1, table: %d, fwmark: %d}\n",
			i, i, i/250, i%250, i/250, i%250, 1000+i, i+1)
	}
	text.WriteString("probe: {targets: [gateway, 192.0.2.1]}\n")
	c, err := configs.Parse(strings.NewReader(text.String()), configs.Options{File: "test"})
	if err != nil {
		tb.Fatal(err)
	}
	now := time.Now()
	s := uplink.New(c, now)
	seen := routes.Applied{State: routes.State{At: now}}
	for i := range c.Uplinks {
		u := &c.Uplinks[i]
		seen.Observed = append(seen.Observed, u.Interface)
		seen.State.Links = append(seen.State.Links, routes.Link{
			Name: u.Interface, Index: i + 2, Up: true, Carrier: true, MAC: "02:00:00:00:00:01",
		})
		seen.State.Addresses = append(seen.State.Addresses, routes.Address{
			Interface: u.Interface, Prefix: netip.MustParsePrefix(u.Prefixes[0].String()),
		})
	}
	s = uplink.Step(s, uplink.Observed{Applied: seen}, now)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		s = uplink.Step(s, answered(u, false), now)
	}
	for i := range s.Uplinks {
		if state := s.Uplinks[i].OperState(); state != api.Up {
			tb.Fatalf("uplink %d is %s", i, state)
		}
	}
	return s
}

// answered is that both targets of an uplink are up, the far one perhaps suspected.
func answered(u *uplink.Uplink, suspect bool) uplink.ProbeChanged {
	return uplink.ProbeChanged{Interface: u.Config.Interface, Change: probe.Change{
		Series: u.Paths[0].Series, Targets: []probe.Evidence{{Verdict: probe.Up}, {Verdict: probe.Up, Suspect: suspect}},
	}}
}

// BenchmarkStep is what the engine does for one event, the parts that act aside: a
// step, all that is wanted, and what has changed.
func BenchmarkStep(b *testing.B) {
	for _, n := range []int{3, 32, 120} {
		b.Run(fmt.Sprintf("uplinks=%d", n), func(b *testing.B) {
			s := many(b, n)
			wanted := uplink.Want(&s)
			now := time.Now()
			events := []uplink.ProbeChanged{answered(&s.Uplinks[1], false), answered(&s.Uplinks[1], true)}
			b.ReportAllocs()
			b.ResetTimer()
			for k := range b.N {
				before := s
				s = uplink.Step(before, events[k%2], now)
				next := uplink.Want(&s)
				if !next.Set.Equal(&wanted.Set) || !next.Meter.Equal(&wanted.Meter) {
					b.Fatal("another Set is wanted")
				}
				wanted = next
				if len(uplink.Transitions(before, s, now))+len(uplink.Changes(before, s, now)) > 0 {
					b.Fatal("something has changed")
				}
			}
		})
	}
}

// BenchmarkDesired is what the kernel is to hold, made of a state.
func BenchmarkDesired(b *testing.B) {
	for _, n := range []int{3, 32, 120} {
		b.Run(fmt.Sprintf("uplinks=%d", n), func(b *testing.B) {
			s := many(b, n)
			b.ReportAllocs()
			for b.Loop() {
				uplink.Desired(&s)
			}
		})
	}
}
