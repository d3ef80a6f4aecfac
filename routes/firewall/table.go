// Package firewall has our own nft table as values: its chains, rules, sets and
// statements, and their text as nft(8) has it.
package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// A Table is our own nft table as it is to be: which uplink a connection
// belongs to, kept in its mark, and what is translated. Foreign tables and chains
// are never written to, and of marks only the bits under Mask.
type Table struct {
	Name     string // of family inet
	Mask     uint32
	Marks    bool // connections are marked, and follow their mark
	Uplinks  []Uplink
	Policies []Policy

	// LeaveMarked leaves alone what a program of this host has marked, with whatever bits: rules
	// of others look at the whole mark.
	LeaveMarked bool
}

// A Uplink is an uplink as the nft table knows it.
type Uplink struct {
	Name       string
	Interface  string
	Mark       uint32
	Masquerade bool // of forwarded traffic
	Out        bool // it can carry nothing: new connections must not follow its mark
}

// A Policy says by which uplink new connections leave that it matches. The first
// that matches counts. Empty fields match all.
type Policy struct {
	Name     string
	From, To *Prefixes
	In       string  // interface
	Protocol []uint8 // IP protocol numbers
	SPort    []PortRange
	DPort    []PortRange
	User     *uint32 // of local programs
	DSCP     *uint8

	Mark     uint32  // of the uplink it leads to now; 0: by weight, as all else
	Prohibit bool    // it leads nowhere now
	Skip     bool    // it does not count now
	Sticky   *Sticky // of those that go by weight
}

// A PortRange is both ends included.
type PortRange struct{ First, Last uint16 }

// Sticky keeps the connections of one source on one uplink for a time.
type Sticky struct {
	Destination bool // of one source and one destination
	Seconds     uint32
	Ways        []StickyWay // among which a new source is spread
}

// A StickyWay is an uplink that carries, and its weight.
type StickyWay struct {
	Mark   uint32
	Weight int
}

// Names of chains.
const (
	chainPolicies = "policies"
	chainNAT      = "nat"
)

// A Chain of nft. Those without a hook are jumped to.
type Chain struct {
	Name     string
	Type     string // filter | route | nat | ""
	Hook     string // prerouting | output | postrouting
	Priority int
	Rules    []Rule
}

// A Rule is one rule: what it matches, and what it does.
type Rule []Statement

// Chain returns the name of the chain that leads packets to the uplink.
func (u Uplink) Chain() string { return fmt.Sprintf("to_%x", u.Mark) }

// Priorities of hooks (linux/netfilter_ipv4.h).
const (
	priorityMangle = -150
	prioritySource = 100
)

// Chains returns what the table holds. A packet goes like this:
//
//	prerouting   of a known connection: take its mark, and so its uplink's table;
//	             in by an uplink: the connection is that uplink's, so that answers
//	             go back there; new, from elsewhere: ask the policies
//	output       what this host sends: likewise, unless the program has marked it
//	postrouting  out by an uplink for the first time: the connection is its
//	nat          forwarded and out by an uplink that masquerades
func (t Table) Chains() []Chain {
	var chains []Chain
	if t.Marks {
		chains = append(chains, t.prerouting(), t.output(), t.postrouting())
		for _, u := range t.Uplinks {
			mark := Rule{SetMark{Mask: t.Mask, Value: u.Mark}}
			chains = append(chains, Chain{Name: u.Chain(), Rules: []Rule{mark}})
		}
		if len(t.Policies) > 0 {
			chains = append(chains, t.policies()...)
		}
	}
	if nat := t.nat(); len(nat.Rules) > 0 {
		chains = append(chains, nat)
	}
	return chains
}

// follow sends a packet of a known connection to its uplink. A new connection may have
// a mark already, from the first of its packets or from somebody else's rules: that
// counts as long as the uplink can carry anything, and is dropped when it cannot.
func (t Table) follow() []Rule {
	all := Rule{Follow{Mask: t.Mask, To: t.Uplinks}}
	var live []Uplink
	for _, u := range t.Uplinks {
		if !u.Out {
			live = append(live, u)
		}
	}
	if len(live) == len(t.Uplinks) || len(live) == 0 {
		return []Rule{all}
	}
	return []Rule{
		{MatchNew{}, Follow{Mask: t.Mask, To: live}},
		{MatchNew{}, SetMark{Connection: true, Mask: t.Mask}},
		all,
	}
}

// askPolicies sends what is new to the policies, if there are any.
func (t Table) askPolicies() []Rule {
	if len(t.Policies) == 0 {
		return nil
	}
	return []Rule{{MatchNew{}, Goto{Chain: chainPolicies}}}
}

func (t Table) prerouting() Chain {
	rules := append([]Rule{{MatchIPv4{Not: true}, Return{}}}, t.follow()...)
	unmarked := MatchMark{Connection: true, Mask: t.Mask}
	for _, u := range t.Uplinks {
		in := MatchIn{Interface: u.Interface}
		rules = append(rules,
			Rule{in, unmarked, SetMark{Connection: true, Mask: t.Mask, Value: u.Mark}},
			Rule{in, Return{}})
	}
	return Chain{
		Name: "prerouting", Type: "filter", Hook: "prerouting", Priority: priorityMangle,
		Rules: append(rules, t.askPolicies()...),
	}
}

func (t Table) output() Chain {
	set := t.Mask
	if t.LeaveMarked {
		set = ^uint32(0)
	}
	rules := append([]Rule{
		{MatchIPv4{Not: true}, Return{}},
		{MatchMark{Mask: set, Not: true}, Return{}},
	}, t.follow()...)
	return Chain{
		Name: "output", Type: "route", Hook: "output", Priority: priorityMangle,
		Rules: append(rules, t.askPolicies()...),
	}
}

