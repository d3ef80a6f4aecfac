package configs

import (
	"net/netip"
	"slices"
)

// Shadowed returns, for each policy that can never match because an earlier one
// takes all that it would, the names of both. It is pure. What files hold is not
// known here.
func Shadowed(policies []Policy) [][2]string {
	var list [][2]string
	for i := range policies {
		for j := range i {
			if policies[j].takesAll(&policies[i]) {
				list = append(list, [2]string{policies[i].Name, policies[j].Name})
				break
			}
		}
	}
	return list
}

// takesAll reports whether p matches whatever later does. A policy that may hand
// on to the next does not take anything for good.
func (p *Policy) takesAll(later *Policy) bool {
	if len(p.Via) > 0 && p.WhenDown == WhenDownNext {
		return false
	}
	same := func(mine, theirs string) bool { return mine == "" || mine == theirs }
	return covers(p.From, later.From) && covers(p.To, later.To) && same(p.In, later.In) &&
		coversList(p.Protocol, later.Protocol) && coversPorts(p.SPort, later.SPort) &&
		coversPorts(p.DPort, later.DPort) && (len(p.SPort)+len(p.DPort) == 0 || later.onlyPorts()) &&
		coversValue(p.User, later.User) && coversValue(p.DSCP, later.DSCP)
}

// onlyPorts reports whether p matches nothing but TCP and UDP, as a policy with
// ports and without a protocol does.
func (p *Policy) onlyPorts() bool {
	return len(p.SPort)+len(p.DPort) > 0 || len(p.Protocol) > 0
}

func coversValue[T comparable](mine, theirs *T) bool {
	return mine == nil || theirs != nil && *mine == *theirs
}

func coversList(mine, theirs []uint8) bool {
	return len(mine) == 0 || len(theirs) > 0 &&
		!slices.ContainsFunc(theirs, func(n uint8) bool { return !slices.Contains(mine, n) })
}

func coversPorts(mine, theirs []PortRange) bool {
	if len(mine) == 0 {
		return true
	}
	return len(theirs) > 0 && !slices.ContainsFunc(theirs, func(r PortRange) bool {
		return !slices.ContainsFunc(mine, func(m PortRange) bool { return m.First <= r.First && r.Last <= m.Last })
	})
}

func covers(mine, theirs Addresses) bool {
	if mine.Any() {
		return true
	}
	if theirs.Any() {
		return false
	}
	for _, f := range theirs.Files {
		if !slices.Contains(mine.Files, f) {
			return false
		}
	}
	return !slices.ContainsFunc(theirs.Prefixes, func(t netip.Prefix) bool {
		return !slices.ContainsFunc(mine.Prefixes, func(m netip.Prefix) bool {
			return m.Bits() <= t.Bits() && m.Contains(t.Addr())
		})
	})
}
