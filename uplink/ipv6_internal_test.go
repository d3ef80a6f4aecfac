package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/firewall"
	"uplinkd/uplink/api"
)

// Whatever happens: a next hop of IPv6 stands in the shared default route only while its interface has an
// address that new connections may take; and IPv6 is unreachable exactly while nothing carries it.
func TestIPv6Promises(t *testing.T) {
	carried, unreachable := 0, 0
	for seed := range uint64(propertyRuns) {
		h := newHost(seed)
		lines := h.lines()
		s := New(h.config(t, lines, names, ""), h.now)
		for n := range propertySteps {
			h.now = h.now.Add(time.Duration(h.random.IntN(3000)) * time.Millisecond)
			s = Step(s, h.next()(&s), h.now)
			set := Desired(&s)
			hops := 0
			for _, r := range set.Default {
				if !r.Dst.Addr().Is6() {
					continue
				}
				hops = len(r.NextHops)
				if r.Metric != 1 {
					t.Fatalf("seed %d, step %d: the metric is %d", seed, n, r.Metric)
				}
				for _, hop := range r.NextHops {
					u := s.On(hop.Interface)
					p := &u.Paths[IPv6]
					if first := u.Addresses(p)[0]; !slices.Contains(p.Preferred, first) {
						t.Fatalf("seed %d, step %d: %s carries, and of %s only %v serve", seed, n, hop, first, p.Preferred)
					}
				}
			}
			nowhere := slices.ContainsFunc(set.Rules, func(r routes.Rule) bool { return r.Unreachable })
			if want := s.Has(IPv6) && s.Settled && hops == 0; nowhere != want {
				t.Fatalf("seed %d, step %d: unreachable %v with %d hops, settled %v", seed, n, nowhere, hops, s.Settled)
			}
			if nowhere {
				unreachable++
			}
			carried += hops
		}
	}
	if carried < 500 || unreachable < 500 {
		t.Errorf("%d hops and %d times unreachable: the hosts are too alike", carried, unreachable)
	}
}

// stateOf returns a state of a configuration whose uplinks a and b are up in IPv6 on etha and ethb.
func stateOf(t *testing.T, rest string, now time.Time) State {
	t.Helper()
	h := newHost(1)
	lines := map[string]string{}
	for _, name := range []string{"a", "b"} {
		lines[name] = fmt.Sprintf("{name: %s, interface: eth%s, address: dhcp, gateway: lease, ipv6: auto}", name, name)
	}
	s := New(h.config(t, lines, names, rest), now)
	seen := routes.State{At: now, MainRule: true, MainRule6: true}
	for i, name := range []string{"etha", "ethb"} {
		seen.Links = append(seen.Links, h.links[name])
		own := netip.MustParsePrefix(fmt.Sprintf("fe80::%x/64", 16+i))
		seen.Addresses = append(seen.Addresses, routes.Address{Interface: name, Prefix: own})
	}
	return Step(s, Observed{routes.Applied{State: seen, Observed: []string{"etha", "ethb"}}}, now)
}

// heard is that a router of an uplink advertises networks.
func heard(iface string, now time.Time, networks ...string) Event {
	a := Advert{Heard: true, Router: netip.MustParseAddr("fe80::1"), Reason: "the router is fe80::1"}
	for _, n := range networks {
		a.Prefixes = append(a.Prefixes, AdvertPrefix{
			Prefix: netip.MustParsePrefix(n), OnLink: true, Preferred: now.Add(time.Hour), Valid: now.Add(2 * time.Hour),
		})
	}
	return AdvertChanged{Interface: iface, Advert: a}
}

// lent is that a DHCPv6 server has lent a prefix, and an address where one is given.
func lent(iface, address, prefix string, until time.Time) Event {
	l := &Lease{Delegated: []Lent{{Prefix: netip.MustParsePrefix(prefix), Until: until}}}
	if address != "" {
		l.Prefix, l.Expire = netip.MustParsePrefix(address), until
	}
	return LeaseChanged{Interface: iface, Family: IPv6, Report: LeaseReport{State: "bound", Confirmed: true, Lease: l}}
}

func addressesText(u *Uplink) string { return fmt.Sprint(u.Addresses(&u.Paths[IPv6])) }

