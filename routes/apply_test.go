package routes_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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
