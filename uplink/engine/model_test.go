package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/routes/routestest"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// The promises that hold whatever happens:
//
//  1. While an uplink is up the shared default route is there, and no uplink that is not is in it.
//  2. What is foreign stays as it is.
//  3. When all is well a further pass finds nothing to do.
//  4. What cleanup leaves is what was there before.
//  5. An engine that has ended leaves no goroutine (the bubble sees to that).
//  6. Packets from an uplink's address leave by that uplink.
//
// What happens is a list of events, faults and orders at random. A list that breaks a
// promise is made shorter as long as it still does, and printed with its seed.
// UPLINKD_SEQUENCES says how many lists.
func TestPromises(t *testing.T) {
	count := 250
	if text := os.Getenv("UPLINKD_SEQUENCES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		count = n
	}
	for seed := range count {
		steps := randomSteps(uint64(seed))
		broken := play(t, steps)
		if broken == "" {
			continue
		}
		for i := 0; i < len(steps); {
			fewer := slices.Delete(slices.Clone(steps), i, i+1)
			if still := play(t, fewer); still != "" {
				steps, broken = fewer, still
				continue
			}
			i++
		}
		t.Errorf("seed %d: %s, after\n%s", seed, broken, describe(steps))
		return
	}
	t.Logf("%d lists", count)
}

// A step is one thing that happens, and how long nothing else does.
type step struct {
	kind  string
	n     int // of which uplink, or which object
	pause time.Duration
}

var kinds = []string{
	"silent", "heard", "carrier gone", "carrier back", "set down", "set up", "vanishes", "comes back", "rule deleted",
	"route deleted", "address deleted", "all deleted", "operation refused", "operations refused", "read interrupted",
	"disable", "enable", "drain", "weight", "reload", "restart", "suspended",
}

func randomSteps(seed uint64) []step {
	random := rand.New(rand.NewPCG(seed, 7))
	steps := make([]step, 3+random.IntN(12))
	for i := range steps {
		pauses := []time.Duration{0, 10 * time.Millisecond, 300 * time.Millisecond, 3 * time.Second, 12 * time.Second}
		steps[i] = step{kinds[random.IntN(len(kinds))], random.IntN(30), pauses[random.IntN(len(pauses))]}
	}
	return steps
}

func describe(steps []step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "  %s %d, then %s\n", s.kind, s.n, s.pause)
	}
	return b.String()
}

// A model is a house to which things happen.
type model struct {
	*house
	config   int
	foreign  routes.State
	before   routes.State
	away     map[string]routes.Link
	pause    time.Duration // since the last thing that happened
	broken   string
	counting sync.Mutex // guards what follows
	left     int        // operations and readings that are still to be refused
	refused  time.Time  // when the last was
}

// modelConfigs are what is reloaded: other weights, tiers, and an uplink less.
var modelConfigs = []string{`
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, weight: 2}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}
  - {name: c, interface: eth3, address: 203.0.113.5/24, gateway: 203.0.113.1}
`, `
uplinks:
  - {name: c, interface: eth3, address: 203.0.113.5/24, gateway: 203.0.113.1, weight: 5}
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}
  - {name: b, interface: eth2, address: 198.51.100.6/24, gateway: 198.51.100.1, tier: 2}
`, `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}
on_down: {conntrack: false}
`}

// play has a list of steps happen, and returns which promise was broken, "" when all held.
func play(t *testing.T, steps []step) string {
	t.Helper()
	var m model
	bubble.Test(t, func(t *testing.T) {
		m.away = map[string]routes.Link{}
		fake := &routestest.Fake{}
		fake.Edit(m.begin)
		m.before = fake.State()
		m.house = open(t, modelConfigs[0], fake)
		m.wait(15 * time.Second)
		m.check("the start")
		for _, s := range steps {
			if m.broken != "" {
				return
			}
			m.step(s)
			if s.pause >= 12*time.Second {
				m.wait(s.pause) // what is refused again and again is tried each ten seconds at the least
				m.refuse(0)
			}
			m.wait(s.pause)
			m.pause = s.pause
			m.foreignStays(s.kind)
			if s.pause >= 3*time.Second && !m.refusedWithin(1500*time.Millisecond) {
				m.check(s.kind)
			}
		}
		m.finish()
	})
	return m.broken
}

