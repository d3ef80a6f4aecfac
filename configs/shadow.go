package configs

import (
	"bytes"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
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

// Impossible returns why a policy can never match anything, "" when it can. It is pure.
func (p *Policy) Impossible() string {
	from, to := p.From.families(), p.To.families()
	if from&to == 0 {
		return "from and to are of different families"
	}
	for _, n := range p.Protocol {
		only := map[uint8]families{58: familyIPv6}[n]
		if len(p.Protocol) == 1 && only != 0 && only&from&to == 0 {
			return "its protocol is of IPv6, and its addresses are not"
		}
	}
	for _, key := range p.Not.given() {
		if strings.HasSuffix(key, "port") && slices.ContainsFunc(p.Protocol, func(n uint8) bool {
			return n != 6 &&
				n != 17
		}) {
			continue // a port that is denied is one of TCP and UDP
		}
		theirs := p.only(key)
		if p.Not.only(key).covers(&theirs) && !reflect.DeepEqual(theirs, Match{}) {
			return "not: " + key + " denies all that its " + key + " names"
		}
	}
	return ""
}

// families is a set of address families.
type families uint8

const (
	familyIPv4 families = 1 << iota
	familyIPv6
)

// families returns those that some of the addresses are of, as far as is known here.
func (a Addresses) families() families {
	if len(a.Files)+len(a.Names) > 0 || a.Any() {
		return familyIPv4 | familyIPv6
	}
	var f families
	for _, p := range a.Prefixes {
		if p.Addr().Is4() {
			f |= familyIPv4
		} else {
			f |= familyIPv6
		}
	}
	return f
}

// takesAll reports whether p matches whatever later does. A policy that may hand
// on to the next, or is not always in force, does not take anything for good.
func (p *Policy) takesAll(later *Policy) bool {
	if len(p.Via) > 0 && p.WhenDown == WhenDownNext || len(p.When) > 0 && !reflect.DeepEqual(p.When, later.When) {
		return false
	}
	// What p denies must not be among what later is about.
	for _, key := range p.Not.given() {
		if mine := p.Not.only(key); !reflect.DeepEqual(mine, later.Not.only(key)) {
			return false
		}
	}
	return p.covers(&later.Match)
}

// given returns the keys of a match that the file gives.
func (m *Match) given() []string {
	var list []string
	for _, key := range matchKeys {
		if one := m.only(key); !reflect.DeepEqual(one, Match{}) {
			list = append(list, key)
		}
	}
	return list
}

var matchKeys = []string{"from", "to", "in", "mac", "protocol", "sport", "dport", "user", "unit", "cgroup", "dscp"}

// only returns what one key says of a match.
func (m *Match) only(key string) Match {
	switch key {
	case "from":
		return Match{From: m.From}
	case "to":
		return Match{To: m.To}
	case "in":
		return Match{In: m.In}
	case "mac":
		return Match{MAC: m.MAC}
	case "protocol":
		return Match{Protocol: m.Protocol}
	case "sport":
		return Match{SPort: m.SPort}
	case "dport":
		return Match{DPort: m.DPort}
	case "user":
		return Match{User: m.User}
	case "unit":
		return Match{Unit: m.Unit}
	case "cgroup":
		return Match{Cgroup: m.Cgroup}
	}
	return Match{DSCP: m.DSCP}
}

// covers reports whether m matches all that theirs does.
func (m Match) covers(theirs *Match) bool {
	return covers(m.From, theirs.From) && covers(m.To, theirs.To) && m.coversSender(theirs) &&
		coversAll(m.Protocol, theirs.Protocol, func(a, b uint8) bool { return a == b }) &&
		coversAll(m.SPort, theirs.SPort, coversPorts) && coversAll(m.DPort, theirs.DPort, coversPorts) &&
		(len(m.SPort)+len(m.DPort) == 0 || theirs.onlyPorts()) && coversValue(m.DSCP, theirs.DSCP)
}

// coversSender is covers of who sends it.
func (m *Match) coversSender(theirs *Match) bool {
	return coversAll(m.In, theirs.In, coversName) &&
		coversAll(m.MAC, theirs.MAC, func(a, b net.HardwareAddr) bool { return bytes.Equal(a, b) }) &&
		coversValue(m.User, theirs.User) && (m.Unit == "" || m.Unit == theirs.Unit) &&
		(m.Cgroup == "" || m.Cgroup == theirs.Cgroup || strings.HasPrefix(theirs.Cgroup, m.Cgroup+"/"))
}

// onlyPorts reports whether m matches nothing but TCP and UDP, as one with
// ports and without a protocol does.
func (m *Match) onlyPorts() bool {
	return len(m.SPort)+len(m.DPort) > 0 || len(m.Protocol) > 0
}

func coversValue[T comparable](mine, theirs *T) bool {
	return mine == nil || theirs != nil && *mine == *theirs
}

// coversAll reports whether each of theirs is covered by one of mine; none stands for all there are.
func coversAll[T any](mine, theirs []T, covers func(mine, theirs T) bool) bool {
	if len(mine) == 0 {
		return true
	}
	return len(theirs) > 0 && !slices.ContainsFunc(theirs, func(t T) bool {
		return !slices.ContainsFunc(mine, func(m T) bool { return covers(m, t) })
	})
}

func coversPorts(m, r PortRange) bool { return m.First <= r.First && r.Last <= m.Last }

// coversName reports whether an interface's name, or the beginning of some and '*', covers another.
func coversName(mine, theirs string) bool {
	begins, all := strings.CutSuffix(mine, "*")
	return mine == theirs || all && strings.HasPrefix(strings.TrimSuffix(theirs, "*"), begins)
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
	for _, name := range theirs.Names {
		if !slices.Contains(mine.Names, name) {
			return false
		}
	}
	return !slices.ContainsFunc(theirs.Prefixes, func(t netip.Prefix) bool {
		return !slices.ContainsFunc(mine.Prefixes, func(m netip.Prefix) bool {
			return m.Bits() <= t.Bits() && m.Contains(t.Addr())
		})
	})
}
