package uplink

import (
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
)

// A policySet is the addresses of one policy, made once for a configuration.
type policySet struct{ from, to *routes.Prefixes }

// policySets makes the sets of all policies, of what the file and the files it
// names say.
func policySets(c configs.Config) []policySet {
	set := func(a configs.Addresses) *routes.Prefixes {
		if a.Any() {
			return nil
		}
		list := slices.Clone(a.Prefixes)
		for _, file := range a.Files {
			list = append(list, c.Lists[file]...)
		}
		return routes.NewPrefixes(list)
	}
	sets := make([]policySet, len(c.Policies))
	for i, p := range c.Policies {
		sets[i] = policySet{set(p.From), set(p.To)}
	}
	return sets
}

// firewall adds our nft table, if there is anything to stand in it.
func (d *desired) firewall() {
	c := &d.state.Config
	f := &routes.Firewall{Table: d.set.Owner.Table(), Mask: c.Routes.FwMarkMask, Marks: c.Marks}
	masquerade := false
	for i := range d.state.Uplinks {
		u := &d.state.Uplinks[i].Config
		masquerade = masquerade || u.Masquerade
		f.Uplinks = append(f.Uplinks, routes.FirewallUplink{
			Name: u.Name, Interface: u.Interface, Mark: u.FwMark, Masquerade: u.Masquerade,
		})
	}
	if !c.Marks && !masquerade {
		return
	}
	for i, p := range c.Policies {
		f.Policies = append(f.Policies, d.policy(i, p))
	}
	d.set.Firewall = f
}

func (d *desired) policy(i int, p configs.Policy) routes.Policy {
	r := routes.Policy{
		Name: p.Name, From: d.state.sets[i].from, To: d.state.sets[i].to, In: p.In, Protocol: p.Protocol,
		User: p.User, DSCP: p.DSCP,
	}
	for _, port := range p.SPort {
		r.SPort = append(r.SPort, routes.PortRange(port))
	}
	for _, port := range p.DPort {
		r.DPort = append(r.DPort, routes.PortRange(port))
	}
	if u := d.state.lead(p); u != nil {
		r.Mark = u.Config.FwMark
		return r
	}
	if len(p.Via) > 0 {
		r.Prohibit, r.Skip = p.WhenDown == configs.WhenDownProhibit, p.WhenDown == configs.WhenDownNext
		return r
	}
	if p.Sticky != configs.StickyNone {
		r.Sticky = &routes.Sticky{
			Destination: p.Sticky == configs.StickySourceDestination, Seconds: uint32(p.For / time.Second),
		}
		for _, n := range Active(*d.state) {
			u := &d.state.Uplinks[n]
			r.Sticky.Ways = append(r.Sticky.Ways, routes.StickyWay{Mark: u.Config.FwMark, Weight: max(u.Weight, 1)})
		}
	}
	return r
}

// lead returns the uplink that a policy leads to now, nil when there is none.
func (s *State) lead(p configs.Policy) *Uplink {
	for _, name := range p.Via {
		for i := range s.Uplinks {
			u := &s.Uplinks[i]
			// At a start nobody has been judged, and what flows is not to be led elsewhere.
			starting := u.Phase == Starting && !s.Settled && u.Order.State == OrderNone && u.obstacle().why == ""
			if u.Config.Name == name && (u.Phase == Up || starting) && !u.Capped {
				return u
			}
		}
	}
	return nil
}

// leads says where a policy leads now, in words.
func (s *State) leads(p configs.Policy) string {
	if u := s.lead(p); u != nil {
		return u.Config.Name
	}
	if len(p.Via) == 0 {
		return "balance"
	}
	return map[configs.WhenDown]string{
		configs.WhenDownNext: "the next policy", configs.WhenDownProhibit: "nowhere",
		configs.WhenDownBalance: "balance",
	}[p.WhenDown]
}

// Files returns the files of prefixes that a configuration names.
func Files(c configs.Config) []string {
	var list []string
	for _, p := range c.Policies {
		list = append(append(list, p.From.Files...), p.To.Files...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
