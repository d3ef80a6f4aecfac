package routes

import (
	"fmt"
	"net/netip"
)

// Endpoints is how many of the kernel's numbers for MPTCP endpoints are ours, from
// Owner.Protocol on: as many as the kernel takes of all (MPTCP_PM_ADDR_MAX).
const Endpoints = 8

// An Endpoint is an address by which MPTCP connections of this host may have another subflow
// (RFC 8684, ip-mptcp(8)).
type Endpoint struct {
	ID        uint8 // in the kernel; 0 in a Set: one of ours, whichever is free
	Address   netip.Addr
	Interface string // "": any
	Backup    bool   // only while no subflow without it works
}

// firstEndpoint is the first of our numbers. An endpoint has no other place for a tag, and
// the kernel gives those that it chooses itself from 1 on.
func (o Owner) firstEndpoint() uint8 { return min(o.Protocol, 255-Endpoints+1) }

// OwnsEndpoint reports whether an endpoint has one of our numbers.
func (o Owner) OwnsEndpoint(e Endpoint) bool {
	return e.ID >= o.firstEndpoint() && e.ID-o.firstEndpoint() < Endpoints
}

// Key names the endpoint.
func (e Endpoint) Key() Key {
	return Key{Kind: KindEndpoint, V6: !e.Address.Is4(), ID: e.Address.String() + " dev " + e.Interface}
}

func (e Endpoint) flags() string {
	if e.Backup {
		return "subflow backup"
	}
	return "subflow"
}

// String returns the endpoint as ip(8) takes it.
func (e Endpoint) String() string {
	return fmt.Sprintf("%s dev %s id %d %s", e.Address, e.Interface, e.ID, e.flags())
}