// Which addresses an uplink makes itself of what it hears.
func TestIPv6Addresses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, tt := range map[string]struct {
		events []Event
		want   string // of uplink b
		reason string // a part of why it has none
	}{
		"nothing yet":    {nil, "[]", "no address"},
		"of a router":    {[]Event{heard("ethb", now, "2001:db8:2::/64")}, "[2001:db8:2::11/64]", ""},
		"of two":         {[]Event{heard("ethb", now, "2001:db8:2::/64", "2001:db8:3::/64")}, "[2001:db8:2::11/64 2001:db8:3::11/64]", ""},
		"of none":        {[]Event{heard("ethb", now)}, "[]", "no address: the router is fe80::1"},
		"of a server":    {[]Event{heard("ethb", now), lent("ethb", "2001:db8:2::a/128", "2001:db8:2:100::/56", now.Add(time.Hour))}, "[2001:db8:2::a/128]", ""},
		"of both":        {[]Event{heard("ethb", now, "2001:db8:2::/64"), lent("ethb", "2001:db8:2::a/128", "2001:db8:2:100::/56", now.Add(time.Hour))}, "[2001:db8:2::a/128 2001:db8:2::11/64]", ""},
		"of a prefix":    {[]Event{heard("ethb", now), lent("ethb", "", "2001:db8:2:100::/56", now.Add(time.Hour))}, "[2001:db8:2:1ff::1/128]", ""},
		"another's":      {[]Event{heard("etha", now, "2001:db8:1::/64"), heard("ethb", now, "2001:db8:1::/64", "2001:db8:2::/64")}, "[2001:db8:2::11/64]", ""},
		"of one network": {[]Event{heard("etha", now, "2001:db8:1::/64"), heard("ethb", now, "2001:db8:1::/64")}, "[2001:db8:1::11/64]", ""},
		"of the LAN":     {[]Event{lent("etha", "", "2001:db8:1:100::/56", now.Add(time.Hour)), heard("ethb", now, "2001:db8:1:101::/64")}, "[]", "is part of 2001:db8:1:101::/64 on lan0"},
	} {
		s := stateOf(t, "lan: [{interface: lan0, subnet: 1}]\n", now)
		for _, e := range tt.events {
			s = Step(s, e, now)
		}
		u := s.Named("b")
		if got := addressesText(u); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if o := u.addressObstacle(&u.Paths[IPv6]); tt.reason != "" && !strings.Contains(o.reason, tt.reason) {
			t.Errorf("%s: the obstacle is %q, want %q", name, o.reason, tt.reason)
		}
	}
}

// An address is left before the kernel deprecates it, and what has it goes on.
func TestLeavesBeforeDeprecation(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "", now)
	s = Step(s, heard("ethb", now, "2001:db8:2::/64"), now)
	u := s.Named("b")
	p := &u.Paths[IPv6]
	p.Assigned = u.Addresses(p)
	p.Preferred = p.Assigned
	for _, tt := range []struct {
		left time.Duration // of the preferred lifetime
		want bool
	}{{time.Minute, true}, {4 * time.Second, true}, {2 * time.Second, false}, {-time.Second, false}} {
		at := now.Add(time.Hour - tt.left)
		next := Step(s, Sampled{}, at)
		u := next.Named("b")
		if got := u.deprecated(&u.Paths[IPv6]) == ""; got != tt.want {
			t.Errorf("%v before it is deprecated new connections may take it: %v, want %v", tt.left, got, tt.want)
		}
		if len(u.Addresses(&u.Paths[IPv6])) != 1 {
			t.Errorf("%v before it is deprecated it is gone", tt.left)
		}
	}
}

