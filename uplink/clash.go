package uplink

import (
	"fmt"
	"slices"

	"uplinkd/configs"
)

// decideLeases decides of each path by which lease it goes, and notes which
// addresses it has had. Networks that are given from elsewhere count first, then the
// leases in use, then the rest, each in the order of the file.
func (s *State) decideLeases() {
	var leased, before []where
	for u, p := range s.paths() {
		p.Clash, p.Lease = "", nil
		if u.Config.Address != configs.AddressDHCP {
			before = append(before, where{u, p})
			continue
		}
		leased = append(leased, where{u, p})
	}
	for _, used := range []bool{true, false} {
		for _, w := range leased {
			if w.path.inUse() != used {
				continue
			}
			w.path.Clash = s.clash(w, before)
			w.path.Lease = w.path.inForce()
			before = append(before, w)
		}
	}
	for u, p := range s.paths() {
		u.noteAssigned(p)
	}
}

// A where is a path and the uplink it is of.
type where struct {
	uplink *Uplink
	path   *Path
}

// inUse reports whether the address of the path's lease, or the one adopted, is on
// the interface.
func (p *Path) inUse() bool {
	return p.Report.Lease != nil && slices.Contains(p.Assigned, p.Report.Lease.Prefix) ||
		p.Adopted.Prefix.IsValid() && slices.Contains(p.Assigned, p.Adopted.Prefix)
}

// clash returns why the lease of a path must not be used beside the LAN and the
// paths that count for more, "" when it may. A provider that gives an address in a
// network of another provider would draw the traffic for that one to itself; a
// network that is wholly the same is what carrier-grade NAT gives, and taken.
func (s *State) clash(w where, before []where) string {
	if w.path.Report.Lease == nil {
		return ""
	}
	lease := w.path.Report.Lease.Prefix
	for _, a := range s.LAN {
		// A route to the lease's network, when it is more specific than that to the
		// LAN or the same, would lead part of the LAN to the provider.
		if a.Prefix.Overlaps(lease) && a.Prefix.Bits() <= lease.Bits() && !a.Prefix.IsSingleIP() {
			return fmt.Sprintf("the lease's network %s is part of %s on %s: change one of them",
				lease.Masked(), a.Prefix.Masked(), a.Interface)
		}
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
