package uplink

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// A host is a random host: what its interfaces are, and what its providers and its
// operator do next.
type host struct {
	random *rand.Rand
	now    time.Time
	links  map[string]routes.Link
	given  map[string][]netip.Prefix // what is on each interface
}

var names = []string{"a", "b", "c", "d"}

func newHost(seed uint64) *host {
	h := &host{
		random: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_700_000_000, 0),
		links: map[string]routes.Link{}, given: map[string][]netip.Prefix{},
	}
	for i, name := range names {
		h.links["eth"+name] = routes.Link{
			Name: "eth" + name, Index: i + 2, Up: true, Carrier: true, MAC: fmt.Sprintf("02:00:00:00:00:%02x", i),
		}
	}
	return h
}

func (h *host) one(list ...string) string { return list[h.random.IntN(len(list))] }

// lines returns the configuration of each uplink, by name. Tables and marks are given:
// the defaults of those follow the order.
func (h *host) lines() map[string]string {
	lines := map[string]string{}
	for i, name := range names {
		address := "dhcp, gateway: lease"
		if h.random.IntN(2) == 0 {
			address = fmt.Sprintf("10.%d.0.5/24, gateway: 10.%d.0.1", i, i)
		}
		lines[name] = fmt.Sprintf("{name: %s, interface: eth%s, address: %s, weight: %d, tier: %d, table: %d, fwmark: %d, "+
			"max_connections: %d, ipv6: %s, probe: {hold_down: 2s, targets: %s}}",
			name, name, address, 1+h.random.IntN(3), 1+h.random.IntN(2), 501+i, i+1, 10*h.random.IntN(2),
			h.one("none", "{weight: 5, probe: {targets: [gateway]}}", fmt.Sprintf("{address: '2001:db8:%d::5/64', gateway: 'fe80::1', probe: {targets: [gateway]}}", i)),
			h.one("[gateway]", "[gateway, 192.0.2.1]", "[192.0.2.1]"))
	}
	return lines
}