// begin is what the kernel holds before us: links, and what is others'.
func (m *model) begin(s *routes.State) {
	s.MainRule = true
	for n := 1; n <= 3; n++ {
		s.Links = append(s.Links, routes.Link{
			Name: fmt.Sprintf("eth%d", n), Index: n + 1, Up: true, Carrier: true, MAC: "02:00:00:00:00:01",
		})
	}
	s.Links = append(s.Links, routes.Link{Name: "lan0", Index: 9, Up: true, Carrier: true})
	s.Addresses = append(s.Addresses, routes.Address{Interface: "lan0", Prefix: netip.MustParsePrefix("192.168.77.1/24")})
	s.Rules = append(s.Rules,
		routes.Rule{Priority: 15000, From: netip.MustParsePrefix("192.0.2.77/32"), Table: 99},
		routes.Rule{Priority: 20050, From: netip.MustParsePrefix("192.0.2.78/32"), Table: 99})
	s.Routes = append(s.Routes, routes.Route{
		RouteKey: routes.RouteKey{Table: 501, Dst: netip.MustParsePrefix("10.9.0.0/16")}, Protocol: 3,
		NextHops: []routes.NextHop{{Interface: "lan0"}},
	})
	m.foreign = routes.State{Rules: slices.Clone(s.Rules), Routes: slices.Clone(s.Routes), Addresses: slices.Clone(s.Addresses)}
}

func (m *model) break1(format string, args ...any) {
	if m.broken == "" {
		m.broken = fmt.Sprintf(format, args...)
	}
}

// step has one thing happen.
func (m *model) step(s step) {
	link := fmt.Sprintf("eth%d", 1+s.n%3)
	edit := func(change func(*routes.Link)) {
		m.fake.Edit(func(state *routes.State) {
			for i := range state.Links {
				if state.Links[i].Name == link {
					change(&state.Links[i])
				}
			}
		})
		m.watcher()
	}
	switch s.kind {
	case "silent", "heard":
		m.silence(link, s.kind == "silent")
	case "carrier gone", "carrier back":
		edit(func(l *routes.Link) { l.Carrier = s.kind == "carrier back" })
	case "set down", "set up":
		edit(func(l *routes.Link) { l.Up, l.Carrier = s.kind == "set up", s.kind == "set up" })
		if s.kind == "set down" {
			m.without(link, false)
		}
	case "vanishes":
		m.vanish(link)
	case "comes back":
		m.comeBack(link)
	case "rule deleted", "route deleted", "address deleted", "all deleted":
		m.meddle(s)
	case "operation refused", "operations refused":
		m.refuse(1 + s.n%2*20)
		m.fake.FailWith(func(routes.Op) error { return m.refusal() })
	case "read interrupted":
		m.refuse(1 + s.n%4)
		m.fake.FailReads(m.refusal)
		m.watcher()
	case "suspended":
		m.mu.Lock()
		m.asleep += time.Duration(s.n) * time.Minute
		m.mu.Unlock()
	default:
		m.order(s)
	}
}

// refuse has the kernel refuse so many operations or readings, and refusal is what it says.
func (m *model) refuse(n int) {
	m.counting.Lock()
	defer m.counting.Unlock()
	m.left = n
}

func (m *model) refusal() error {
	m.counting.Lock()
	defer m.counting.Unlock()
	if m.left == 0 {
		return nil
	}
	m.left--
	m.refused = time.Now()
	return errors.New("no")
}

// refusedWithin reports whether the kernel refuses, or has done so lately: the next try of
// the default route comes within a second, of others within ten.
func (m *model) refusedWithin(d time.Duration) bool {
	m.counting.Lock()
	defer m.counting.Unlock()
	return m.left > 0 || time.Since(m.refused) < d
}

