package routes

import (
	"fmt"
	"net/netip"
)

// Endpoints is how many of the kernel's numbers for MPTCP endpoints we choose from, from
// Owner.Protocol on: as many as the kernel takes endpoints (MPTCP_PM_ADDR_MAX).
const Endpoints = 8

// An Endpoint is an address by which MPTCP connections of this host may have another subflow
// (RFC 8684, ip-mptcp(8)).
type Endpoint struct {
	ID        uint8 // in the kernel; 0 in a Set: whichever is free
	Address   netip.Addr
	Interface string // "": any
	Backup    bool   // only while no subflow without it works
	NoSubflow bool   // it is announced to others alone, and this host uses it for nothing

	// Protocol is whose it is: ours by a record, for an endpoint has no place for a tag, and
	// what others put there is given any number, next to ours too. 0: somebody else's.
	Protocol uint8
}

// firstEndpoint is the first number that we choose.
func (o Owner) firstEndpoint() uint8 { return min(o.Protocol, 255-Endpoints+1) }

// OwnsEndpoint reports whether an endpoint is ours.
func (o Owner) OwnsEndpoint(e Endpoint) bool { return e.Protocol == o.Protocol }

// Key names the endpoint: the kernel tells them apart by their address alone.
func (e Endpoint) Key() Key {
	return Key{Kind: KindEndpoint, V6: !e.Address.Is4(), ID: e.Address.String()}
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
