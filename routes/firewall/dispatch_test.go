package firewall

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A packet is what the matches of this test look at.
type packet struct {
	in       string
	mac      net.HardwareAddr
	user     uint32
	protocol uint8
	dport    uint16
	from, to netip.Addr
	dscp     uint8
}

// value returns a packet's value of a key.
func (p packet) value(k Key) string {
	switch k {
	case KeyInterface:
		b := make([]byte, 16)
		copy(b, p.in)
		return string(b)
	case KeyMAC:
		return string(p.mac)
	case KeyDPort:
		return string(binary.BigEndian.AppendUint16(nil, p.dport))
	case KeyTo:
		return string(p.to.AsSlice())
	case KeyFrom:
		return string(p.from.AsSlice())
	}
	panic(k)
}

func within(r KeyRange, value string) bool {
	return r.First <= value && (r.Before == "" || value < r.Before)
}

// matches reports whether a statement that is a match holds.
func (p packet) matches(s Statement) bool {
	switch s := s.(type) {
	case MatchInAny:
		return slices.ContainsFunc(s.Interfaces, func(name string) bool {
			begins, all := strings.CutSuffix(name, "*")
			return p.in == name || all && strings.HasPrefix(p.in, begins)
		})
	case MatchMAC:
		return slices.ContainsFunc(s.Addresses, func(a net.HardwareAddr) bool { return string(a) == string(p.mac) })
	case MatchUser:
		return p.user == s.ID
	case MatchProtocol:
		return slices.Contains(s.Protocols, p.protocol)
	case MatchPort:
		return slices.ContainsFunc(s.Ranges, func(r PortRange) bool { return r.First <= p.dport && p.dport <= r.Last })
	case MatchAddress:
		address := p.to
		if s.Source {
			address = p.from
		}
		return slices.ContainsFunc(s.Set.Ranges, func(r AddressRange) bool {
			return r.First.Compare(address) <= 0 && address.Compare(r.Last) <= 0
		})
	case MatchDSCP:
		return p.dscp == s.Value
	case MatchKey:
		return slices.ContainsFunc(s.Ranges, func(r KeyRange) bool { return within(r, p.value(s.Key)) })
	}
	panic(fmt.Sprintf("%T is no match", s))
}

// An end is what has become of a packet: the policies that have counted it, and whether it goes on.
type end struct {
	counted []string
	over    bool
}

// walk asks the chain as the kernel would. It returns true when the packet is done with. deep is how many rules
// were asked.
func (p packet) walk(chains map[string]Chain, name string, e *end, deep *int) {
	for _, r := range chains[name].Rules {
		*deep++
	rule:
		for _, s := range r {
			switch s := s.(type) {
			case Count:
				e.counted = append(e.counted, s.Name)
			case SetMark:
			case Accept, Reject:
				e.over = true
				return
			case Return:
				return
			case Goto:
				p.walk(chains, s.Chain, e, deep)
				if e.over || !s.Jump {
					return
				}
			case Dispatch:
				for _, way := range s.To {
					if within(way.KeyRange, p.value(s.Key)) {
						p.walk(chains, way.Chain, e, deep)
						return
					}
				}
				break rule
			default:
				if !p.matches(s) {
					break rule
				}
			}
		}
	}
}

// first is the policy that a packet is meant by, asked one after the other: what the table must come to.
func (p packet) first(policies []Policy) string {
	for _, policy := range policies {
		holds := func(m Match, v6 bool) bool {
			return slices.ContainsFunc(m.ways(v6), func(r Rule) bool {
				return !slices.ContainsFunc(r, func(s Statement) bool { return !p.matches(s) })
			})
		}
		v6 := p.to.Is6()
		denied := slices.ContainsFunc(policy.Not.each(), func(m Match) bool { return holds(m, v6) })
		if !policy.Skip && holds(policy.Match, v6) && !denied {
			return policy.Counter()
		}
	}
	return ""
}

// A draw makes policies and packets at random, of few values, so that they meet.
type draw struct {
	*rand.Rand
	v6 bool
}

func (d draw) address() netip.Addr {
	if d.v6 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(d.IntN(3)), byte(d.IntN(4)), 15: byte(d.IntN(8))})
	}
	return netip.AddrFrom4([4]byte{byte(d.IntN(2)) * 255, byte(d.IntN(3)), byte(d.IntN(4)), byte(d.IntN(2)) * 255})
}

func (d draw) prefixes() *Prefixes {
	var list []netip.Prefix
	for range 1 + d.IntN(3) {
		bits := 5 + d.IntN(28)
		if d.v6 {
			bits = []int{14, 40, 48, 128}[d.IntN(4)]
		}
		list = append(list, netip.PrefixFrom(d.address(), bits).Masked())
	}
	return NewPrefixes(list)
}