// Which networks the LAN has, as prefixes come and go.
func TestLANNets(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const one, two, other = "2001:db8:1:100::/56", "2001:db8:2:100::/56", "2001:db8:1:200::/56"
	s := stateOf(t, "lan: [{interface: lan0, subnet: 1}]\n", now)
	text := func() string {
		var list []string
		for _, n := range s.LANNets {
			list = append(list, fmt.Sprintf("%s %s %v", n.Prefix, n.Of, n.Former))
		}
		return strings.Join(list, ", ")
	}
	step := func(after time.Duration, e Event, want string) {
		t.Helper()
		now = now.Add(after)
		if s = Step(s, e, now); text() != want {
			t.Errorf("the LAN has %q, want %q (%s)", text(), want, s.Uplinks[0].Paths[IPv6].PrefixClash)
		}
	}
	step(time.Second, lent("ethb", "", two, now.Add(time.Hour)), "") // the first may yet have one
	step(time.Second, lent("etha", "", one, now.Add(time.Hour)), "2001:db8:1:101::/64 a false")
	step(time.Minute, lent("etha", "", one, now.Add(2*time.Hour)), "2001:db8:1:101::/64 a false")
	step(time.Minute, lent("etha", "", other, now.Add(4*time.Hour)), "2001:db8:1:201::/64 a false, 2001:db8:1:101::/64 a true")
	from := func(u *Uplink) (list []string) {
		for _, x := range s.translations(u, &u.Paths[IPv6]) {
			list = append(list, fmt.Sprintf("%s to %s", x.From, x.To))
		}
		return list
	}
	if got, want := from(s.Named("a")), []string{"2001:db8:1:101::/64 to 2001:db8:1:201::/64"}; !slices.Equal(got, want) {
		t.Errorf("by a %v, want %v", got, want)
	}
	if got, want := from(s.Named("b")), []string{"2001:db8:1:201::/64 to 2001:db8:2:101::/64", "2001:db8:1:101::/64 to 2001:db8:2:101::/64"}; !slices.Equal(got, want) {
		t.Errorf("by b %v, want %v", got, want)
	}
	// The old one ends when it was to end before, which is less than two hours.
	step(2*time.Hour, Sampled{}, "2001:db8:1:201::/64 a false")
	// Its provider gives nothing any more: the other one's takes its place at once, and both are known.
	step(time.Second, LeaseChanged{Interface: "etha", Family: IPv6, Report: LeaseReport{State: "soliciting"}},
		"2001:db8:1:201::/64 a false")
	step(time.Second, lent("ethb", "", two, now.Add(9*time.Hour)), "2001:db8:2:101::/64 b false, 2001:db8:1:201::/64 a true")
	// It is back, and the hosts stay with what they have.
	step(time.Second, lent("etha", "", other, now.Add(9*time.Hour)), "2001:db8:2:101::/64 b false, 2001:db8:1:201::/64 a true")
}

// The n-th /64 of a prefix.
func TestSubnetOf(t *testing.T) {
	for _, tt := range []struct {
		prefix string
		n      uint32
		want   string
	}{
		{"2001:db8:1:100::/56", 0, "2001:db8:1:100::/64"},
		{"2001:db8:1:100::/56", 255, "2001:db8:1:1ff::/64"},
		{"2001:db8:1:100::/56", 256, ""},
		{"2001:db8:1:1::/64", 0, "2001:db8:1:1::/64"},
		{"2001:db8:1:1::/64", 1, ""},
		{"2001:db8::/32", 1 << 31, "2001:db8:8000::/64"},
		{"2001:db8::/16", 1<<32 - 1, "2001:0:ffff:ffff::/64"},
	} {
		got, ok := subnetOf(netip.MustParsePrefix(tt.prefix), tt.n)
		if text := got.String(); ok != (tt.want != "") || ok && text != tt.want {
			t.Errorf("subnet %d of %s is %s, %v, want %s", tt.n, tt.prefix, text, ok, tt.want)
		}
	}
}

// Two uplinks give the LAN's packets what is theirs; neither lets one out with the other's.
func TestForeignSources(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "lan: [{interface: lan0, subnet: 1}]\n", now)
	for _, e := range []Event{
		heard("etha", now, "2001:db8:1::/64"), heard("ethb", now, "2001:db8:2::/64"),
		lent("etha", "", "2001:db8:1:100::/56", now.Add(time.Hour)), lent("ethb", "", "2001:db8:2:100::/56", now.Add(time.Hour)),
	} {
		s = Step(s, e, now)
	}
	set := s.foreignTo(s.Named("b"))
	has := func(a string) bool {
		addr := netip.MustParseAddr(a)
		return slices.ContainsFunc(set.Ranges, func(r firewall.AddressRange) bool {
			return !addr.Less(r.First) && !r.Last.Less(addr)
		})
	}
	for a, want := range map[string]bool{
		"2001:db8:1::10": true, "2001:db8:1:101::5": true, "2001:db8:1:1ff::1": true,
		"2001:db8:2::11": false, "2001:db8:2:101::5": false, "2001:db8:9::1": false, "fe80::11": false,
	} {
		if has(a) != want {
			t.Errorf("%s may not leave by b: %v, want %v", a, has(a), want)
		}
	}
}

