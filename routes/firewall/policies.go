package firewall

import "fmt"

// chains returns the chain that asks the policies in order, and those that the sticky
// ones need.
func (s side) chains() []Chain {
	ask := Chain{Name: chainPolicies + s.suffix}
	var more []Chain
	for n, p := range s.policies {
		if p.Skip {
			continue
		}
		rule := append(p.matches(s.v6), Count{p.Counter()})
		switch {
		case p.Prohibit:
			rule = append(rule, Reject{})
		case p.Mark != 0:
			rule = append(rule, Goto{Chain: Uplink{Mark: p.Mark}.Chain()})
		case p.Sticky != nil && len(p.Sticky.Ways) > 0:
			name := fmt.Sprintf("sticky%s_%d", s.suffix, n)
			rule = append(rule, Goto{Chain: name})
			more = append(more, p.sticky(name, s.v6)...)
		default:
			rule = append(rule, Return{})
		}
		ask.Rules = append(ask.Rules, rule)
	}
	return append(more, ask)
}

func (p Policy) matches(v6 bool) Rule {
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
		rule = append(rule, MatchDSCP{v6, *p.DSCP})
	}
	return rule
}

// StickySet returns the name of the set of sources that stick to an uplink. What kind
// of set it is stands in its name: the kernel changes none into another.
func (p Policy) StickySet(v6 bool, mark uint32) string {
	kind := "s"
	if p.Sticky.Destination {
		kind = "sd"
	}
	if v6 {
		kind += "6_"
	}
	return fmt.Sprintf("stuck_%s%d_%s_%x", kind, p.Sticky.Seconds, p.Name, mark)
}

// Counter returns the name of the policy's counter.
func (p Policy) Counter() string { return "policy_" + p.Name }

// sticky returns the chains that keep a source where it was, or else spread it by
// weight and remember where.
func (p Policy) sticky(name string, v6 bool) []Chain {
	s := p.Sticky
	c := Chain{Name: name}
	var spread Spread
	var ways []Chain
	for _, way := range s.Ways {
		chain := fmt.Sprintf("%s_%x", name, way.Mark)
		c.Rules = append(c.Rules, Rule{
			MatchStuck{Set: p.StickySet(v6, way.Mark), V6: v6, Destination: s.Destination}, Goto{Chain: chain},
		})
		spread.To = append(spread.To, SpreadWay{chain, way.Weight})
		ways = append(ways, Chain{Name: chain, Rules: []Rule{
			{Stick{Set: p.StickySet(v6, way.Mark), V6: v6, Destination: s.Destination, Seconds: s.Seconds}},
			{Goto{Chain: Uplink{Mark: way.Mark}.Chain()}},
		}})
	}
	c.Rules = append(c.Rules, Rule{spread})
	return append(ways, c)
}
