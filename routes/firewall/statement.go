package firewall

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// A Statement is a match or an action of a rule. It prints as nft has it.
type Statement interface{ fmt.Stringer }

// The statements there are.
type (
	// MatchFamily matches IPv4 or IPv6, or all else.
	MatchFamily struct{ V6, Not bool }
	// MatchMark matches bits of the packet's mark, or of the connection's.
	MatchMark struct {
		Connection  bool
		Mask, Value uint32
		Not         bool
	}
	// MatchIn matches the interface a packet came in by.
	MatchIn struct{ Interface string }
	// MatchOwn matches what has an address of this host as its source, or has none.
	// That tells what is forwarded from what is not: a tunnel's packets also seem to
	// have come in by an interface, the tunnel's.
	MatchOwn struct{ Not bool }
	// MatchOut matches the interface a packet leaves by.
	MatchOut struct{ Interface string }
	// MatchNew matches the first packets of a connection.
	MatchNew struct{}
	// MatchForeignSource matches a source address that is not of the interface a
	// packet leaves by.
	MatchForeignSource struct{}
	// MatchAddress matches source or destination in a set.
	MatchAddress struct {
		Source bool
		Set    *Prefixes
	}
	// MatchProtocol matches one of several IP protocols.
	MatchProtocol struct{ Protocols []uint8 }
	// MatchPort matches one of several ranges of ports.
	MatchPort struct {
		Source bool
		Ranges []PortRange
	}
	// MatchUser matches the user of a local program.
	MatchUser struct{ ID uint32 }
	// MatchCgroup matches local programs of a control group.
	MatchCgroup struct{ Cgroup Cgroup }
	// MatchMAC matches one of several Ethernet addresses as the source.
	MatchMAC struct{ Addresses []net.HardwareAddr }
	// MatchInAny matches one of several interfaces a packet came in by. A name with '*' at its end
	// is all that begin so.
	MatchInAny struct{ Interfaces []string }
	// MatchNamed matches a destination in a set that a DNS server fills.
	MatchNamed struct {
		Set string
		V6  bool
	}
	// MatchDSCP matches the differentiated services code point (RFC 2474).
	MatchDSCP struct {
		V6    bool
		Value uint8
	}
	// MatchPrefix matches an IPv6 source in one prefix.
	MatchPrefix struct{ Source netip.Prefix }
	// MatchStuck matches who is in a set of sticky sources.
	MatchStuck struct {
		Set         string
		V6          bool
		Destination bool
	}
	// SetMark sets bits of the packet's mark, or of the connection's.
	SetMark struct {
		Connection  bool
		Mask, Value uint32
	}
	// Follow goes to the chain of the connection's mark.
	Follow struct {
		Mask uint32
		To   []Uplink
	}
	// Spread goes to one of several chains by weight, at random.
	Spread struct{ To []SpreadWay }
	// Stick puts the source into a set for a time.
	Stick struct {
		Set         string
		V6          bool
		Destination bool
		Seconds     uint32
	}
	// Refresh has the destination stay in a set that a DNS server fills.
	Refresh struct {
		Set string
		V6  bool
	}
	// Goto goes to a chain for good, or jumps to it.
	Goto struct {
		Chain string
		Jump  bool
	}
	// Return ends the chain.
	Return struct{}
	// Accept ends the hook's chain.
	Accept struct{}
	// Reject answers that it is forbidden.
	Reject struct{}
	// Drop drops.
	Drop struct{}
	// Masquerade translates the source to the interface's address.
	Masquerade struct{}
	// TranslatePrefix puts another prefix in the place of that of the IPv6 source, and leaves the
	// rest of the address as it is. What was translated once stays so.
	TranslatePrefix struct{ To netip.Prefix }
	// Count counts, under a name.
	Count struct{ Name string }
)

// A SpreadWay is a chain and its weight.
type SpreadWay struct {
	Chain  string
	Weight int
}

func not(b bool) string {
	if b {
		return "!= "
	}
	return ""
}

func markKey(connection bool) string {
	if connection {
		return "ct mark"
	}
	return "meta mark"
}

func (m MatchFamily) String() string {
	if m.V6 {
		return "meta nfproto " + not(m.Not) + "ipv6"
	}
	return "meta nfproto " + not(m.Not) + "ipv4"
}

func (m MatchMark) String() string {
	return fmt.Sprintf("%s & %#x %s%#x", markKey(m.Connection), m.Mask, not(m.Not), m.Value)
}

func (m MatchIn) String() string  { return fmt.Sprintf("iifname %q", m.Interface) }
func (m MatchOwn) String() string { return "fib saddr type " + not(m.Not) + "local" }

func (m MatchOut) String() string         { return fmt.Sprintf("oifname %q", m.Interface) }
func (MatchNew) String() string           { return "ct state new" }
func (MatchForeignSource) String() string { return "fib saddr . oif type != local" }

