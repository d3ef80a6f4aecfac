package firewall

import "slices"

// chains returns the chain that asks the policies in order, and those that single ones need.
// Each has the policy's name, so that a change of one policy is a change of its rules alone.
// Where many follow each other that a table of what they name tells apart, that table is asked
// in their place.
func (s side) chains() []Chain {
	ask := Chain{Name: chainPolicies + s.suffix}
	var more []Chain
	var run []keyed // those before, that a table may tell apart
	end := func() {
		if len(run) == 0 {
			return
		}
		if d := (dispatcher{side: s, name: run[0].name, run: run}); !d.worth() {
			for _, k := range run {
				ask.Rules = append(ask.Rules, k.rules...)
			}
		} else {
			more = append(more, d.chains()...)
			ask.Rules = append(ask.Rules, Rule{Goto{Chain: d.chain("dispatch"), Jump: true}})
		}
		run = nil
	}
	for _, p := range s.policies {
		if p.Skip {
			continue
		}
		rules, needs := s.rules(p)
		more = append(more, needs...)
		keys := p.Match.keys()
		if p.Match.split(s.policies) {
			delete(keys, KeyInterface)
		}
		if len(keys) > 0 {
			run = append(run, keyed{name: p.Name, rules: rules, keys: keys})
			continue
		}
		end()
		ask.Rules = append(ask.Rules, rules...)
	}
	end()
	return append(more, ask)
}

// rules returns the rules that ask one policy, and the chains that they need. A packet that is meant does not
// come back from them.
func (s side) rules(p Policy) ([]Rule, []Chain) {
	does, needs := s.does(p)
	if except := p.Not.each(); len(except) > 0 {
		c := Chain{Name: "except" + s.suffix + "." + p.Name}
		for _, m := range except {
			for _, way := range m.ways(s.v6) {
				c.Rules = append(c.Rules, append(way, Return{}))
			}
		}
		c.Rules = append(c.Rules, does)
		needs = append(needs, c)
		does = Rule{Goto{Chain: c.Name, Jump: true}}
	}
	var list []Rule
	for _, way := range p.Match.ways(s.v6) {
		list = append(list, append(way, does...))
	}
	return list, needs
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
