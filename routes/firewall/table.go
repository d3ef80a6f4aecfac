// Package firewall has our own nft table as values: its chains, rules, sets and
// statements, and their text as nft(8) has it.
package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Table is our own nft table as it is to be: which uplink a connection
// belongs to, kept in its mark, and what is translated. Foreign tables and chains
// are never written to, and of marks only the bits under Mask.
type Table struct {
	Name     string // of family inet
	Mask     uint32
	Marks    bool     // connections are marked, and follow their mark
	Uplinks  []Uplink // in IPv4
	Policies []Policy // of IPv4

	// Those of IPv6: with no uplink there, that family is left alone.
	Uplinks6  []Uplink
	Policies6 []Policy

	Counted []Counted // interfaces whose traffic is counted
	// LeaveMarked leaves alone what a program of this host has marked, with whatever bits: rules
	// of others look at the whole mark.
	LeaveMarked bool
}

// A side is what the table holds of one family.
type side struct {
	v6       bool
	suffix   string // of the names of its chains
	uplinks  []Uplink
	policies []Policy
}

// sides returns the families that there is something of.
func (t Table) sides() []side {
	list := make([]side, 0, 2)
	if len(t.Uplinks) > 0 || len(t.Uplinks6) == 0 {
		list = append(list, side{uplinks: t.Uplinks, policies: t.Policies})
	}
	if len(t.Uplinks6) > 0 {
		list = append(list, side{v6: true, suffix: "6", uplinks: t.Uplinks6, policies: t.Policies6})
	}
	return list
}

// A Translation puts one prefix in the place of another, of the same length.
type Translation struct {
	From netip.Prefix
	To   netip.Prefix // not valid: the address of the interface
}

// A Uplink is an uplink as the nft table knows it, in one family.
type Uplink struct {
	Name       string
	Interface  string
	Mark       uint32
	Masquerade bool // of forwarded traffic
	Translate  []Translation
	Foreign    *Prefixes // what no packet may have as its source that leaves by it; nil: nothing
	Out        bool      // it can carry nothing: new connections must not follow its mark
}

