package routes_test

import (
	"net/netip"
	"slices"
	"testing"

	"uplinkd/routes"
)

// What After has of endpoints, Endpoints has. From the figures: with 200 uplinks status applied all that was done at the
// start once for each of them, and gave no answer within nine seconds.
func TestEndpointsOfApplied(t *testing.T) {
	first := routes.Endpoint{ID: 1, Address: netip.MustParseAddr("192.0.2.5"), Interface: "eth1"}
	second := routes.Endpoint{ID: 2, Address: netip.MustParseAddr("198.51.100.5"), Interface: "eth2"}
	a := routes.Applied{
		State: routes.State{Endpoints: []routes.Endpoint{first}},
		Done: []routes.Op{
			routes.WriteSetting{Setting: routes.NewSysctl("net/ipv4/ip_forward", "1")},
			routes.PutEndpoint{Endpoint: second},
			routes.DeleteEndpoint{Endpoint: first},
		},
	}
	if got, want := a.Endpoints(), a.After().Endpoints; !slices.Equal(got, want) || len(got) != 1 || got[0].ID != 2 {
		t.Errorf("%v, want %v", got, want)
	}
}