func (m MatchAddress) String() string {
	if m.Source {
		return m.Set.protocol() + " saddr @" + m.Set.SetName()
	}
	return m.Set.protocol() + " daddr @" + m.Set.SetName()
}

func (m MatchProtocol) String() string {
	list := make([]string, len(m.Protocols))
	for i, p := range m.Protocols {
		list[i] = fmt.Sprint(p)
	}
	return "meta l4proto { " + strings.Join(list, ", ") + " }"
}

func (m MatchPort) String() string {
	list := make([]string, len(m.Ranges))
	for i, r := range m.Ranges {
		list[i] = fmt.Sprintf("%d-%d", r.First, r.Last)
	}
	key := "th dport"
	if m.Source {
		key = "th sport"
	}
	return key + " { " + strings.Join(list, ", ") + " }"
}

func (m MatchUser) String() string { return fmt.Sprintf("meta skuid %d", m.ID) }
func (m MatchCgroup) String() string {
	return fmt.Sprintf("socket cgroupv2 level %d %q", m.Cgroup.Level, m.Cgroup.Path)
}

func (m MatchMAC) String() string {
	list := make([]string, len(m.Addresses))
	for i, a := range m.Addresses {
		list[i] = a.String()
	}
	return "ether saddr { " + strings.Join(list, ", ") + " }"
}

func (m MatchInAny) String() string {
	list := make([]string, len(m.Interfaces))
	for i, name := range m.Interfaces {
		list[i] = strconv.Quote(name)
	}
	return "iifname { " + strings.Join(list, ", ") + " }"
}

func (m MatchNamed) String() string { return protocol(m.V6) + " daddr @" + m.Set }

func (m MatchDSCP) String() string { return fmt.Sprintf("%s dscp %d", protocol(m.V6), m.Value) }

func (m MatchPrefix) String() string { return "ip6 saddr " + m.Source.String() }

// protocol is the word that nft has for the header of a family.
func protocol(v6 bool) string {
	if v6 {
		return "ip6"
	}
	return "ip"
}

func stickyKey(v6, destination bool) string {
	if p := protocol(v6); destination {
		return p + " saddr . " + p + " daddr"
	}
	return protocol(v6) + " saddr"
}

func (m MatchStuck) String() string { return stickyKey(m.V6, m.Destination) + " @" + m.Set }

func (s SetMark) String() string {
	key := markKey(s.Connection)
	return fmt.Sprintf("%s set %s & %#x | %#x", key, key, ^s.Mask, s.Value)
}

func (f Follow) String() string {
	list := make([]string, len(f.To))
	for i, u := range f.To {
		list[i] = fmt.Sprintf("%#x : goto %s", u.Mark, u.Chain())
	}
	return fmt.Sprintf("ct mark & %#x vmap { %s }", f.Mask, strings.Join(list, ", "))
}

func (s Spread) String() string {
	total, list := 0, make([]string, len(s.To))
	for i, way := range s.To {
		list[i] = fmt.Sprintf("%d-%d : goto %s", total, total+way.Weight-1, way.Chain)
		total += way.Weight
	}
	return fmt.Sprintf("numgen random mod %d vmap { %s }", total, strings.Join(list, ", "))
}

func (s Stick) String() string {
	return fmt.Sprintf("update @%s { %s timeout %ds }", s.Set, stickyKey(s.V6, s.Destination), s.Seconds)
}

func (r Refresh) String() string {
	return fmt.Sprintf("update @%s { %s daddr timeout %ds }", r.Set, protocol(r.V6), NameSeconds)
}

func (g Goto) String() string {
	if g.Jump {
		return "jump " + g.Chain
	}
	return "goto " + g.Chain
}

func (Return) String() string     { return "return" }
func (Accept) String() string     { return "accept" }
func (Reject) String() string     { return "reject with icmpx admin-prohibited" }
func (Drop) String() string       { return "drop" }
func (Masquerade) String() string { return "masquerade" }

func (t TranslatePrefix) String() string { return "snat ip6 prefix to " + t.To.String() }

func (c Count) String() string { return "counter name " + c.Name }

// HeaderOf returns the family whose header a statement looks into, and whether it does.
func HeaderOf(s Statement) (v6, ok bool) {
	switch s := s.(type) {
	case MatchAddress:
		return s.Set.V6(), true
	case MatchNamed:
		return s.V6, true
	case MatchDSCP:
		return s.V6, true
	case MatchPrefix:
		return true, true
	case MatchStuck:
		return s.V6, true
	case Stick:
		return s.V6, true
	case Refresh:
		return s.V6, true
	case MatchKey:
		return s.V6, s.Key == KeyTo || s.Key == KeyFrom
	case Dispatch:
		return s.V6, s.Key == KeyTo || s.Key == KeyFrom
	}
	return false, false
}