// A Policy says by which uplink new connections leave that it matches. The first
// that matches counts.
type Policy struct {
	Name     string
	Match    Match   // all of it holds
	Not      Match   // nothing of it does
	Mark     uint32  // of the uplink it leads to now; 0: by weight, as all else
	Prohibit bool    // it leads nowhere now
	Skip     bool    // it does not count now
	Sticky   *Sticky // of those that go by weight
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

// String returns the rule as nft has it. A control group that has gone and come again has the path
// that it had, and another number, which the kernel goes by: that is in a comment.
func (r Rule) String() string {
	words := make([]string, len(r), len(r)+1)
	for i, s := range r {
		words[i] = s.String()
		if m, ok := s.(MatchCgroup); ok {
			words = append(words, fmt.Sprintf("comment \"cgroup %d\"", m.Cgroup.ID))
		}
	}
	return strings.Join(words, " ")
}

// Chain returns the name of the chain that leads packets to the uplink.
func (u Uplink) Chain() string { return fmt.Sprintf("to_%x", u.Mark) }

// Priorities of hooks (linux/netfilter_ipv4.h).
const (
	priorityMangle = -150
	prioritySource = 100
	priorityLast   = 150 // what was translated has its new address
)

// Chains returns what the table holds. A packet goes like this:
//
//	prerouting   of a known connection: take its mark, and so its uplink's table;
//	             in by an uplink: the connection is that uplink's, so that answers
//	             go back there; new, from elsewhere: ask the policies
//	output       what this host sends: likewise, unless the program has marked it
//	postrouting  out by an uplink for the first time: the connection is its
//	nat          forwarded and out by an uplink that masquerades, or translates a prefix
//	foreign      out by an uplink with an address that is another's
func (t Table) Chains() []Chain {
	var chains []Chain
	known := map[uint32]bool{}
	for _, s := range t.sides() {
		if !t.Marks {
			break
		}
		chains = append(chains, t.prerouting(s), t.output(s), t.postrouting(s))
		for _, u := range s.uplinks {
			if !known[u.Mark] {
				known[u.Mark] = true
				mark := Rule{SetMark{Mask: t.Mask, Value: u.Mark}, Accept{}}
				chains = append(chains, Chain{Name: u.Chain(), Rules: []Rule{mark}})
			}
		}
		if len(s.policies) > 0 {
			chains = append(chains, s.chains()...)
		}
	}
	chains = append(chains, t.counting()...)
	if nat := t.nat(); len(nat.Rules) > 0 {
		chains = append(chains, nat)
	}
	if foreign := t.foreign(); len(foreign.Rules) > 0 {
		chains = append(chains, foreign)
	}
	return chains
}

// follow sends a packet of a known connection to its uplink. A new connection may have
// a mark already, from the first of its packets or from somebody else's rules: that
// counts as long as the uplink can carry anything, and is dropped when it cannot.
func (t Table) follow(s side) []Rule {
	all := Rule{Follow{Mask: t.Mask, To: s.uplinks}}
	var live []Uplink
	for _, u := range s.uplinks {
		if !u.Out {
			live = append(live, u)
		}
	}
	if len(live) == len(s.uplinks) || len(live) == 0 {
		return []Rule{all}
	}
	return []Rule{
		{MatchNew{}, Follow{Mask: t.Mask, To: live}},
		{MatchNew{}, SetMark{Connection: true, Mask: t.Mask}},
		all,
	}
}

// askPolicies sends what is new to the policies, if there are any.
func (s side) askPolicies() []Rule {
	if len(s.policies) == 0 {
		return nil
	}
	return []Rule{{MatchNew{}, Goto{Chain: chainPolicies + s.suffix}}}
}

// others leaves packets of the other family alone.
func (s side) others() Rule { return Rule{MatchFamily{V6: s.v6, Not: true}, Return{}} }

func (t Table) prerouting(s side) Chain {
	rules := append([]Rule{s.others()}, t.follow(s)...)
	unmarked := MatchMark{Connection: true, Mask: t.Mask}
	for _, u := range s.uplinks {
		in := MatchIn{Interface: u.Interface}
		rules = append(rules,
			Rule{in, unmarked, SetMark{Connection: true, Mask: t.Mask, Value: u.Mark}},
			Rule{in, Return{}})
	}
	return Chain{
		Name: "prerouting" + s.suffix, Type: "filter", Hook: "prerouting", Priority: priorityMangle,
		Rules: append(rules, s.askPolicies()...),
	}
}

func (t Table) output(s side) Chain {
	set := t.Mask
	if t.LeaveMarked {
		set = ^uint32(0)
	}
	rules := append([]Rule{
		s.others(),
		{MatchMark{Mask: set, Not: true}, Return{}},
	}, t.follow(s)...)
	return Chain{
		Name: "output" + s.suffix, Type: "route", Hook: "output", Priority: priorityMangle,
		Rules: append(rules, s.askPolicies()...),
	}
}

func (t Table) postrouting(s side) Chain {
	rules := []Rule{
		s.others(),
		{MatchMark{Connection: true, Mask: t.Mask, Not: true}, Return{}},
	}
	for _, u := range s.uplinks {
		rules = append(rules, Rule{
			MatchOut{u.Interface}, SetMark{Connection: true, Mask: t.Mask, Value: u.Mark},
		})
	}
	return Chain{
		Name: "postrouting" + s.suffix, Type: "filter", Hook: "postrouting", Priority: priorityMangle, Rules: rules,
	}
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
	for _, p := range slices.Concat(t.Policies, t.Policies6) {
		for _, m := range []Match{p.Match, p.Not} {
			list = withSet(withSet(list, m.From), m.To)
		}
	}
	for _, u := range t.Uplinks6 {
		list = withSet(list, u.Foreign)
	}
	return list
}

func withSet(list []*Prefixes, set *Prefixes) []*Prefixes {
	same := func(other *Prefixes) bool { return other.SetName() == set.SetName() }
	if set == nil || slices.ContainsFunc(list, same) {
		return list
	}
	return append(list, set)
}

// String returns the table as nft has it. The elements of sets are left out.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", t.Name)
	for _, set := range t.Sets() {
		fmt.Fprintf(&b, "  set %s { type %s; flags interval; } # %d ranges\n",
			set.SetName(), set.addressType(), len(set.Ranges))
	}
	for _, set := range t.KeptSets() {
		fmt.Fprintf(&b, "  set %s\n", set)
	}
	for _, c := range t.Chains() {
		fmt.Fprintf(&b, "  chain %s {\n", c.Name)
		if c.Hook != "" {
			fmt.Fprintf(&b, "    type %s hook %s priority %d; policy accept;\n", c.Type, c.Hook, c.Priority)
		}
		for _, r := range c.Rules {
			b.WriteString("    " + r.String() + "\n")
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}")
	return b.String()
}
