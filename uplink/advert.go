package uplink

import (
	"net/netip"
	"slices"
	"time"
)

// An Advert is what the routers on a path's link advertise (RFC 4861), as far as it is used:
// no route ever, and of the prefixes the addresses that this host makes of them.
type Advert struct {
	Heard    bool   // a router has been heard since the link came up
	Silent   bool   // none has answered for so long that DHCPv6 is tried without
	Reason   string // how it stands, for people
	Router   netip.Addr
	Prefixes []AdvertPrefix
	DNS      []netip.Addr
	MTU      int  // bytes; 0: not told
	Managed  bool // addresses are to be had by DHCPv6 (RFC 4861 section 4.2, M)
}

// An AdvertPrefix is a /64 that addresses are made of (RFC 4862 section 5.5).
type AdvertPrefix struct {
	Prefix    netip.Prefix
	OnLink    bool      // its addresses are on the link itself
	Preferred time.Time // new connections take it until then; zero: never ends
	Valid     time.Time // zero: never ends
}

// A Lent is an address that serves for a time.
type Lent struct {
	Prefix    netip.Prefix
	Preferred time.Time // zero: as long as it is valid
	Until     time.Time // zero: never ends
}

// preferredLeast is how much of its preferred lifetime an address must have left to be taken: a
// next hop is to leave the route before its address is deprecated, for then the kernel takes
// another uplink's as source (RFC 6724 section 5, rule 3 before rule 5).
const preferredLeast = 3 * time.Second

// preferred reports whether new connections may take the address.
func (l Lent) preferred(now time.Time) bool {
	return l.Preferred.IsZero() || l.Preferred.Sub(now) > preferredLeast
}

// lentMost is how many addresses of one uplink are kept at a time: that in use, those of
// networks before it that connections may still have, and some more.
const lentMost = 4

// takeAdvert takes in what routers say by now.
func (p *Path) takeAdvert(a Advert) {
	p.Advert = a
	if a.Router.IsValid() {
		p.Adopted.Gateway = netip.Addr{}
	}
	if len(a.Prefixes) > 0 && !a.Managed {
		p.Adopted.Prefix = netip.Prefix{} // what it is, the router has said
	}
}

// offered returns the addresses that a path could have: that of the DHCP client's lease, or those
// that routers and DHCPv6 give together.
func (u *Uplink) offered(p *Path, now time.Time) []Lent {
	switch l := p.Report.Lease; {
	case p.Family == IPv6:
		return u.lentIPv6(p, now)
	case l != nil:
		return []Lent{{l.Prefix, l.Preferred, l.Expire}}
	}
	return nil
}

// leaseOf returns the lease that a path goes by with those of the addresses that may be used; nil when it
// goes by none.
func (u *Uplink) leaseOf(p *Path, lent []Lent, now time.Time) *Lease {
	report := p.Report.Lease
	switch {
	case p.Clash != "":
		return nil
	case p.Family != IPv6:
		return p.inForce()
	case len(lent) == 0 && (p.Adopted.Prefix.IsValid() || report == nil && !p.Advert.Heard):
		return nil // what is not confirmed has been left out, and so may all of it
	}
	lease := Lease{Router: p.Advert.Router, MTU: p.Advert.MTU, DNS: p.Advert.DNS}
	if report != nil {
		lease.Server, lease.Renew, lease.Rebind = report.Server, report.Renew, report.Rebind
		lease.Delegated = report.Delegated
		lease.DNS = slices.Concat(report.DNS, lease.DNS)
		lease.Domain = report.Domain
	}
	if len(lent) == 0 {
		return &lease
	}
	lease.Prefix, lease.Preferred, lease.Expire = lent[0].Prefix, lent[0].Preferred, lent[0].Until
	lease.Deprecated = !lent[0].preferred(now)
	lease.Others = lent[1:]
	return &lease
}