// without takes away what the kernel takes with an interface that is set down, and with one
// that vanishes its addresses too.
func (m *model) without(link string, addresses bool) {
	m.fake.Edit(func(s *routes.State) {
		s.Routes = slices.DeleteFunc(s.Routes, func(r routes.Route) bool {
			return slices.ContainsFunc(r.NextHops, func(h routes.NextHop) bool { return h.Interface == link })
		})
		if addresses {
			s.Addresses = slices.DeleteFunc(s.Addresses, func(a routes.Address) bool { return a.Interface == link })
		}
	})
	m.watcher()
}

func (m *model) vanish(link string) {
	m.fake.Edit(func(s *routes.State) {
		if l, ok := s.Link(link); ok {
			m.away[link] = l
		}
		s.Links = slices.DeleteFunc(s.Links, func(l routes.Link) bool { return l.Name == link })
		// What is remembered of a link is of its index.
		s.RaisedUp = slices.DeleteFunc(s.RaisedUp, func(name string) bool { return name == link })
	})
	m.without(link, true)
}

// comeBack gives a link back, with another index.
func (m *model) comeBack(link string) {
	l, ok := m.away[link]
	if !ok {
		return
	}
	delete(m.away, link)
	l.Index += 10
	l.Up, l.Carrier = true, true
	m.fake.Edit(func(s *routes.State) { s.Links = append(s.Links, l) })
	m.watcher()
}

// meddle deletes what is ours, as others do.
func (m *model) meddle(s step) {
	owner := uplink.Owner(parse(m.t, modelConfigs[0]))
	m.fake.Edit(func(state *routes.State) {
		n := 0
		one := func(ours bool) bool {
			if ours {
				n++
			}
			return ours && (s.kind == "all deleted" || n == 1+s.n%6)
		}
		if s.kind != "route deleted" && s.kind != "address deleted" {
			state.Rules = slices.DeleteFunc(state.Rules, func(r routes.Rule) bool { return one(owner.OwnsRule(r)) })
		}
		n = 0
		if s.kind == "route deleted" || s.kind == "all deleted" {
			state.Routes = slices.DeleteFunc(state.Routes, func(r routes.Route) bool { return one(owner.OwnsRoute(r)) })
		}
		n = 0
		if s.kind == "address deleted" {
			state.Addresses = slices.DeleteFunc(state.Addresses, func(a routes.Address) bool { return one(owner.OwnsAddress(a)) })
		}
	})
	m.watcher()
}

// order is what an operator does.
func (m *model) order(s step) {
	name := string(rune('a' + s.n%3))
	switch s.kind {
	case "reload":
		m.config = s.n % len(modelConfigs)
		_ = m.engine.Do(m.t.Context(), uplink.Reloaded{Config: m.parse()})
	case "restart":
		m.close()
		saved, learned, silent := m.saved, m.learned, m.silent
		next := openHouse(m.t, modelConfigs[m.config], m.fake, &house{saved: saved, learned: learned})
		for link, on := range silent {
			next.silence(link, on)
		}
		m.house = next
	default:
		command := api.Command{Action: api.Action(s.kind), Weight: s.n % 5}
		_ = m.engine.Do(m.t.Context(), uplink.Commanded{Uplink: name, Command: command}) // the uplink may be configured no more
	}
}

// parse returns the present configuration, as a reload has it: tables and marks stay.
func (m *model) parse() configs.Config {
	return configs.Keep(configs.GivenOf(parse(m.t, modelConfigs[0])), parse(m.t, modelConfigs[m.config]))
}

