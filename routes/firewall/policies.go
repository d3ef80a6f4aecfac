package firewall

import "slices"

// chains returns the chain that asks the policies in order, and those that single ones need.
// Each has the policy's name, so that a change of one policy is a change of its rules alone.
func (s side) chains() []Chain {
	ask := Chain{Name: chainPolicies + s.suffix}
	var more []Chain
	for _, p := range s.policies {
		if p.Skip {
			continue
		}
		does, needs := s.does(p)
		more = append(more, needs...)
		if except := p.Not.each(); len(except) > 0 {
			c := Chain{Name: "policy" + s.suffix + "." + p.Name}
			for _, m := range except {
				for _, way := range m.ways(s.v6) {
					c.Rules = append(c.Rules, append(way, Return{}))
				}
			}
			c.Rules = append(c.Rules, comesBack(does), Rule{Accept{}})
			more = append(more, c)
			does = Rule{Goto{Chain: c.Name, Jump: true}}
		}
		for _, way := range p.Match.ways(s.v6) {
			ask.Rules = append(ask.Rules, append(way, does...))
		}
	}
	return append(more, ask)
}

// comesBack is a rule that ends in a jump where it ended in a goto: of a chain that was jumped to, a goto leads
// back to where the jump was, and so to the next policy.
func comesBack(r Rule) Rule {
	if g, ok := r[len(r)-1].(Goto); ok {
		g.Jump = true
		r[len(r)-1] = g
	}
	return r
}

// does returns what becomes of a connection that is meant, and the chains that takes.
func (s side) does(p Policy) (Rule, []Chain) {
	rule := Rule{Count{p.Counter()}}
	switch {
	case p.Prohibit:
		return append(rule, Reject{}), nil
	case p.Mark != 0:
		return append(rule, Goto{Chain: Uplink{Mark: p.Mark}.Chain()}), nil
	case p.Sticky != nil && len(p.Sticky.Ways) > 0:
		k := sticker{sticky: *p.Sticky, policy: p.Name, side: s}
		return append(rule, Goto{Chain: k.chain(home)}), k.chains()
	}
	return append(rule, Accept{}), nil
}

// Counter returns the name of the policy's counter.
func (p Policy) Counter() string { return "policy_" + p.Name }

// Counters returns the names of the counters, each once.
func (t Table) Counters() []string {
	var list []string
	known := map[string]bool{}
	for _, p := range slices.Concat(t.Policies, t.Policies6) {
		if name := p.Counter(); !known[name] {
			known[name] = true
			list = append(list, name)
		}
	}
	for _, c := range t.Counted {
		list = append(list, c.Rx(), c.Tx())
	}
	return list
}

func equalPolicies(a, b Policy) bool {
	return a.Name == b.Name && equalMatches(a.Match, b.Match) && equalMatches(a.Not, b.Not) &&
		a.Mark == b.Mark && a.Prohibit == b.Prohibit && a.Skip == b.Skip && equalSticky(a.Sticky, b.Sticky)
}
