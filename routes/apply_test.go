package routes_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uplinkd/routes"
	"uplinkd/routes/routestest"
)

// Apply changes nothing of what it is given: a State is a value, and others may
// hold it.
func TestApplyLeavesItsArgument(t *testing.T) {
	f := routestest.ThreeLinks()
	apply(t, f, routestest.Set(true, one, two))
	random := rand.New(rand.NewPCG(5, 6))
	pick := []routes.Set{
		routestest.Set(true, two, three), routestest.Set(true), routestest.Set(true, one, two, three),
		{Owner: owner, Prune: true, Leave: true},
	}
	for range 200 {
		before := f.State()
		want := pick[random.IntN(len(pick))]
		copied := deepCopy(before)
		state := before
		for _, op := range routes.Diff(want, read(t, f, want)).Ops {
			state = routes.Apply(state, op)
			if err := f.Do(context.Background(), op); err != nil {
				t.Fatal(err)
			}
		}
		if fmt.Sprintf("%+v", copied) != fmt.Sprintf("%+v", before) {
			t.Fatalf("the state before has changed, from\n%+v\nto\n%+v", copied, before)
		}
		held := f.State()
		held.At = state.At
		if text := fmt.Sprintf("%+v", state); text != fmt.Sprintf("%+v", held) {
			t.Fatalf("the fake holds\n%+v\nand Apply says\n%s", held, text)
		}
	}
}

func deepCopy(s routes.State) routes.State {
	s.Links = append([]routes.Link(nil), s.Links...)
	s.Addresses = append([]routes.Address(nil), s.Addresses...)
	s.Rules = append([]routes.Rule(nil), s.Rules...)
	s.Settings = append([]routes.Setting(nil), s.Settings...)
	s.Saved = append([]routes.Saved(nil), s.Saved...)
	s.RaisedUp = append([]string(nil), s.RaisedUp...)
	list := []routes.Route(nil)
	for _, r := range s.Routes {
		r.NextHops = append([]routes.NextHop(nil), r.NextHops...)
		list = append(list, r)
	}
	s.Routes = list
	return s
}

// Keys tell apart what the kernel tells apart, and name what is the same alike.
func TestKeys(t *testing.T) {
	a := routes.Address{Interface: "eth1", Prefix: one.Prefix()}
	later := a
	later.Until = time.Now()
	r := routestest.DefaultRoute(501, 0, routes.NextHop{Interface: "eth1", Weight: 1})
	rule := routes.Rule{Priority: 20100, Mark: 1, Mask: 0xff, Table: 501, Protocol: 201}
	foreign := rule
	foreign.Protocol = 0
	for name, tt := range map[string]struct {
		a, b routes.Key
		same bool
	}{
		"an address and its refresh":       {routes.KeyOf(routes.PutAddress{Address: a}), routes.KeyOf(routes.PutAddress{Address: later}), true},
		"put and delete":                   {routes.KeyOf(routes.PutAddress{Address: a}), routes.KeyOf(routes.DeleteAddress{Address: a}), true},
		"add, replace":                     {routes.KeyOf(routes.AddRoute{Route: r}), routes.KeyOf(routes.ReplaceRoute{Route: routestest.DefaultRoute(501, 0)}), true},
		"another metric":                   {r.Key(), routestest.DefaultRoute(501, 65535).Key(), false},
		"another table":                    {r.Key(), routestest.DefaultRoute(502, 0).Key(), false},
		"whose a rule is":                  {rule.Key(), foreign.Key(), true},
		"a setting and its being restored": {routes.NewSysctl("net/a", "1").Key(), routes.KeyOf(routes.RestoreSetting{Saved: routes.Saved{Setting: routes.NewSysctl("net/a", "0"), Set: "1"}}), true},
		"an MTU and a sysctl":              {routes.NewMTU("eth1", "1400").Key(), routes.NewSysctl("eth1", "1400").Key(), false},
	} {
		if (tt.a == tt.b) != tt.same {
			t.Errorf("%s: %s and %s, same %v, want %v", name, tt.a, tt.b, tt.a == tt.b, tt.same)
		}
	}
	if got := rule.Key().String(); got != "rule pref 20100 fwmark 0x1/0xff lookup 501" {
		t.Errorf("a rule's key reads %q", got)
	}
	if got := r.Key().String(); got != "route default table 501" {
		t.Errorf("a route's key reads %q", got)
	}
}