func (t Table) postrouting() Chain {
	rules := []Rule{
		{MatchIPv4{Not: true}, Return{}},
		{MatchMark{Connection: true, Mask: t.Mask, Not: true}, Return{}},
	}
	for _, u := range t.Uplinks {
		rules = append(rules, Rule{
			MatchOut{u.Interface}, SetMark{Connection: true, Mask: t.Mask, Value: u.Mark},
		})
	}
	return Chain{Name: "postrouting", Type: "filter", Hook: "postrouting", Priority: priorityMangle, Rules: rules}
}

// policies returns the chain that asks them in order, and those that the sticky
// ones need.
func (t Table) policies() []Chain {
	ask := Chain{Name: chainPolicies}
	var more []Chain
	for n, p := range t.Policies {
		if p.Skip {
			continue
		}
		rule := append(p.matches(), Count{p.Counter()})
		switch {
		case p.Prohibit:
			rule = append(rule, Reject{})
		case p.Mark != 0:
			rule = append(rule, Goto{Chain: Uplink{Mark: p.Mark}.Chain()})
		case p.Sticky != nil && len(p.Sticky.Ways) > 0:
			name := fmt.Sprintf("sticky_%d", n)
			rule = append(rule, Goto{Chain: name})
			more = append(more, p.sticky(name)...)
		default:
			rule = append(rule, Return{})
		}
		ask.Rules = append(ask.Rules, rule)
	}
	return append(more, ask)
}

func (p Policy) matches() Rule {
	var rule Rule
	if p.From != nil {
		rule = append(rule, MatchAddress{Source: true, Set: p.From})
	}
	if p.To != nil {
		rule = append(rule, MatchAddress{Set: p.To})
	}
	if p.In != "" {
		rule = append(rule, MatchIn{p.In})
	}
	protocols := p.Protocol
	if len(protocols) == 0 && len(p.SPort)+len(p.DPort) > 0 {
		protocols = []uint8{6, 17} // what has ports
	}
	if len(protocols) > 0 {
		rule = append(rule, MatchProtocol{protocols})
	}
	if len(p.SPort) > 0 {
		rule = append(rule, MatchPort{Source: true, Ranges: p.SPort})
	}
	if len(p.DPort) > 0 {
		rule = append(rule, MatchPort{Ranges: p.DPort})
	}
	if p.User != nil {
		rule = append(rule, MatchUser{*p.User})
	}
	if p.DSCP != nil {
		rule = append(rule, MatchDSCP{*p.DSCP})
	}
	return rule
}

// StickySet returns the name of the set of sources that stick to an uplink. What kind
// of set it is stands in its name: the kernel changes none into another.
func (p Policy) StickySet(mark uint32) string {
	kind := "s"
	if p.Sticky.Destination {
		kind = "sd"
	}
	return fmt.Sprintf("stuck_%s%d_%s_%x", kind, p.Sticky.Seconds, p.Name, mark)
}

// Counter returns the name of the policy's counter.
func (p Policy) Counter() string { return "policy_" + p.Name }

// sticky returns the chains that keep a source where it was, or else spread it by
// weight and remember where.
func (p Policy) sticky(name string) []Chain {
	s := p.Sticky
	c := Chain{Name: name}
	var spread Spread
	var ways []Chain
	for _, way := range s.Ways {
		chain := fmt.Sprintf("%s_%x", name, way.Mark)
		c.Rules = append(c.Rules, Rule{
			MatchStuck{Set: p.StickySet(way.Mark), Destination: s.Destination}, Goto{Chain: chain},
		})
		spread.To = append(spread.To, SpreadWay{chain, way.Weight})
		ways = append(ways, Chain{Name: chain, Rules: []Rule{
			{Stick{Set: p.StickySet(way.Mark), Destination: s.Destination, Seconds: s.Seconds}},
			{Goto{Chain: Uplink{Mark: way.Mark}.Chain()}},
		}})
	}
	c.Rules = append(c.Rules, Rule{spread})
	return append(ways, c)
}

// Version returns the name of a chain without rules, by which the table in the
// kernel says what it holds.
func (t Table) Version() string {
	sum := sha256.Sum256([]byte(t.String()))
	return "v_" + hex.EncodeToString(sum[:8])
}

// Sets returns the sets of addresses, each once.
func (t Table) Sets() []*Prefixes {
	var list []*Prefixes
	for _, p := range t.Policies {
		for _, set := range []*Prefixes{p.From, p.To} {
			same := func(other *Prefixes) bool { return other.SetName() == set.SetName() }
			if set != nil && !slices.ContainsFunc(list, same) {
				list = append(list, set)
			}
		}
	}
	return list
}

// String returns the table as nft has it. The elements of sets are left out.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", t.Name)
	for _, set := range t.Sets() {
		fmt.Fprintf(&b, "  set %s { type ipv4_addr; flags interval; } # %d ranges\n", set.SetName(), len(set.Ranges))
	}
	for _, c := range t.Chains() {
		fmt.Fprintf(&b, "  chain %s {\n", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, "    type %s hook %s priority %d; policy accept;\n", c.Type, c.Hook, c.Priority)
		}
		for _, r := range c.Rules {
			words := make([]string, len(r))
			for i, s := range r {
				words[i] = s.String()
			}
			b.WriteString("    " + strings.Join(words, " ") + "\n")
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}")
	return b.String()
}
