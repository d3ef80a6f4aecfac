package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
)

// decideLeases decides of each path by which lease it goes, and notes which
// addresses it has had. Networks that are given from elsewhere count first, then the
// leases in use, then the rest, each in the order of the file.
func (s *State) decideLeases(now time.Time) {
	var leased, before []where
	for u, p := range s.paths() {
		p.Clash, p.Lease = "", nil
		mode := u.In(p.Family).Address
		if mode != configs.AddressDHCP && mode != configs.AddressAuto {
			before = append(before, where{u, p, nil})
			continue
		}
		leased = append(leased, where{u, p, u.offered(p, now)})
	}
	for _, used := range []bool{true, false} {
		for _, w := range leased {
			if w.inUse() != used {
				continue
			}
			good, reason := s.sift(w, before, now)
			w.path.Clash = reason
			w.path.Lease = w.uplink.leaseOf(w.path, good, now)
			before = append(before, w)
		}
	}
	local := s.localAddresses()
	for u, p := range s.paths() {
		u.noteAssigned(p)
		hop, _ := u.NextHop(p)
		p.GatewayIsOurs = local[hop.Gateway] || hop.Gateway.IsValid() && hop.Gateway == u.Device.LinkLocal
	}
}

// localAddresses returns the addresses that this host has. What is of one link alone
// (RFC 4007) another link may have too.
func (s *State) localAddresses() map[netip.Addr]bool {
	local := make(map[netip.Addr]bool, len(s.LAN)+len(s.Uplinks))
	for _, a := range s.LAN {
		if !a.Prefix.Addr().IsLinkLocalUnicast() {
			local[a.Prefix.Addr()] = true
		}
	}
	for _, p := range s.paths() {
		for _, a := range p.Assigned {
			local[a.Addr()] = true
		}
	}
	return local
}

// A where is a path, the uplink it is of, and the addresses it could have.
type where struct {
	uplink  *Uplink
	path    *Path
	offered []Lent
}

// sift returns the addresses that may be used beside other networks, and why none may, "" when one may. What
// is of the very network that another uplink has is used where there is nothing else: the provider that has it
// by right cannot be told.
func (s *State) sift(w where, before []where, now time.Time) (good []Lent, reason string) {
	var doubtful []Lent
	for _, l := range w.offered {
		clash := s.clash(l.Prefix, before)
		switch {
		case w.path.Refused.has(l.Prefix, now):
			clash = fmt.Sprintf("another host on %s has %s", w.uplink.Config.Interface, l.Prefix.Addr())
		case clash != "":
		case w.path.Family == IPv6 && sharesNetwork(l.Prefix, before):
			doubtful = append(doubtful, l)
		default:
			good = append(good, l)
		}
		if clash != "" && reason == "" {
			reason = clash
		}
	}
	if len(good) == 0 {
		good = doubtful
	}
	if len(good) > 0 {
		reason = ""
	}
	return good, reason
}

// sharesNetwork reports whether an address is of a network that another uplink has.
func sharesNetwork(a netip.Prefix, before []where) bool {
	for _, other := range before {
		same := func(b netip.Prefix) bool { return b.Masked() == a.Masked() }
		if slices.ContainsFunc(other.uplink.Addresses(other.path), same) {
			return true
		}
	}
	return false
}

// inUse reports whether the address of the path's lease, or the one adopted, is on
// the interface.
func (w where) inUse() bool {
	p := w.path
	assigned := func(l Lent) bool { return slices.Contains(p.Assigned, l.Prefix) }
	return slices.ContainsFunc(w.offered, assigned) ||
		p.Adopted.Prefix.IsValid() && slices.Contains(p.Assigned, p.Adopted.Prefix)
}

// siteClash returns why a lease must not be used beside the LAN and what the site
// routes, "" when it may. An address of theirs would cut off the host that has it; a
// route to the lease's network that is more specific than that to the LAN, or the
// same, would lead part of the LAN to the provider.
func (s *State) siteClash(lease netip.Prefix) string {
	for _, a := range s.LAN {
		if a.Prefix.IsSingleIP() {
			continue
		}
		if a.Prefix.Contains(lease.Addr()) || a.Prefix.Overlaps(lease) && a.Prefix.Bits() <= lease.Bits() {
			return fmt.Sprintf("the lease's network %s is part of %s on %s: change one of them",
				lease.Masked(), a.Prefix.Masked(), a.Interface)
		}
	}
	if n, ours := s.inLAN(lease); ours && lease.Addr().Is6() {
		return fmt.Sprintf("the lease's network %s is part of %s on %s: change one of them",
			lease.Masked(), n.Prefix, n.Interface)
	}
	for _, site := range s.Site {
		if site.Contains(lease.Addr()) {
			return fmt.Sprintf("the lease's address %s lies in %s, which this site routes elsewhere: "+
				"change one of them", lease.Addr(), site)
		}
	}
	return ""
}

// answersItself returns why an address that this host took would make it answer its
// own probes, "" when it would not.
func (s *State) answersItself(address netip.Addr) string {
	for i := range s.Uplinks {
		name, c := s.Uplinks[i].Config.Name, s.Uplinks[i].In(FamilyOf(address))
		if c.Gateway == configs.GatewayFixed && c.GatewayIP == address {
			return fmt.Sprintf("the lease's address %s is the gateway of %s: have the provider give another",
				address, name)
		}
		for _, t := range c.Probe.Targets {
			if t.IP == address {
				return fmt.Sprintf("the lease's address %s is a probe target of %s: have the provider give another, "+
					"or probe something else", address, name)
			}
		}
	}
	return ""
}

// clash returns why an address must not be used beside the LAN and the
// paths that count for more, "" when it may. A provider that gives an address in a
// network of another provider would draw the traffic for that one to itself; a
// network that is wholly the same is what carrier-grade NAT gives, and taken.
func (s *State) clash(lease netip.Prefix, before []where) string {
	if reason := s.siteClash(lease); reason != "" {
		return reason
	}
	if reason := s.answersItself(lease.Addr()); reason != "" {
		return reason
	}
	for _, other := range before {
		name := other.uplink.Config.Name
		if hop, ok := other.uplink.NextHop(other.path); ok && hop.Gateway == lease.Addr() {
			return fmt.Sprintf("the lease's address %s is the gateway of %s: have the provider give another",
				lease.Addr(), name)
		}
		for _, a := range other.uplink.Addresses(other.path) {
			if a.Overlaps(lease) && a.Masked() != lease.Masked() {
				return fmt.Sprintf("the lease's network %s overlaps %s of %s: have one of the providers change it",
					lease.Masked(), a.Masked(), name)
			}
		}
	}
	return ""
}
