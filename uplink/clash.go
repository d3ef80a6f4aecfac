package uplink

import (
	"fmt"
	"net/netip"

	"uplinkd/configs"
)

// clash returns why the lease of the i-th uplink must not be used beside the
// other uplinks, "" when it may. A provider that gives an address in a network
// of another provider would draw the traffic for that one to itself; a network
// that is wholly the same is what carrier-grade NAT gives, and taken. The first
// to be in use wins, then the first in the file.
func (s *State) clash(i int) string {
	u := &s.Uplinks[i]
	if u.Config.Address != configs.AddressDHCP || u.DHCP.Lease == nil {
		return ""
	}
	lease := u.DHCP.Lease.Prefix
	for _, a := range s.LAN {
		// A route to the lease's network, when it is more specific than that to the
		// LAN or the same, would lead part of the LAN to the provider.
		if a.Prefix.Overlaps(lease) && a.Prefix.Bits() <= lease.Bits() && !a.Prefix.IsSingleIP() {
			return fmt.Sprintf("the lease's network %s is part of %s on %s: change one of them",
				lease.Masked(), a.Prefix.Masked(), a.Interface)
		}
	}
	for j := range s.Uplinks {
		other := &s.Uplinks[j]
		if i == j || !other.precedes(u, j < i) {
			continue
		}
		if hop, ok := other.NextHop(); ok && hop.Gateway == lease.Addr() {
			return fmt.Sprintf("the lease's address %s is the gateway of %s: have the provider give another",
				lease.Addr(), other.Config.Name)
		}
		for _, a := range other.Addresses() {
			if a.Prefix.Overlaps(lease) && a.Prefix.Masked() != lease.Masked() {
				return fmt.Sprintf("the lease's network %s overlaps %s of %s: have one of the providers change it",
					lease.Masked(), a.Prefix.Masked(), other.Config.Name)
			}
		}
	}
	return ""
}

// precedes reports whether u's network counts for more than other's lease.
func (u *Uplink) precedes(other *Uplink, earlier bool) bool {
	if u.Config.Address != configs.AddressDHCP {
		return true
	}
	if u.seen() != other.seen() {
		return u.seen()
	}
	return earlier && u.Clash == ""
}

// mtu returns what the uplink's interface is to have as its MTU, 0 for what it
// has. Below what IPv6 needs (RFC 8200 section 5) the kernel takes that off the
// interface, and no provider means it.
func (u *Uplink) mtu() int {
	lease := u.lease()
	if u.Config.DHCP.MTU != configs.MTUAccept || lease == nil || lease.MTU < mtuLeast || lease.MTU > mtuMost {
		return 0
	}
	return lease.MTU
}

const (
	mtuLeast = 1280
	mtuMost  = 1500 // Ethernet's; what is more a device may not take, or the way not carry
)

// netmask returns the subnet mask of a prefix, as people write it.
func netmask(p netip.Prefix) netip.Addr {
	ones, _ := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(p.Bits())
	return ones.Addr()
}
