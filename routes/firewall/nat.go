package firewall

// nat gives what leaves by an uplink an address of that uplink: what is forwarded, where the
// uplink masquerades, and what a policy has led there.
func (t Table) nat() Chain {
	c := Chain{Name: chainNAT, Type: "nat", Hook: "postrouting", Priority: prioritySource}
	for _, s := range t.sides() {
		c.Rules = append(c.Rules, t.natOf(s)...)
	}
	return c
}

func (t Table) natOf(s side) []Rule {
	var rules []Rule
	for _, u := range s.uplinks {
		for _, x := range u.Translate {
			to := Statement(Masquerade{})
			if x.To.IsValid() {
				to = TranslatePrefix{x.To}
			}
			rules = append(rules, Rule{MatchFamily{V6: s.v6}, MatchOut{u.Interface}, MatchPrefix{x.From}, to})
		}
		if u.Masquerade {
			rules = append(rules, Rule{
				MatchFamily{V6: s.v6}, MatchOut{u.Interface}, MatchOwn{Not: true}, Masquerade{},
			})
		}
		// A program's source address was chosen before a policy led it elsewhere.
		if t.Marks && len(s.policies) > 0 {
			rules = append(rules, Rule{
				MatchFamily{V6: s.v6},
				MatchOut{u.Interface},
				MatchOwn{},
				MatchMark{Mask: t.Mask, Value: u.Mark},
				MatchForeignSource{},
				Masquerade{},
			})
		}
	}
	return rules
}

// foreign drops what would leave by an uplink with an address of another's: of a flow that has been
// forgotten, connection tracking takes its last packets for none of any, and translates nothing.
// The provider would drop it (BCP 38).
func (t Table) foreign() Chain {
	c := Chain{Name: "foreign6", Type: "filter", Hook: "postrouting", Priority: priorityLast}
	for _, u := range t.Uplinks6 {
		if u.Foreign != nil {
			c.Rules = append(c.Rules, Rule{
				MatchFamily{V6: true}, MatchOut{u.Interface}, MatchAddress{Source: true, Set: u.Foreign}, Drop{},
			})
		}
	}
	return c
}