// An address that has gone is still nobody else's: the kernel resets connections that were ended with it, and the
// packets went out by the other uplink (lab TestIPv6Orders, beside a busy lane).
func TestForeignSourcesThatHaveGone(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "", now)
	s = Step(s, heard("etha", now, "2001:db8:1::/64"), now)
	s = Step(s, heard("ethb", now, "2001:db8:2::/64"), now)
	u := s.Named("a")
	p := &u.Paths[IPv6]
	p.Assigned = u.Addresses(p)
	if len(p.Assigned) != 1 {
		t.Fatalf("a has %v", p.Assigned)
	}
	gone := p.Assigned[0]
	u.noteAssigned(p)
	p.Assigned, p.Lease, p.Advert, p.Report = nil, nil, Advert{}, LeaseReport{}
	if list := u.Addresses(p); len(list) > 0 {
		t.Fatalf("a still has %v: this tests nothing", list)
	}
	has := func(set *firewall.Prefixes) bool {
		return set != nil && slices.ContainsFunc(set.Ranges, func(r firewall.AddressRange) bool {
			return !gone.Addr().Less(r.First) && !r.Last.Less(gone.Addr())
		})
	}
	if !has(s.foreignTo(s.Named("b"))) {
		t.Errorf("%s may leave by b", gone)
	}
}

// IPv6 has no last resort while IPv4 is up: who finds it unreachable takes IPv4.
func TestNoLastResortBesideIPv4(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "", now)
	s = Step(s, heard("ethb", now, "2001:db8:2::/64"), now)
	s.Settled = true
	u := s.Named("b")
	p := &u.Paths[IPv6]
	p.Assigned = u.Addresses(p)
	p.Preferred, p.OperState = p.Assigned, api.Down
	for state, want := range map[api.OperState]int{api.Down: 1, api.Up: 0} {
		u.Paths[IPv4].OperState = state
		if got := s.chooseCarriers(IPv6); len(got) != want {
			t.Errorf("with IPv4 %s the last resort of IPv6 is %v", state, got)
		}
	}
	if s.Config.Routes.LastResort != configs.LastResortKeep {
		t.Error("the last resort is not the default one")
	}
}

// A family that a new configuration adds long after the start begins as at a start: it was said to have come
// down from what it had been before it was removed.
func TestReloadAddsAFamily(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "", now)
	with := s.Config
	without := with
	without.Uplinks = slices.Clone(with.Uplinks)
	for i := range without.Uplinks {
		without.Uplinks[i].IPv6 = configs.IPv6{}
	}
	now = now.Add(startLimit)
	s = Step(s, Resumed{}, now)
	if state := s.Uplinks[0].Paths[IPv6].OperState; state != api.Down {
		t.Fatalf("without routers the state is %s", state)
	}
	one := Step(s, Reloaded{Config: without}, now)
	var gone []string
	for _, e := range Changes(s, one, now) {
		if e.Kind == api.EventState {
			gone = append(gone, fmt.Sprint(e.Uplink, " ", e.Family, " ", e.From, " ", e.To))
		}
	}
	if want := []string{"a ipv6 down down", "b ipv6 down down"}; !slices.Equal(gone, want) {
		t.Errorf("removed: %q, want %q", gone, want)
	}
	two := Step(one, Reloaded{Config: with}, now)
	if state := two.Uplinks[0].Paths[IPv6].OperState; state != api.Starting {
		t.Errorf("added: the state is %s", state)
	}
	for _, e := range Changes(one, two, now) {
		if e.Kind == api.EventState {
			t.Errorf("added: %+v", e)
		}
	}
	if three := Step(two, Resumed{}, now.Add(startLimit)); three.Uplinks[0].Paths[IPv6].OperState != api.Down {
		t.Errorf("and after %v still %s", startLimit, three.Uplinks[0].Paths[IPv6].OperState)
	}
}

