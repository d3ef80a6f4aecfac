package routestest

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"uplinkd/routes"
)

// contractEndpoints: an endpoint is put, made backup and taken away by its number; foreign
// ones are read, and stay.
func contractEndpoints(t *testing.T, w World) {
	t.Helper()
	scope := scope
	scope.MPTCP = true
	ask := func() []routes.Endpoint {
		state, err := w.Kernel.Read(context.Background(), scope)
		if err != nil {
			t.Fatal(err)
		}
		return state.Endpoints
	}
	if w.NoMPTCP {
		t.Skip("this kernel has no MPTCP")
	}
	foreign := ask()
	mine := routes.Endpoint{ID: 203, Address: netip.MustParseAddr("192.0.2.5"), Interface: "up0", Protocol: 201}
	other := routes.Endpoint{ID: 205, Address: netip.MustParseAddr("198.51.100.7"), Interface: "down0", Protocol: 201}
	do(t, w, routes.PutEndpoint{Endpoint: mine}, routes.PutEndpoint{Endpoint: other})
	same(t, "added", append(slices.Clone(foreign), mine, other), ask())
	mine.Backup = true
	do(t, w, routes.PutEndpoint{Endpoint: mine})
	same(t, "backup", append(slices.Clone(foreign), mine, other), ask())
	mine.Backup = false
	do(t, w, routes.PutEndpoint{Endpoint: mine})
	same(t, "no backup", append(slices.Clone(foreign), mine, other), ask())
	other.Address, other.Interface = netip.MustParseAddr("198.51.100.8"), "up0"
	do(t, w, routes.PutEndpoint{Endpoint: other})
	same(t, "of another address", append(slices.Clone(foreign), mine, other), ask())

	state, err := w.Kernel.Read(context.Background(), scope)
	if err != nil {
		t.Fatal(err)
	}
	want := routes.Set{
		Owner: owner, Prune: true,
		Endpoints: []routes.Endpoint{{Address: mine.Address, Interface: "up0", Protocol: owner.Protocol}},
	}
	do(t, w, routes.Diff(want, state).Ops...)
	same(t, "only one is wanted", append(slices.Clone(foreign), mine), ask())
	do(t, w, routes.DeleteEndpoint{Endpoint: mine})
	same(t, "none", foreign, ask())
}
