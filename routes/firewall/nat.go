package firewall

// nat gives what leaves by an uplink an address of that uplink: what is forwarded, where the
// uplink masquerades, and what a policy has led there.
func (t Table) nat() Chain {
	c := Chain{Name: chainNAT, Type: "nat", Hook: "postrouting", Priority: prioritySource}
	for _, u := range t.Uplinks {
		if u.Masquerade {
			c.Rules = append(c.Rules, Rule{
				MatchIPv4{}, MatchOut{u.Interface}, MatchOwn{Not: true}, Masquerade{},
			})
		}
		// A program's source address was chosen before a policy led it elsewhere.
		if t.Marks && len(t.Policies) > 0 {
			c.Rules = append(c.Rules, Rule{
				MatchIPv4{},
				MatchOut{u.Interface},
				MatchOwn{},
				MatchMark{Mask: t.Mask, Value: u.Mark},
				MatchForeignSource{},
				Masquerade{},
			})
		}
	}
	return c
}