func (d draw) mac() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, byte(255 - d.IntN(6))} }

func (d draw) match(likely int) (m Match) {
	if d.IntN(likely) == 0 {
		m.From = d.prefixes()
	}
	if d.IntN(likely) == 0 {
		m.To = d.prefixes()
	}
	if d.IntN(likely) == 0 {
		m.In = [][]string{{"lan0"}, {"lan1"}, {"wlan*"}, {"lan0", "wlan1"}, {"lan*", "lan1"}}[d.IntN(5)]
	}
	if d.IntN(likely) == 0 {
		m.MAC = []net.HardwareAddr{d.mac(), d.mac()}
	}
	if d.IntN(likely) == 0 {
		first := uint16(65535 - d.IntN(8))
		m.DPort = []PortRange{{First: first, Last: first + uint16(d.IntN(int(65535-first)+1))}}
	}
	if d.IntN(likely) == 0 {
		user := uint32(1000 + d.IntN(3))
		m.User = &user
	}
	if d.IntN(2*likely) == 0 {
		dscp := uint8(d.IntN(3))
		m.DSCP = &dscp
	}
	return m
}

func (d draw) packet() packet {
	return packet{
		in: []string{"lan0", "lan1", "wlan0", "wlan1"}[d.IntN(4)], mac: d.mac(), user: uint32(1000 + d.IntN(4)),
		protocol: []uint8{1, 6, 17}[d.IntN(3)], dport: uint16(65535 - d.IntN(9)), from: d.address(), to: d.address(),
		dscp: uint8(d.IntN(4)),
	}
}

// Of policies and packets at random, the tables come to the policy that comes first of those that the packet is meant
// by, and count it once.
func TestDispatchKeepsTheOrder(t *testing.T) {
	met, dispatched := 0, 0
	for seed := range uint64(1000) {
		d := draw{Rand: rand.New(rand.NewPCG(seed, 1)), v6: seed%2 == 1}
		var policies []Policy
		for n := range d.IntN(90) {
			p := Policy{Name: fmt.Sprint("p", n), Match: d.match(2 + int(seed%3)), Mark: 1, Skip: d.IntN(20) == 0, Prohibit: d.IntN(9) == 0}
			if d.IntN(4) == 0 {
				p.Not = d.match(5)
			}
			policies = append(policies, p)
		}
		side := side{v6: d.v6, policies: policies}
		chains := map[string]Chain{"to_1": {Rules: []Rule{{SetMark{}, Accept{}}}}}
		for _, c := range side.chains() {
			if _, twice := chains[c.Name]; twice {
				t.Fatalf("seed %d: two chains are called %s", seed, c.Name)
			}
			chains[c.Name] = c
			if strings.HasPrefix(c.Name, "dispatch") {
				dispatched++
			}
		}
		for range 300 {
			p, e := d.packet(), end{}
			p.walk(chains, chainPolicies, &e, new(int))
			got := strings.Join(e.counted, " ")
			if want := p.first(policies); got != want {
				t.Fatalf("seed %d: %+v is counted by %q, want %q", seed, p, got, want)
			}
			if got != "" {
				met++
			}
		}
	}
	if met < 10_000 || dispatched < 100 {
		t.Errorf("%d packets met a policy, and %d times there was a table: this says little", met, dispatched)
	}
}

// Two hundred policies of five kinds are asked in a handful of rules, not in two hundred.
func TestDispatchAsksFewRules(t *testing.T) {
	policies := mixed(200)
	chains := map[string]Chain{"to_1": {Rules: []Rule{{SetMark{}, Accept{}}}}}
	for _, c := range (side{policies: policies}).chains() {
		chains[c.Name] = c
	}
	p := packet{in: "lan", mac: net.HardwareAddr{4, 0, 0, 0, 0, 1}, protocol: 17, dport: 9, to: netip.MustParseAddr("192.0.2.1")}
	for _, c := range []struct {
		name   string
		change func(*packet)
	}{
		{"", func(*packet) {}},
		{"policy_p4", func(p *packet) { p.dport = 10_042 }},
		{"policy_p197", func(p *packet) { p.to = netip.MustParseAddr("203.0.113.197") }},
		{"policy_p199", func(p *packet) { p.mac = net.HardwareAddr{2, 0, 0, 0, 0, 199} }},
	} {
		q, e, deep := p, end{}, 0
		c.change(&q)
		q.walk(chains, chainPolicies, &e, &deep)
		if got := strings.Join(e.counted, " "); got != c.name || deep > 12 {
			t.Errorf("%q: counted by %q, after %d rules", c.name, got, deep)
		}
	}
}
