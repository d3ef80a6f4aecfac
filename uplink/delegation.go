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
					p.PrefixClash = fmt.Sprintf("the prefix %s has no network %d for %s: "+
						"ask for a shorter one (prefix_length)", d.Prefix, lan.Subnet, lan.Interface)
				}
			}
		}
	}
}

// prefixClash returns why a prefix that an uplink's provider delegates must not be used, "" when it may. Of two
// uplinks that are given the same, that one has it whose the configuration says it is, or whose network the LAN
// has, or else the first.
func (s *State) prefixClash(of int, prefix netip.Prefix) string {
	owner, inUse := s.numbers(prefix)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if !u.Has(IPv6) {
			continue
		}
		what, where := u.needs(prefix)
		if what == "" && !inUse { // whoever comes later with something of it cannot take it away
			what, where = u.learned(prefix, i, of)
		}
		if what == "" && i != of {
			what, where = lends(u.before(owner, i < of), prefix)
		}
		if what != "" {
			return fmt.Sprintf("the prefix %s holds %s of %s, %s: have the provider give another",
				prefix, what, u.Config.Name, where)
		}
	}
	inside := func(r netip.Prefix) bool { return r.Bits() <= prefix.Bits() && r.Contains(prefix.Addr()) }
	if i := slices.IndexFunc(s.LAN, func(a routes.Address) bool { return inside(a.Prefix) }); i >= 0 {
		a := s.LAN[i]
		return fmt.Sprintf("the prefix %s is part of %s on %s: change one of them",
			prefix, a.Prefix.Masked(), a.Interface)
	}
	if i := slices.IndexFunc(s.Site, inside); i >= 0 {
		return fmt.Sprintf("the prefix %s is part of %s, which this site routes elsewhere: change one of them",
			prefix, s.Site[i])
	}
	return ""
}

// needs returns what of the configuration lies in a prefix: the gateway, a probe target; "" when nothing does.
func (u *Uplink) needs(prefix netip.Prefix) (what, where string) {
	c := u.In(IPv6)
	if c.Gateway == configs.GatewayFixed && prefix.Contains(c.GatewayIP) {
		return "the gateway", c.GatewayIP.String()
	}
	for _, t := range c.Probe.Targets {
		if prefix.Contains(t.IP) {
			return "a probe target", t.IP.String()
		}
	}
	return "", ""
}

// learned returns what an uplink has been told or has that lies in a prefix, which is delegated to the uplink `of`;
// "" when nothing does.
func (u *Uplink) learned(prefix netip.Prefix, i, of int) (what, where string) {
	p := &u.Paths[IPv6]
	if l := p.Report.Lease; l != nil {
		if n := slices.IndexFunc(l.DNS, prefix.Contains); n >= 0 {
			return "a name server", l.DNS[n].String()
		}
	}
	if i == of {
		return "", ""
	}
	for _, a := range p.Assigned {
		if prefix.Contains(a.Addr()) {
			return "an address", a.String()
		}
	}
	return "", ""
}

// before returns the prefixes of an uplink that another has to leave to it. owner is the uplink whose network
// the LAN has, earlier is whether this one comes before the other in the file.
func (u *Uplink) before(owner string, earlier bool) []Lent {
	switch {
	case u.Config.Name == owner || u.Config.IPv6.Delegation == configs.DelegationStatic:
		return u.lentPrefixes()
	case owner == "" && earlier:
		return u.Delegated()
	}
	return nil
}

// lends returns which of the prefixes of an uplink overlaps another's; "" when none does.
func lends(list []Lent, prefix netip.Prefix) (what, where string) {
	i := slices.IndexFunc(list, func(d Lent) bool { return prefix.Overlaps(d.Prefix) })
	if i < 0 {
		return "", ""
	}
	return "a prefix", list[i].Prefix.String()
}

// lentPrefixes returns the prefixes that are an uplink's by its provider or the configuration, whether they can be
// used or not.
func (u *Uplink) lentPrefixes() []Lent {
	l := u.Paths[IPv6].Report.Lease
	switch {
	case u.Config.IPv6.Delegation != configs.DelegationAsk:
		return u.Delegated()
	case l == nil:
		return nil
	}
	return l.Delegated
}
