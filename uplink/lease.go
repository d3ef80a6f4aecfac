package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
)

// A Lease is an address lent for a time, and what came with it, whatever protocol
// it came by.
type Lease struct {
	Prefix     netip.Prefix // the address with its network's prefix length
	Preferred  time.Time    // new connections take it until then; zero: as long as it is lent
	Deprecated bool         // new connections may not take it, or not for much longer
	Others     []Lent       // further addresses, of IPv6: most often of networks before
	Delegated  []Lent       // prefixes for the LAN (RFC 8415 section 6.3)

	Router netip.Addr // not valid: none was told
	Server netip.Addr
	DNS    []netip.Addr
	Domain string
	MTU    int // bytes; 0: not told

	Renew, Rebind, Expire time.Time // zero: never
}

// Same reports whether two leases mean the same to the host: address, router and
// MTU. Their times may differ.
func (l *Lease) Same(other *Lease) bool {
	if l == nil || other == nil {
		return l == other
	}
	return l.Prefix == other.Prefix && l.Router == other.Router && l.MTU == other.MTU
}

// A LeaseReport is what the client that keeps a path's lease says.
type LeaseReport struct {
	State  string // the protocol's word for it, for people
	Reason string
	Lease  *Lease // nil: none is in force. Another pointer: a server has answered

	// Asking is whether the answer of the server, or of the link, on the lease is
	// still to come, or nobody can be asked.
	Asking bool

	// Confirmed is whether a server has given or confirmed the lease to this
	// process. One that an earlier process left is not, until then.
	Confirmed bool

	Rival Rival
}

// A Rival is another host that claims the lease's address; its zero value is none.
type Rival struct {
	MAC string
	At  time.Time // when its claim was last taken note of
}

// Adopted is what was found of ours in the kernel at the start. It keeps
// traffic on the same routes until the path has been judged anew.
type Adopted struct {
	Carried   bool         // it was in the shared default route
	Prefix    netip.Prefix // its address, of a lease that we know no more of
	Preferred time.Time    // until when it is preferred; zero: never ends
	Until     time.Time    // when the kernel takes that address away; zero: never
	Gateway   netip.Addr   // the next hop in its table
	OnLink    bool
}

// expire forgets an adopted address when its time in the kernel is up.
func (a *Adopted) expire(now time.Time) {
	if !a.Until.IsZero() && !now.Before(a.Until) {
		a.Prefix, a.Until, a.Preferred = netip.Prefix{}, time.Time{}, time.Time{}
	}
	if !(Lent{Preferred: a.Preferred}).preferred(now) {
		a.Prefix, a.Preferred = netip.Prefix{}, time.Time{}
	}
}

// takeLease takes in what is new about the lease.
func (p *Path) takeLease(report LeaseReport) {
	had := p.Report.Lease
	p.Report = report
	if report.Lease == nil && had == nil {
		return
	}
	if !report.Lease.Same(had) {
		p.EverAssigned = nil
	}
	if report.Lease != had {
		p.OperatorRenews = 0 // there is an answer; the next wish begins anew
	}
	// Once a server has spoken, what was adopted has been confirmed or replaced.
	if report.Lease != nil && !report.Confirmed {
		return
	}
	if p.Family == IPv6 { // there the router tells the next hop, and perhaps the address
		if report.Lease != nil && report.Lease.Prefix.IsValid() {
			p.Adopted.Prefix = netip.Prefix{}
		}
		return
	}
	p.Adopted.Prefix, p.Adopted.Gateway = netip.Prefix{}, netip.Addr{}
}

// inForce returns the lease that the path goes by, nil when there is none. One
// that no server has confirmed to this process does not take the place of an
// address found in use; and while nobody can be asked, or the answer is still to
// come, the server's or another host's, an address that is not on the interface
// is not put there (RFC 2131 section 3.2).
func (p *Path) inForce() *Lease {
	lease := p.Report.Lease
	if lease == nil || slices.Contains(p.Assigned, lease.Prefix) && lease.Prefix == p.Adopted.Prefix {
		return lease
	}
	if p.Report.Asking && !slices.Contains(p.Assigned, lease.Prefix) {
		return nil
	}
	if !p.Report.Confirmed && p.Adopted.Prefix.IsValid() {
		return nil
	}
	return lease
}

// lent returns the addresses the path is to have now, and when each ends, the one it speaks
// by first. Those of an external uplink are what the interface has.
func (u *Uplink) lent(p *Path) []Lent {
	switch c := u.In(p.Family); c.Address {
	case configs.AddressStatic:
		return forGood(c.Prefixes)
	case configs.AddressExternal:
		return forGood(p.Assigned)
	case configs.AddressDHCP, configs.AddressAuto:
		switch {
		case p.Lease != nil && p.Lease.Prefix.IsValid():
			return append([]Lent{{p.Lease.Prefix, p.Lease.Preferred, p.Lease.Expire}}, p.Lease.Others...)
		case p.Adopted.Prefix.IsValid():
			return []Lent{{p.Adopted.Prefix, p.Adopted.Preferred, p.Adopted.Until}}
		}
	case configs.AddressNone:
	}
	return nil
}