func (h *host) config(t *testing.T, lines map[string]string, order []string, rest string) configs.Config {
	t.Helper()
	text := "uplinks:\n"
	for _, name := range order {
		if line, ok := lines[name]; ok {
			text += "  - " + line + "\n"
		}
	}
	c, err := configs.Parse(strings.NewReader(text+rest), configs.Options{File: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// next returns what happens next, as an event for a State: series differ between two.
func (h *host) next() func(s *State) Event {
	name := names[h.random.IntN(len(names))]
	link := "eth" + name
	switch h.random.IntN(8) {
	case 0, 1:
		return h.look(link)
	case 2, 3:
		verdicts := []probe.Evidence{h.evidence(), h.evidence()}
		f := Family(h.random.IntN(int(families)))
		return func(s *State) Event {
			u := s.Named(name)
			if u == nil {
				return NeighbourFailed{}
			}
			targets := slices.Clone(verdicts[:len(u.In(f).Probe.Targets)])
			return ProbeChanged{
				Interface: link, Family: f, Change: probe.Change{Series: u.Paths[f].Series, Targets: targets},
			}
		}
	case 4:
		if h.random.IntN(2) == 0 {
			advert := h.advert(name)
			return func(*State) Event { return AdvertChanged{Interface: link, Advert: advert} }
		}
		report := h.report(name)
		return func(*State) Event { return LeaseChanged{Interface: link, Report: report} }
	case 5:
		command := Commanded{name, api.Command{
			Action: api.Action(h.one("enable", "enable", "disable", "drain", "weight", "renew")), Weight: h.random.IntN(4),
			By: "somebody", For: time.Duration(h.random.IntN(3)) * time.Minute,
		}}
		return func(*State) Event { return command }
	case 6:
		if h.random.IntN(3) == 0 {
			lost := CarrierLost{Index: h.links[link].Index}
			return func(*State) Event { return lost }
		}
		samples := map[string]Sample{link: {Connections: api.Known(h.random.IntN(20)), Stalled: h.random.IntN(2) == 0}}
		return func(*State) Event { return Sampled{samples} }
	}
	return func(*State) Event { return Resumed{SuspendedFor: time.Minute} }
}

// look changes an interface, perhaps, and returns what the reconciler then reads.
func (h *host) look(name string) func(*State) Event {
	l := h.links[name]
	switch h.random.IntN(5) {
	case 0:
		l.Carrier = !l.Carrier
	case 1:
		l.Up = !l.Up
	case 2:
		l.Index += 100
	}
	h.links[name] = l
	if h.random.IntN(3) == 0 {
		h.given[name] = nil
	}
	seen := routes.State{At: h.now, MainRule: h.random.IntN(9) > 0, Elsewhere: []routes.Address{{Interface: "lan0", Prefix: netip.MustParsePrefix("192.168.7.1/24")}}}
	conditions := map[string]routes.Condition{}
	for i, name := range slices.Sorted(maps.Keys(h.links)) {
		seen.Links = append(seen.Links, h.links[name])
		conditions[name] = []routes.Condition{
			routes.Serves, routes.Serves, routes.Serves, routes.Deprecated, routes.Tentative, routes.Duplicate,
		}[h.random.IntN(6)]
		if h.links[name].Up {
			own := netip.MustParsePrefix(fmt.Sprintf("fe80::%x/64", 16+i))
			seen.Addresses = append(seen.Addresses, routes.Address{Interface: name, Prefix: own})
		}
	}
	return func(s *State) Event {
		state := seen
		for _, a := range Desired(s).Addresses { // the kernel has what it was given
			if h.links[a.Interface].Up {
				if a.Prefix.Addr().Is6() {
					a.Condition = conditions[a.Interface]
				}
				state.Addresses = append(slices.Clone(state.Addresses), a)
			}
		}
		return Observed{routes.Applied{State: state, Observed: []string{"etha", "ethb", "ethc", "ethd"}}}
	}
}

func (h *host) evidence() probe.Evidence {
	e := probe.Evidence{Verdict: probe.Verdict(h.random.IntN(3)), Suspect: h.random.IntN(3) == 0}
	if e.Verdict == probe.Down {
		e.Reason, e.Misses, e.FirstMiss = probe.NoAnswer, 3, h.now.Add(-time.Second)
	}
	return e
}

// report is what a DHCP client may say. No two networks overlap: which of two that do
// is used follows the order in the file, as docs/dhcp.md says.
func (h *host) report(name string) LeaseReport {
	r := LeaseReport{State: "selecting", Reason: "no server answered", Asking: h.random.IntN(2) == 0}
	if h.random.IntN(3) > 0 {
		n := strings.Index("abcd", name)
		r.State, r.Confirmed, r.Asking = "bound", h.random.IntN(3) > 0, h.random.IntN(4) == 0
		r.Lease = &Lease{
			Prefix: netip.MustParsePrefix(fmt.Sprintf("100.64.%d.5/24", n)), Router: netip.MustParseAddr(fmt.Sprintf("100.64.%d.1", n)),
			Server: netip.MustParseAddr("100.64.0.1"), Expire: h.now.Add(time.Hour),
		}
	}
	return r
}

// advert is what routers may say.
func (h *host) advert(name string) Advert {
	a := Advert{Reason: "routers are asked for", Heard: h.random.IntN(4) > 0}
	if a.Heard && h.random.IntN(5) > 0 {
		a.Router = netip.MustParseAddr("fe80::1")
	}
	n := strings.Index("abcd", name)
	for i := range h.random.IntN(3) {
		p := AdvertPrefix{Prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d:%d::/64", n, i+1)), OnLink: h.random.IntN(2) == 0}
		p.Preferred, p.Valid = h.now.Add(time.Duration(h.random.IntN(100))*time.Second), h.now.Add(2*time.Minute)
		a.Prefixes = append(a.Prefixes, p)
	}
	return a
}

const (
	propertyRuns  = 60
	propertySteps = 150
)

// A step with an event that says nothing, at the same time, changes nothing: what was
// decided is decided.
func TestStepIsAFixpoint(t *testing.T) {
	states := map[api.OperState]int{}
	for seed := range uint64(propertyRuns) {
		h := newHost(seed)
		rest := "routes: {balance: " + h.one("static", "least-connections", "response-time") + "}\n"
		lines := h.lines()
		s := New(h.config(t, lines, names, rest), h.now)
		for n := range propertySteps {
			h.now = h.now.Add(time.Duration(h.random.IntN(3000)) * time.Millisecond)
			event := h.next()(&s)
			if h.random.IntN(30) == 0 {
				lines = h.lines()
				event = Reloaded{h.config(t, lines, names, rest), h.random.IntN(3) == 0}
			}
			if h.random.IntN(60) == 0 {
				event = Confirmed{}
			}
			s = Step(s, event, h.now)
			again := Step(s, NeighbourFailed{}, h.now)
			if !reflect.DeepEqual(s, again) {
				t.Fatalf("seed %d, step %d (%T): a second look changes what was decided, from\n%+v\nto\n%+v",
					seed, n, event, s.Uplinks, again.Uplinks)
			}
			if first, second := Want(&s), Want(&again); !reflect.DeepEqual(first, second) || !first.Set.Equal(&second.Set) {
				t.Fatalf("seed %d, step %d (%T): a second look wants something else", seed, n, event)
			}
			for i := range s.Uplinks {
				states[s.Uplinks[i].OperState()]++
			}
		}
	}
	for _, state := range []api.OperState{api.Starting, api.Up, api.Down, api.Drained, api.Disabled} {
		if states[state] < 20 {
			t.Errorf("only %d uplinks were ever %s: the hosts are too alike", states[state], state)
		}
	}
}

// The order of uplinks in the file changes nothing but order.
func TestOrderChangesNothing(t *testing.T) {
	carried := 0
	for seed := range uint64(propertyRuns) {
		h := newHost(seed)
		lines, other := h.lines(), slices.Clone(names)
		h.random.Shuffle(len(other), func(i, j int) { other[i], other[j] = other[j], other[i] })
		a := New(h.config(t, lines, names, ""), h.now)
		b := New(h.config(t, lines, other, ""), h.now)
		for n := range propertySteps {
			h.now = h.now.Add(time.Duration(h.random.IntN(3000)) * time.Millisecond)
			event := h.next()
			a, b = Step(a, event(&a), h.now), Step(b, event(&b), h.now)
			if a.Settled != b.Settled {
				t.Fatalf("seed %d, step %d: settled %v and %v", seed, n, a.Settled, b.Settled)
			}
			for _, name := range names {
				one, two := plain(a.Named(name)), plain(b.Named(name))
				if !reflect.DeepEqual(one, two) {
					t.Fatalf("seed %d, step %d: with the order %v uplink %s is\n%+v\nand with %v\n%+v",
						seed, n, names, name, one, other, two)
				}
				if one.Paths[0].Carries {
					carried++
				}
			}
		}
	}
	if carried < 1000 {
		t.Errorf("an uplink carried %d times only", carried)
	}
}

// plain is an uplink without the numbers of its series, which follow the order.
func plain(u *Uplink) Uplink {
	plain := *u
	for f := range plain.Paths {
		p := &plain.Paths[f]
		p.Switch = min(p.Switch, 1) // they are numbered in the order of the file
		p.Series, p.Health.Series, p.ProbeReport.Series = min(p.Series, 1), min(p.Health.Series, 1), min(p.ProbeReport.Series, 1)
		if p.Probe != nil {
			spec := *p.Probe
			spec.Series = 1
			p.Probe = &spec
		}
	}
	return plain
}
