package firewall

import (
	"net"
	"slices"
)

// A Match says which packets are meant. What is empty matches all; of a list, one is enough.
type Match struct {
	From, To     *Prefixes
	Names        []string // sets of destinations that a DNS server fills
	In           []string // interfaces; one with '*' at its end is all that begin so
	MAC          []net.HardwareAddr
	Protocol     []uint8 // IP protocol numbers
	SPort, DPort []PortRange
	User         *uint32 // of local programs
	Cgroup       *Cgroup // of local programs
	DSCP         *uint8
}

// A PortRange is both ends included.
type PortRange struct{ First, Last uint16 }

// A Cgroup is a control group of version 2, and so all that is below it.
type Cgroup struct {
	Path  string // below the root of the hierarchy
	Level int    // how far below
	ID    uint64 // the inode's number of its directory
}

// protocolsWithPorts are those of a Match that names ports and no protocol: TCP and UDP.
var protocolsWithPorts = []uint8{6, 17}

// ways returns the rules that match: a packet is meant when one of them does.
func (m Match) ways(v6 bool) []Rule {
	rest := m.withoutDestination(v6)
	if m.To == nil && len(m.Names) == 0 {
		return []Rule{rest}
	}
	var list []Rule
	if m.To != nil {
		list = append(list, append(Rule{MatchAddress{Set: m.To}}, rest...))
	}
	for _, name := range m.Names {
		set := NameSet(name, v6)
		rule := append(Rule{MatchNamed{Set: set, V6: v6}}, rest...)
		list = append(list, append(rule, Refresh{Set: set, V6: v6}))
	}
	return list
}

func (m Match) withoutDestination(v6 bool) Rule {
	var rule Rule
	if m.From != nil {
		rule = append(rule, MatchAddress{Source: true, Set: m.From})
	}
	if len(m.In) > 0 {
		rule = append(rule, MatchInAny{m.In})
	}
	if len(m.MAC) > 0 {
		rule = append(rule, MatchMAC{m.MAC})
	}
	protocols := m.Protocol
	if len(protocols) == 0 && len(m.SPort)+len(m.DPort) > 0 {
		protocols = protocolsWithPorts
	}
	if len(protocols) > 0 {
		rule = append(rule, MatchProtocol{protocols})
	}
	if len(m.SPort) > 0 {
		rule = append(rule, MatchPort{Source: true, Ranges: m.SPort})
	}
	if len(m.DPort) > 0 {
		rule = append(rule, MatchPort{Ranges: m.DPort})
	}
	if m.User != nil {
		rule = append(rule, MatchUser{*m.User})
	}
	if m.Cgroup != nil {
		rule = append(rule, MatchCgroup{*m.Cgroup})
	}
	if m.DSCP != nil {
		rule = append(rule, MatchDSCP{v6, *m.DSCP})
	}
	return rule
}

// each returns a Match for every single thing that m names.
func (m Match) each() []Match {
	var list []Match
	add := func(named bool, one Match) {
		if named {
			list = append(list, one)
		}
	}
	add(m.From != nil, Match{From: m.From})
	add(m.To != nil || len(m.Names) > 0, Match{To: m.To, Names: m.Names})
	add(len(m.In) > 0, Match{In: m.In})
	add(len(m.MAC) > 0, Match{MAC: m.MAC})
	add(len(m.Protocol) > 0, Match{Protocol: m.Protocol})
	add(len(m.SPort) > 0, Match{SPort: m.SPort})
	add(len(m.DPort) > 0, Match{DPort: m.DPort})
	add(m.User != nil, Match{User: m.User})
	add(m.Cgroup != nil, Match{Cgroup: m.Cgroup})
	add(m.DSCP != nil, Match{DSCP: m.DSCP})
	return list
}

func equalMatches(a, b Match) bool {
	return equalSets(a.From, b.From) && equalSets(a.To, b.To) && slices.Equal(a.Names, b.Names) &&
		slices.Equal(a.In, b.In) && slices.EqualFunc(a.MAC, b.MAC, slices.Equal) &&
		slices.Equal(a.Protocol, b.Protocol) && slices.Equal(a.SPort, b.SPort) && slices.Equal(a.DPort, b.DPort) &&
		equalTo(a.User, b.User) && equalTo(a.Cgroup, b.Cgroup) && equalTo(a.DSCP, b.DSCP)
}
