package uplink

import (
	"cmp"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes/firewall"
	"uplinkd/uplink/api"
)

// A policySet is the addresses of one policy, made once for a configuration.
type policySet struct{ from, to *firewall.Prefixes }

// policySets makes the sets of all policies, of what the file and the files it
// names say.
func policySets(c configs.Config) []policySet {
	set := func(a configs.Addresses) *firewall.Prefixes {
		if a.Any() {
			return nil
		}
		list := slices.Clone(a.Prefixes)
		for _, file := range a.Files {
			list = append(list, c.Lists[file]...)
		}
		return firewall.NewPrefixes(list)
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
	f := &firewall.Table{
		Name: d.set.Owner.Table(), Mask: c.Routes.FwMarkMask, Marks: c.Marks,
		LeaveMarked: d.state.OthersMarks&c.Routes.FwMarkMask != 0,
	}
	masquerade := false
	f.Uplinks = make([]firewall.Uplink, 0, len(d.state.Uplinks))
	for i := range d.state.Uplinks {
		u := &d.state.Uplinks[i].Config
		path := &d.state.Uplinks[i].Paths[IPv4]
		masquerade = masquerade || u.Masquerade
		f.Uplinks = append(f.Uplinks, firewall.Uplink{
			Name: u.Name, Interface: u.Interface, Mark: u.FwMark, Masquerade: u.Masquerade,
			// What is kept as a last resort is followed: perhaps only the probes fail.
			Out: !path.Carries && (path.OperState == api.Down || path.OperState == api.Disabled),
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

func (d *desired) policy(i int, p configs.Policy) firewall.Policy {
	r := firewall.Policy{
		Name: p.Name, From: d.state.sets[i].from, To: d.state.sets[i].to, In: p.In, Protocol: p.Protocol,
		User: p.User, DSCP: p.DSCP,
	}
	for _, port := range p.SPort {
		r.SPort = append(r.SPort, firewall.PortRange(port))
	}
	for _, port := range p.DPort {
		r.DPort = append(r.DPort, firewall.PortRange(port))
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
		r.Sticky = &firewall.Sticky{
			Destination: p.Sticky == configs.StickySourceDestination, Seconds: uint32(p.For / time.Second),
		}
		for _, n := range d.state.carriers(IPv4) {
			u := &d.state.Uplinks[n]
			way := firewall.StickyWay{Mark: u.Config.FwMark, Weight: max(u.Paths[IPv4].Weight, 1)}
			r.Sticky.Ways = append(r.Sticky.Ways, way)
		}
	}
	return r
}

// lead returns the uplink that a policy leads to now, nil when there is none: the first
// that is up, or else the first that is and whose agent wants no new connections, or else the
// first that is doubtful.
func (s *State) lead(p configs.Policy) *Uplink {
	var drained, doubtful *Uplink
	for _, name := range p.Via {
		u := s.Named(name)
		if u == nil || u.Load.Capped {
			continue
		}
		path := &u.Paths[IPv4]
		// At a start nobody has been judged, and what flows is not to be led elsewhere.
		starting := path.OperState == api.Starting && !s.Settled && u.Admin.State == api.AdminUp &&
			u.obstacle(path).reason == ""
		if path.OperState == api.Up && path.Advice.Drains() {
			drained = cmp.Or(drained, u)
			continue
		}
		if path.OperState == api.Up || starting {
			return u
		}
		if path.OperState == api.Doubtful && doubtful == nil {
			doubtful = u
		}
	}
	return cmp.Or(drained, doubtful)
}

// Leads says where a policy leads now, in words.
func (s *State) Leads(p configs.Policy) string {
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
