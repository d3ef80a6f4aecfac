package configs

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A Connection is what its first packet shows, as far as that is told. What is zero is not told, and so
// no policy that asks for it matches.
type Connection struct {
	From, To     netip.Addr
	Names        []string // sets of names that To is in
	In           string   // interface; "": this host sends it
	MAC          net.HardwareAddr
	Protocol     uint8
	SPort, DPort uint16
	User         *uint32
	Unit, Cgroup string
	DSCP         *uint8
}

// Meant returns the policies that a connection matches at a time, in their order; lists are what the files
// hold that policies name. The first counts, unless it hands on to the next. It is pure.
func Meant(policies []Policy, c Connection, lists map[string][]netip.Prefix, at time.Time) []*Policy {
	var list []*Policy
	for i := range policies {
		p := &policies[i]
		if Holds(p.When, at) && p.holds(&c, lists) && !p.denies(&c, lists) {
			list = append(list, p)
		}
	}
	return list
}

// denies reports whether anything of what must not hold does.
func (p *Policy) denies(c *Connection, lists map[string][]netip.Prefix) bool {
	return slices.ContainsFunc(p.Not.given(), func(key string) bool {
		one := p.Not.only(key)
		return one.holds(c, lists)
	})
}

// holds reports whether all of a match does.
func (m *Match) holds(c *Connection, lists map[string][]netip.Prefix) bool {
	return m.From.hold(c.From, nil, lists) && m.To.hold(c.To, c.Names, lists) && m.holdsProtocol(c.Protocol) &&
		holdPort(m.SPort, c.SPort) && holdPort(m.DPort, c.DPort) && coversValue(m.DSCP, c.DSCP) &&
		m.holdsSender(c) && m.holdsGroup(c)
}

// holdsSender goes by who sends it.
func (m *Match) holdsSender(c *Connection) bool {
	byName := func(in string) bool { return c.In != "" && coversName(in, c.In) }
	byMAC := func(a net.HardwareAddr) bool { return bytes.Equal(a, c.MAC) }
	return (len(m.In) == 0 || slices.ContainsFunc(m.In, byName)) &&
		(len(m.MAC) == 0 || slices.ContainsFunc(m.MAC, byMAC)) && coversValue(m.User, c.User)
}

// holdsProtocol takes ICMP for that of either family, and ports without a protocol for those of TCP and UDP.
func (m *Match) holdsProtocol(protocol uint8) bool {
	list := m.Protocol
	if len(list) == 0 && len(m.SPort)+len(m.DPort) > 0 {
		list = []uint8{6, 17}
	}
	const icmp, icmpv6 = 1, 58
	return len(list) == 0 || slices.Contains(list, protocol) || protocol == icmpv6 && slices.Contains(list, icmp)
}

// holdsGroup goes by the names in the path of the control group; a unit's is one of them.
func (m *Match) holdsGroup(c *Connection) bool {
	within := func(path, group string) bool { return path == group || strings.HasPrefix(path, group+"/") }
	return (m.Unit == "" || m.Unit == c.Unit || slices.Contains(strings.Split(c.Cgroup, "/"), m.Unit)) &&
		(m.Cgroup == "" || within(c.Cgroup, m.Cgroup))
}

func (a Addresses) hold(addr netip.Addr, names []string, lists map[string][]netip.Prefix) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(addr) }
	return a.Any() || slices.ContainsFunc(a.Prefixes, contains) ||
		slices.ContainsFunc(a.Files, func(file string) bool { return slices.ContainsFunc(lists[file], contains) }) ||
		slices.ContainsFunc(a.Names, func(name string) bool { return slices.Contains(names, name) })
}

func holdPort(ranges []PortRange, port uint16) bool {
	return len(ranges) == 0 ||
		slices.ContainsFunc(ranges, func(r PortRange) bool { return r.First <= port && port <= r.Last })
}