// A prefix that holds what others need is not used, whoever delegates it: it made a route in main, which is asked
// before all others, and the other uplink's probes failed by it.
func TestDelegationThatHoldsOthers(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for prefix, want := range map[string]string{
		"2001:db8:1:100::/56": "",
		"2001:db8:2::/48":     "an address of b, 2001:db8:2::11/64",
		"2001:db8:2:100::/56": "a prefix of b",
		"2001:db8:53::/48":    "a name server of b, 2001:db8:53::1",
		"fd00:a:b::/48":       "which this site routes elsewhere",
		"2001:db8:3:f0::/64":  "ask for a shorter one",
	} {
		s := stateOf(t, "lan: [{interface: lan0, subnet: 1}]\n", now)
		s.Site = []netip.Prefix{netip.MustParsePrefix("fd00::/16")}
		b := lent("ethb", "", "2001:db8:2:100::/56", now.Add(time.Hour)).(LeaseChanged)
		b.Report.Lease.DNS = []netip.Addr{netip.MustParseAddr("2001:db8:53::1")}
		own := netip.MustParsePrefix("2001:db8:2::11/64")
		s.Named("b").Paths[IPv6].Assigned = []netip.Prefix{own}
		for _, e := range []Event{heard("ethb", now, "2001:db8:2::/64"), b, lent("etha", "", prefix, now.Add(time.Hour))} {
			s = Step(s, e, now)
		}
		u := s.Named("a")
		if want == "a prefix of b" {
			u = s.Named("b") // the first of the file has it
			want = "a prefix of a"
		}
		used := len(u.Delegated()) > 0
		if got := u.Paths[IPv6].PrefixClash; want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
		if may := want == "" || strings.Contains(want, "shorter"); used != may {
			t.Errorf("%s is used: %v, want %v", prefix, used, may)
		}
	}
}

// Of two uplinks that are given one prefix, that one has it whose network the LAN has, also when the other is
// the first of the file; and the other one when its provider takes it away. It counted as in use for both, and
// the LAN's hosts went out by either with the same addresses.
func TestOnePrefixOfTwo(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const prefix = "2001:db8:9:100::/56"
	for _, order := range [][]string{{"a", "b"}, {"b", "a"}} {
		s := stateOf(t, "lan: [{interface: lan0, subnet: 1}]\n", now)
		at := now.Add(startLimit) // nobody is waited for any more
		has := func(want string) {
			t.Helper()
			var got []string
			for i := range s.Uplinks {
				if len(s.Uplinks[i].Delegated()) > 0 {
					got = append(got, s.Uplinks[i].Config.Name)
				}
			}
			if text := strings.Join(got, " "); text != want || len(s.LANNets) != 1 || s.LANNets[0].Of != want {
				t.Errorf("%v: the prefix has %q, the LAN %+v, want %q for both", order, text, s.LANNets, want)
			}
		}
		for _, name := range order {
			s = Step(s, lent("eth"+name, "", prefix, at.Add(time.Hour)), at)
			has(order[0])
		}
		s = Step(s, LeaseChanged{Interface: "eth" + order[0], Family: IPv6, Report: LeaseReport{State: "soliciting"}}, at)
		has(order[1])
	}
}

// An uplink that is renamed still numbers the LAN, also where another of the file has a prefix by now; and so when
// two change their names.
func TestLANKeepsItsOwner(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "lan: [{interface: lan0, subnet: 1}]\n", now)
	at := now.Add(startLimit)
	s = Step(s, lent("ethb", "", "2001:db8:2:100::/56", at.Add(time.Hour)), at)
	s = Step(s, lent("etha", "", "2001:db8:1:100::/56", at.Add(time.Hour)), at)
	swapped := s.Config
	swapped.Uplinks = slices.Clone(s.Config.Uplinks)
	swapped.Uplinks[0].Name, swapped.Uplinks[1].Name = "b", "a"
	s = Step(s, Reloaded{Config: swapped}, at)
	if len(s.LANNets) != 1 || s.LANNets[0].Prefix.String() != "2001:db8:2:101::/64" || s.LANNets[0].Of != "a" {
		t.Errorf("the LAN has %+v", s.LANNets)
	}
}

