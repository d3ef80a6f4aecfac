package routes_test

import (
	"errors"
	"net/netip"
	"testing"

	"uplinkd/routes"
)

// Connections were cut, and began anew into nothing, while the rule that leads to the
// default route was refused (review before the release).
func TestLeads(t *testing.T) {
	route := routes.Route{RouteKey: routes.RouteKey{Table: 501, Dst: netip.MustParsePrefix("0.0.0.0/0")}}
	for name, tt := range map[string]struct {
		pending routes.Op
		want    bool
	}{
		"a route":               {routes.AddRoute{Route: route}, false},
		"a rule":                {routes.AddRule{Rule: routes.Rule{Priority: 20900, Table: 300}}, false},
		"a link":                {routes.SetLinkUp{Interface: "eth1"}, true},
		"a route that is to go": {routes.DeleteRoute{Route: route}, true},
	} {
		a := routes.Applied{Pending: []routes.Pending{{Op: tt.pending, Err: errors.New("refused")}}}
		if a.Leads() != tt.want {
			t.Errorf("while %s waits: %v, want %v", name, a.Leads(), tt.want)
		}
	}
}
