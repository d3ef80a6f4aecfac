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