// Renumbering at one stroke: the old address is deprecated and a new one named. The path goes on with the old one
// until the new one serves; it was down meanwhile, and all connections ended.
func TestRenumberingEndsNothing(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "", now)
	s = Step(s, heard("ethb", now, "2001:db8:2::/64"), now)
	old := netip.MustParsePrefix("2001:db8:2::11/64")
	seen := routes.State{At: now, MainRule: true, MainRule6: true}
	for i := range s.Uplinks {
		seen.Links = append(seen.Links, s.Uplinks[i].Device.Link)
		seen.Addresses = append(seen.Addresses, routes.Address{
			Interface: s.Uplinks[i].Config.Interface, Prefix: netip.PrefixFrom(s.Uplinks[i].Device.LinkLocal, 64),
		})
	}
	seen.Addresses = append(seen.Addresses, routes.Address{Interface: "ethb", Prefix: old})
	s = Step(s, Observed{routes.Applied{State: seen, Observed: []string{"etha", "ethb"}}}, now)
	if got := addressesText(s.Named("b")); got != "[2001:db8:2::11/64]" {
		t.Fatalf("it has %s", got)
	}
	e := heard("ethb", now, "2001:db8:2::/64", "2001:db8:3::/64").(AdvertChanged)
	e.Advert.Prefixes[0].Preferred = now
	s = Step(s, e, now)
	u := s.Named("b")
	if got := addressesText(u); got != "[2001:db8:2::11/64 2001:db8:3::11/64]" {
		t.Errorf("it has %s", got)
	}
	if o := u.obstacle(&u.Paths[IPv6]); o.reason != "" {
		t.Errorf("the obstacle is %q", o.reason)
	}
}

// As many old addresses as an uplink may have do not keep a new one away.
func TestOldAddressesMakeRoom(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := stateOf(t, "", now)
	var networks []string
	for n := range lentMost + 1 {
		networks = append(networks, fmt.Sprintf("2001:db8:%x::/64", n))
	}
	e := heard("ethb", now, networks...).(AdvertChanged)
	p := &s.Named("b").Paths[IPv6]
	for n := range lentMost {
		e.Advert.Prefixes[n].Preferred = now
		p.Assigned = append(p.Assigned, netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::11/64", n)))
	}
	s = Step(s, e, now)
	if got := addressesText(s.Named("b")); !strings.HasPrefix(got, "[2001:db8::11/64 ") ||
		!strings.HasSuffix(got, fmt.Sprintf(" 2001:db8:%x::11/64]", lentMost)) {
		t.Errorf("it has %s, want an old one first, and the new one", got)
	}
}

// Rules of others after ours, as those of a tunnel, go on leading while no uplink carries IPv6: the rule that leads
// nowhere stands before them, and took what they lead.
func TestNowhereLeavesOthersRules(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, tt := range map[string]struct {
		rule routes.Rule
		want bool // that the rule to nowhere is there
	}{
		"none":              {routes.Rule{}, true},
		"a tunnel's":        {routes.Rule{V6: true, Priority: 32765, Table: 51820}, false},
		"of IPv4":           {routes.Rule{Priority: 32765, Table: 51820}, true},
		"before ours":       {routes.Rule{V6: true, Priority: 100, Table: 77}, true},
		"of ours":           {routes.Rule{V6: true, Priority: 20300, Table: 501, Protocol: 201}, true},
		"to main":           {routes.Rule{V6: true, Priority: 30000, Table: routes.TableMain}, true},
		"after the default": {routes.Rule{V6: true, Priority: 40000, Table: 77}, true},
	} {
		s := stateOf(t, "", now)
		seen := routes.State{At: now, MainRule: true, MainRule6: true}
		if tt.rule != (routes.Rule{}) {
			seen.Rules = []routes.Rule{tt.rule}
		}
		now = now.Add(startLimit)
		s = Step(s, Observed{routes.Applied{State: seen, Observed: []string{"etha", "ethb"}}}, now)
		set := Desired(&s)
		if got := slices.ContainsFunc(set.Rules, func(r routes.Rule) bool { return r.Unreachable }); got != tt.want {
			t.Errorf("%s: unreachable %v, want %v", name, got, tt.want)
		}
	}
}
