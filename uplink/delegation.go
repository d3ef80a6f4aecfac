package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"uplinkd/configs"
	"uplinkd/routes"
)

// siftDelegations decides which of the prefixes that providers delegate may be used. A prefix leads nowhere but to
// the LAN: one that holds what others need, whoever has sent it, would cut that off.
func (s *State) siftDelegations() {
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		p := &u.Paths[IPv6]
		p.Delegations, p.PrefixClash = nil, ""
		if !u.Has(IPv6) || p.Report.Lease == nil {
			continue
		}
		for _, d := range p.Report.Lease.Delegated {
			if clash := s.prefixClash(i, d.Prefix); clash != "" {
				p.PrefixClash = clash
				continue
			}
			p.Delegations = append(p.Delegations, d)
			for _, lan := range s.Config.LAN {
				if _, fits := subnetOf(d.Prefix, lan.Subnet); !fits {
					p.PrefixClash = fmt.Sprintf("the prefix %s has no network %d for %s: ask for a shorter one (prefix_length)",
						d.Prefix, lan.Subnet, lan.Interface)
				}
			}
		}
	}
}

// prefixClash returns why a prefix that an uplink's provider delegates must not be used, "" when it may.
func (s *State) prefixClash(of int, prefix netip.Prefix) string {
	within := func(what string, a netip.Addr) string {
		return fmt.Sprintf("the prefix %s holds %s %s: have the provider give another", prefix, what, a)
	}
	inUse := s.numbers(prefix)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		p, c := &u.Paths[IPv6], u.In(IPv6)
		if !u.Has(IPv6) {
			continue
		}
		if c.Gateway == configs.GatewayFixed && prefix.Contains(c.GatewayIP) {
			return within("the gateway of "+u.Config.Name, c.GatewayIP)
		}
		for _, t := range c.Probe.Targets {
			if prefix.Contains(t.IP) {
				return within("a probe target of "+u.Config.Name, t.IP)
			}
		}
		if inUse {
			continue // whoever comes later with something of it cannot take it away
		}
		if l := p.Report.Lease; l != nil {
			for _, a := range l.DNS {
				if prefix.Contains(a) {
					return within("a name server of "+u.Config.Name, a)
				}
			}
		}
		if clash := u.holds(prefix, i, of); clash != "" {
			return clash
		}
	}
	inside := func(r netip.Prefix) bool { return r.Bits() <= prefix.Bits() && r.Contains(prefix.Addr()) }
	if i := slices.IndexFunc(s.LAN, func(a routes.Address) bool { return inside(a.Prefix) }); i >= 0 {
		return fmt.Sprintf("the prefix %s is part of %s on %s: change one of them", prefix, s.LAN[i].Prefix.Masked(), s.LAN[i].Interface)
	}
	if i := slices.IndexFunc(s.Site, inside); i >= 0 {
		return fmt.Sprintf("the prefix %s is part of %s, which this site routes elsewhere: change one of them", prefix, s.Site[i])
	}
	return ""
}

// holds returns which address or prefix of an uplink lies in a prefix that is delegated to another, "" when none
// does. Of two that are given the same, the first has it.
func (u *Uplink) holds(prefix netip.Prefix, i, of int) string {
	if i == of {
		return ""
	}
	for _, a := range u.Paths[IPv6].Assigned {
		if prefix.Contains(a.Addr()) {
			return fmt.Sprintf("the prefix %s holds %s of %s: have the provider give another", prefix, a, u.Config.Name)
		}
	}
	if i > of {
		return ""
	}
	for _, d := range u.Delegated() {
		if prefix.Overlaps(d.Prefix) {
			return fmt.Sprintf("the prefix %s is part of what %s has, or the reverse: have one of the providers give another",
				prefix, u.Config.Name)
		}
	}
	return ""
}