// finish lets all be well, looks whether it is, and takes everything away.
func (m *model) finish() {
	if m.broken != "" {
		return
	}
	m.fake.FailWith(nil)
	m.fake.FailReads(nil)
	m.wait(40 * time.Second)
	m.pause = 40 * time.Second
	m.check("the end")
	m.fake.Ops()
	m.wait(70 * time.Second) // two looks with no reason
	if ops := m.fake.Ops(); len(ops) > 0 {
		m.break1("promise 3: a further pass does %s", ops[0])
	}
	m.close()
	owner := uplink.Owner(m.parse())
	for range 3 { // as cleanup, until nothing is left
		have, _ := m.fake.Read(m.t.Context(), routes.Scope{Owner: owner})
		for _, op := range routes.Cleanup(owner, have).Ops {
			if err := m.fake.Do(m.t.Context(), op); err != nil {
				m.break1("promise 4: cleanup: %s: %v", op, err)
			}
		}
	}
	m.foreignStays("cleanup")
	left := m.fake.State()
	if len(left.Rules) != len(m.before.Rules) || len(left.Routes) != len(m.before.Routes) || len(left.Addresses) != len(m.before.Addresses) {
		m.break1("promise 4: cleanup leaves %d rules, %d routes, %d addresses of %d, %d, %d before: %v %v %v",
			len(left.Rules), len(left.Routes), len(left.Addresses), len(m.before.Rules), len(m.before.Routes), len(m.before.Addresses),
			left.Rules, left.Routes, left.Addresses)
	}
}

// check looks whether the kernel holds what the states ask for.
func (m *model) check(when string) {
	snapshot, state := m.engine.Snapshot(), m.fake.State()
	byInterface, anyUp := map[string]api.Uplink{}, false
	for _, u := range snapshot.Uplinks {
		byInterface[u.Interface] = u
		anyUp = anyUp || u.State == api.Up
	}
	hops, found := m.sharedDefault(state)
	switch {
	case anyUp && !found:
		m.break1("promise 1: at %s an uplink is up, and there is no default route", when)
	case anyUp:
		for _, hop := range hops {
			if u := byInterface[hop.Interface]; !u.State.Works() {
				m.break1("promise 1: at %s %s, which is %s, is in the default route", when, hop.Interface, u.State)
			}
		}
	}
	for _, u := range snapshot.Uplinks {
		// What others undo again and again is put back after ten seconds at the latest.
		if u.State == api.Up && m.pause >= 12*time.Second && !m.refusedWithin(11*time.Second) {
			m.leads(u, state, when)
		}
	}
}

func (m *model) sharedDefault(state routes.State) ([]routes.NextHop, bool) {
	for _, r := range state.Routes {
		if r.Table == routes.TableMain && r.Protocol == 201 && r.Dst.Bits() == 0 {
			return r.NextHops, true
		}
	}
	return nil, false
}

// leads looks whether packets from an uplink's address leave by it.
func (m *model) leads(u api.Uplink, state routes.State, when string) {
	own, err := netip.ParsePrefix(u.Address)
	if err != nil {
		m.break1("at %s %s is up with the address %q", when, u.Name, u.Address)
		return
	}
	rule := slices.ContainsFunc(state.Rules, func(r routes.Rule) bool {
		return r.From == netip.PrefixFrom(own.Addr(), 32) && r.Table == u.Table
	})
	route := slices.ContainsFunc(state.Routes, func(r routes.Route) bool {
		return r.Table == u.Table && r.Dst.Bits() == 0 && len(r.NextHops) == 1 && r.NextHops[0].Interface == u.Interface
	})
	if !rule || !route {
		m.break1("promise 6: at %s packets from %s of %s do not leave by it: rule %v, route %v", when, own.Addr(), u.Name, rule, route)
	}
}

// foreignStays looks whether what is others' is as it was.
func (m *model) foreignStays(after string) {
	state := m.fake.State()
	for _, r := range m.foreign.Rules {
		if !slices.Contains(state.Rules, r) {
			m.break1("promise 2: after %s the foreign rule %v is gone", after, r)
		}
	}
	for _, r := range m.foreign.Routes {
		if !slices.ContainsFunc(state.Routes, func(o routes.Route) bool { return o.RouteKey == r.RouteKey && o.Protocol == r.Protocol }) {
			m.break1("promise 2: after %s the foreign route %v is gone", after, r)
		}
	}
	for _, a := range m.foreign.Addresses {
		if !slices.ContainsFunc(state.Addresses, func(o routes.Address) bool { return o.Prefix == a.Prefix && o.Interface == a.Interface }) {
			m.break1("promise 2: after %s the foreign address %s is gone", after, a.Prefix)
		}
	}
}