// lentIPv6 returns the addresses that routers and DHCPv6 give a path: those that new connections may take first,
// then what is on the interface, then what is new; of the like DHCPv6's first, which is the one the provider knows.
func (u *Uplink) lentIPv6(p *Path, now time.Time) []Lent {
	var list []Lent
	add := func(l Lent) {
		over := !l.Until.IsZero() && !now.Before(l.Until)
		same := func(other Lent) bool { return other.Prefix.Addr() == l.Prefix.Addr() }
		if !over && l.Prefix.IsValid() && !slices.ContainsFunc(list, same) {
			list = append(list, l)
		}
	}
	for _, l := range p.lentByDHCPv6() {
		add(l)
	}
	for _, a := range p.Advert.Prefixes {
		if own, ok := u.addressIn(a); ok {
			add(Lent{own, a.Preferred, a.Valid})
		}
	}
	known := len(list) == 0 && p.Report.Confirmed && (p.Advert.Heard || p.Advert.Silent)
	serves := slices.ContainsFunc(list, func(l Lent) bool { return slices.Contains(p.Preferred, l.Prefix) })
	for _, d := range p.Delegations {
		// One that is there stays while no other serves: what has it goes on.
		if last := lastAddressOf(d); known || !serves && slices.Contains(p.Assigned, last.Prefix) {
			add(last)
		}
	}
	slices.SortStableFunc(list, func(a, b Lent) int { return p.rank(a, now) - p.rank(b, now) })
	return mostOf(list, now)
}

// mostOf returns as many of the addresses as an uplink may have. Those on their way out do not keep a new one
// away.
func mostOf(list []Lent, now time.Time) []Lent {
	if len(list) <= lentMost {
		return list
	}
	if i := slices.IndexFunc(list, func(l Lent) bool { return l.preferred(now) }); i >= lentMost {
		list[lentMost-1] = list[i]
	}
	return list[:lentMost]
}

// rank says how good an address is: the least is the best.
func (p *Path) rank(l Lent, now time.Time) int {
	switch {
	case l.preferred(now) && slices.Contains(p.Preferred, l.Prefix):
		return 0
	case slices.Contains(p.Assigned, l.Prefix):
		return 1 // what has it goes on, until another serves
	case l.preferred(now):
		return 2
	}
	return 3
}

// lentByDHCPv6 returns the addresses of the DHCPv6 lease. While it is not known whether it still is in
// force, one that is not on the interface is not put there.
func (p *Path) lentByDHCPv6() []Lent {
	l := p.Report.Lease
	if l == nil || p.Report.Asking && !slices.Contains(p.Assigned, l.Prefix) {
		return nil
	}
	return append([]Lent{{l.Prefix, l.Preferred, l.Expire}}, l.Others...)
}

// lastAddressOf returns the address that an uplink takes of a prefix where its provider gives it no other: one of
// the last network, which no LAN is likely to have (RFC 7084 WAA-7).
func lastAddressOf(d Lent) Lent {
	b := d.Prefix.Masked().Addr().As16()
	for i := d.Prefix.Bits(); i < 64; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	b[15] = 1
	d.Prefix = netip.PrefixFrom(netip.AddrFrom16(b), 128)
	return d
}

// addressIn returns the address that this host makes of an advertised prefix: with the end of
// the interface's own on the link, of which nobody else there has it (RFC 4862 section 5.5.3).
// Where the network is not on the link, the address stands alone.
func (u *Uplink) addressIn(a AdvertPrefix) (netip.Prefix, bool) {
	if !u.Device.LinkLocal.IsValid() {
		return netip.Prefix{}, false
	}
	b, end := a.Prefix.Addr().As16(), u.Device.LinkLocal.As16()
	copy(b[8:], end[8:])
	bits := 128
	if a.OnLink {
		bits = a.Prefix.Bits()
	}
	return netip.PrefixFrom(netip.AddrFrom16(b), bits), true
}

// stub is the next hop on a link that has but one other end: the kernel takes no route of
// several ways without one (ip6_route_multipath_add in net/ipv6/route.c), and asks nobody for it.
var stub = netip.MustParseAddr("fe80::1")