// An IPv6 address that was not there does not serve before others have been asked; one that was only
// deprecated does at once.
func TestAddressesOfIPv6AreAskedAbout(t *testing.T) {
	a := routes.Address{Interface: "eth1", Prefix: netip.MustParsePrefix("2001:db8::5/64")}
	four := routes.Address{Interface: "eth1", Prefix: netip.MustParsePrefix("192.0.2.5/24")}
	trusted := routes.Address{Interface: "lan0", Prefix: netip.MustParsePrefix("2001:db8:1::1/64"), NoDAD: true}
	var s routes.State
	for _, x := range []routes.Address{a, four, trusted} {
		s = routes.Apply(s, routes.PutAddress{Address: x})
	}
	if c := s.Addresses; c[0].Condition != routes.Tentative || c[1].Condition != routes.Serves || c[2].Condition != routes.Serves {
		t.Errorf("put: %+v", c)
	}
	if c := s.Asked().Addresses; c[0].Condition != routes.Serves {
		t.Errorf("asked: %+v", c)
	}
	s.Addresses[0].Condition = routes.Deprecated
	if c := routes.Apply(s, routes.PutAddress{Address: a}).Addresses; c[0].Condition != routes.Serves {
		t.Errorf("put again: %+v", c)
	}
}

// What the kernel is told of an IPv6 address's lifetimes, and when it is told again.
func TestLifetimesOfIPv6(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	in := now.Add
	prefix := netip.MustParsePrefix("2001:db8::5/64")
	owner := routes.Owner{Protocol: 201, RulePriority: 20000}
	for name, tt := range map[string]struct {
		want, have routes.Address
		op         string // "": none
	}{
		"fits":             {routes.Address{Preferred: in(time.Hour), Until: in(2 * time.Hour)}, routes.Address{Preferred: in(time.Hour), Until: in(2 * time.Hour)}, ""},
		"a little shorter": {routes.Address{Preferred: in(time.Hour), Until: in(2 * time.Hour)}, routes.Address{Preferred: in(59 * time.Minute), Until: in(119 * time.Minute)}, ""},
		"preferred anew":   {routes.Address{Preferred: in(time.Hour), Until: in(2 * time.Hour)}, routes.Address{Preferred: in(time.Minute), Until: in(2 * time.Hour)}, "valid_lft 7200 preferred_lft 3600"},
		"deprecated by another": {
			routes.Address{Preferred: in(time.Hour), Until: in(2 * time.Hour)},
			routes.Address{Until: in(2 * time.Hour), Condition: routes.Deprecated},
			"valid_lft 7200 preferred_lft 3600",
		},
		"deprecated by us":   {routes.Address{Preferred: now, Until: in(2 * time.Hour)}, routes.Address{Preferred: in(time.Hour), Until: in(2 * time.Hour)}, "valid_lft 7200 preferred_lft 0"},
		"deprecated already": {routes.Address{Preferred: now, Until: in(2 * time.Hour)}, routes.Address{Until: in(2 * time.Hour), Condition: routes.Deprecated}, ""},
		"for good, and not preferred": {
			routes.Address{Preferred: in(time.Hour)}, routes.Address{}, "valid_lft forever preferred_lft 3600",
		},
	} {
		tt.want.Interface, tt.want.Prefix, tt.want.Protocol = "eth1", prefix, 201
		tt.have.Interface, tt.have.Prefix, tt.have.Protocol = "eth1", prefix, 201
		plan := routes.Diff(routes.Set{Owner: owner, Addresses: []routes.Address{tt.want}}, routes.State{
			At: now, Links: []routes.Link{{Name: "eth1", Index: 2, Up: true}}, Addresses: []routes.Address{tt.have},
		})
		text := ""
		for _, op := range plan.Ops {
			text += op.String()
		}
		if tt.op == "" != (text == "") || !strings.Contains(text, tt.op) {
			t.Errorf("%s: %q, want %q", name, text, tt.op)
		}
	}
}
