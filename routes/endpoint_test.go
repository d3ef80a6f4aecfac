package routes_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"uplinkd/routes"
	"uplinkd/routes/routestest"
)

// endpointAt is one of ours.
func endpointAt(id uint8, last byte) routes.Endpoint {
	return routes.Endpoint{ID: id, Address: netip.AddrFrom4([4]byte{192, 0, 2, last}), Interface: "eth1", Protocol: owner.Protocol}
}

func foreignAt(id uint8, last byte) routes.Endpoint {
	e := endpointAt(id, last)
	e.Protocol = 0
	return e
}

func TestEndpointPlan(t *testing.T) {
	backup := endpointAt(0, 1)
	backup.Backup = true
	var full []routes.Endpoint
	for n := range byte(routes.Endpoints) {
		full = append(full, endpointAt(201+n, 100+n))
	}
	for name, tt := range map[string]struct {
		have, want []routes.Endpoint
		plan       string
	}{
		"none":         {nil, []routes.Endpoint{endpointAt(0, 1)}, "ip mptcp endpoint add 192.0.2.1 dev eth1 id 201 subflow"},
		"there":        {[]routes.Endpoint{endpointAt(204, 1)}, []routes.Endpoint{endpointAt(0, 1)}, ""},
		"a second one": {[]routes.Endpoint{endpointAt(201, 1)}, []routes.Endpoint{endpointAt(0, 1), endpointAt(0, 2)}, "ip mptcp endpoint add 192.0.2.2 dev eth1 id 202 subflow"},
		"backup":       {[]routes.Endpoint{endpointAt(204, 1)}, []routes.Endpoint{backup}, "ip mptcp endpoint add 192.0.2.1 dev eth1 id 204 subflow backup"},
		"another address": {
			[]routes.Endpoint{endpointAt(201, 1)},
			[]routes.Endpoint{endpointAt(0, 2)},
			"ip mptcp endpoint add 192.0.2.2 dev eth1 id 202 subflow\nip mptcp endpoint delete id 201",
		},
		"no longer wanted":     {[]routes.Endpoint{endpointAt(201, 1)}, nil, "ip mptcp endpoint delete id 201"},
		"a foreign one":        {[]routes.Endpoint{foreignAt(7, 1)}, nil, ""},
		"a foreign one serves": {[]routes.Endpoint{foreignAt(7, 1)}, []routes.Endpoint{endpointAt(0, 1)}, ""},
		// The kernel gives what others add without a number the next one after ours.
		"a foreign one with a number next to ours": {
			[]routes.Endpoint{endpointAt(201, 1), foreignAt(202, 9)},
			[]routes.Endpoint{endpointAt(0, 1), endpointAt(0, 2)},
			"ip mptcp endpoint add 192.0.2.2 dev eth1 id 203 subflow",
		},
		"all numbers are stale":  {full, []routes.Endpoint{endpointAt(0, 1)}, "ip mptcp endpoint add 192.0.2.1 dev eth1 id 201 subflow\n" + deleted(202, 208)},
		"more than there may be": {full, append(slices.Clone(full), endpointAt(0, 1)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := routestest.ThreeLinks()
			f.Edit(func(s *routes.State) { s.Endpoints = tt.have })
			plan := apply(t, f, routes.Set{Owner: owner, Prune: true, Observe: []string{"eth1"}, Endpoints: tt.want})
			if got := text(plan); got != tt.plan {
				t.Errorf("the plan is\n%s\nwant\n%s", got, tt.plan)
			}
		})
	}
}

func deleted(first, last int) string {
	var lines []string
	for id := first; id <= last; id++ {
		lines = append(lines, fmt.Sprintf("ip mptcp endpoint delete id %d", id))
	}
	return strings.Join(lines, "\n")
}

// Whatever is there and wanted: one plan later it is so, a second one is empty, and foreign
// endpoints are as they were.
func TestEndpointsAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	foreign := func(s routes.State) []routes.Endpoint {
		return slices.DeleteFunc(slices.Clone(s.Endpoints), owner.OwnsEndpoint)
	}
	for range 2000 {
		f := routestest.ThreeLinks()
		f.Edit(func(s *routes.State) {
			for _, n := range random.Perm(12)[:random.IntN(8)] {
				id := uint8(200 + random.IntN(10))
				if !slices.ContainsFunc(s.Endpoints, func(e routes.Endpoint) bool { return e.ID == id }) {
					e := endpointAt(id, byte(n))
					if random.IntN(2) == 0 {
						e = foreignAt(id, byte(n))
					}
					e.Backup = random.IntN(2) == 0
					s.Endpoints = append(s.Endpoints, e)
				}
			}
		})
		before := foreign(f.State())
		want := routes.Set{Owner: owner, Prune: true, Observe: []string{"eth1"}}
		for _, n := range random.Perm(12)[:random.IntN(routes.Endpoints+1-len(before))] {
			e := endpointAt(0, byte(n))
			e.Backup = random.IntN(2) == 0
			want.Endpoints = append(want.Endpoints, e)
		}
		start := f.State()
		apply(t, f, want)
		if again := apply(t, f, want); len(again.Ops) > 0 {
			t.Fatalf("from %v to %v: a second plan has\n%s", start.Endpoints, want.Endpoints, text(again))
		}
		now := f.State()
		if !slices.Equal(before, foreign(now)) {
			t.Fatalf("from %v to %v: foreign ones are %v, and were %v", start.Endpoints, want.Endpoints, foreign(now), before)
		}
		for _, w := range want.Endpoints {
			if !slices.ContainsFunc(now.Endpoints, func(e routes.Endpoint) bool { return e.Address == w.Address }) {
				t.Fatalf("from %v to %v: %v is missing in %v", start.Endpoints, want.Endpoints, w, now.Endpoints)
			}
		}
		if len(now.Endpoints) > len(want.Endpoints)+len(before) {
			t.Fatalf("from %v to %v: too many are left: %v", start.Endpoints, want.Endpoints, now.Endpoints)
		}
	}
}