// forGood returns addresses that nobody takes back.
func forGood(addresses []netip.Prefix) []Lent {
	list := make([]Lent, len(addresses))
	for i, a := range addresses {
		list[i].Prefix = a
	}
	return list
}

// private are the networks that are nobody's on the Internet, and so lead none of it
// away: those of RFC 1918, and carrier-grade NAT's (RFC 6598).
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("100.64.0.0/10"),
}

// keepsApart reports whether the network of an address must not be led to the uplink
// by its address alone, in any family: what a provider says of its size is the provider's word, and a
// route to it would be asked before every default route, rule and mark of ours
// (CVE-2024-3661 has the same effect by another option). In the uplink's own table it
// stands all the same. A private network draws nothing of the Internet, and the page
// of the modem is on it.
func (u *Uplink) keepsApart(a netip.Prefix) bool {
	inside := func(p netip.Prefix) bool { return p.Bits() <= a.Bits() && p.Contains(a.Addr()) }
	mode := u.In(FamilyOf(a.Addr())).Address
	given := mode == configs.AddressDHCP || mode == configs.AddressAuto
	return given && !a.IsSingleIP() && !slices.ContainsFunc(private, inside)
}

// Addresses returns the addresses the path is to have now.
func (u *Uplink) Addresses(p *Path) []netip.Prefix {
	switch c := u.In(p.Family); c.Address {
	case configs.AddressStatic:
		return c.Prefixes
	case configs.AddressExternal:
		return p.Assigned
	case configs.AddressDHCP, configs.AddressAuto, configs.AddressNone:
	}
	lent := u.lent(p)
	if len(lent) == 0 {
		return nil
	}
	list := make([]netip.Prefix, len(lent))
	for i, l := range lent {
		list[i] = l.Prefix
	}
	return list
}

// NextHop returns the way out of the path, and whether it is known.
func (u *Uplink) NextHop(p *Path) (routes.NextHop, bool) {
	c := u.In(p.Family)
	hop := routes.NextHop{Interface: u.Config.Interface, OnLink: c.OnLink, Weight: max(p.Weight, 1)}
	switch c.Gateway {
	case configs.GatewayFixed:
		hop.Gateway = c.GatewayIP
		outside := !c.GatewayIP.IsLinkLocalUnicast() && !contain(c.Prefixes, c.GatewayIP)
		hop.OnLink = c.OnLink || p.Family == IPv6 && outside
	case configs.GatewayNone:
		if p.Family == IPv6 {
			hop.Gateway = stub
		}
		return hop, true
	case configs.GatewayRA:
		if hop.Gateway = p.Advert.Router; !hop.Gateway.IsValid() && !p.Advert.Heard {
			hop.Gateway = p.Adopted.Gateway
		}
	case configs.GatewayLease:
		if p.Lease != nil {
			hop.Gateway = p.Lease.Router
			// A router outside the leased network is reached on the link all the same.
			hop.OnLink = hop.Gateway.IsValid() && !p.Lease.Prefix.Contains(hop.Gateway)
		} else {
			hop.Gateway, hop.OnLink = p.Adopted.Gateway, p.Adopted.OnLink
		}
	}
	return hop, hop.Gateway.IsValid()
}

// contain reports whether one of several networks has an address.
func contain(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// assigned reports whether every address the path is to have is on its interface; of IPv6,
// where some may be left over, whether the one it speaks by is.
func (u *Uplink) assigned(p *Path) bool {
	addresses := u.Addresses(p)
	if p.Family == IPv6 && len(addresses) > 0 {
		return slices.Contains(p.Preferred, addresses[0])
	}
	for _, a := range addresses {
		if !slices.Contains(p.Assigned, a) {
			return false
		}
	}
	return len(addresses) > 0
}

// noteAssigned remembers which addresses have been on the interface.
func (u *Uplink) noteAssigned(p *Path) {
	for _, a := range u.Addresses(p) {
		if slices.Contains(p.Assigned, a) && !slices.Contains(p.EverAssigned, a) {
			p.EverAssigned = append(slices.Clone(p.EverAssigned), a)
		}
		if slices.Contains(p.Assigned, a) && !slices.Contains(p.Had, a) {
			had := append(slices.Clone(p.Had), a)
			p.Had = had[max(0, len(had)-hadMost):]
		}
	}
}

// hadMost is how many addresses are remembered that a path has had.
const hadMost = 8

const (
	mtuLeast = 1280 // below what IPv6 needs (RFC 8200 section 5) the kernel takes that off the interface
	mtuMost  = 1500 // Ethernet's; what is more a device may not take, or the way not carry
)

// mtu returns what the interface is to have as its MTU, 0 for what it has. No
// provider means one that is out of bounds.
func (u *Uplink) mtu(p *Path) int {
	if p.Family != IPv4 || u.Config.DHCP.MTU != configs.MTUAccept || p.Lease == nil ||
		p.Lease.MTU < mtuLeast || p.Lease.MTU > mtuMost {
		return 0
	}
	return p.Lease.MTU
}
