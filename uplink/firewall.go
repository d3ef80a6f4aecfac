package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes/firewall"
	"uplinkd/uplink/api"
	"uplinkd/uplink/cgroups"
)

// A policySet is the matches of one policy in one family, made once for a configuration: all but
// the control groups, which come and go.
type policySet struct {
	match, not firewall.Match
	never      bool // it names addresses, and none of this family
}

// policySets makes the matches of all policies, of what the file and the files it
// names say.
func policySets(c configs.Config) [families][]policySet {
	var all [families][]policySet
	for f := range families {
		all[f] = make([]policySet, len(c.Policies))
		for i, p := range c.Policies {
			match, some := matchOf(c, p.Match, f)
			not, _ := matchOf(c, p.Not, f) // of what is not there nothing is denied
			all[f][i] = policySet{match, not, !some}
		}
	}
	return all
}

// matchOf returns a match as it is in a family, and whether it can match any there.
func matchOf(c configs.Config, m configs.Match, f Family) (firewall.Match, bool) {
	from, someFrom := prefixSet(c, m.From, f)
	to, someTo := prefixSet(c, m.To, f)
	there := firewall.Match{
		From: from, To: to, Names: m.To.Names, In: m.In, MAC: m.MAC, Protocol: protocolsIn(f, m.Protocol),
		User: m.User, DSCP: m.DSCP,
	}
	for _, port := range m.SPort {
		there.SPort = append(there.SPort, firewall.PortRange(port))
	}
	for _, port := range m.DPort {
		there.DPort = append(there.DPort, firewall.PortRange(port))
	}
	return there, someFrom && someTo
}

// prefixSet returns the addresses of a family that a policy names, nil when there are none, and whether
// it can match any. A list that is empty for now is one of IPv4.
func prefixSet(c configs.Config, a configs.Addresses, f Family) (set *firewall.Prefixes, some bool) {
	if len(a.Prefixes)+len(a.Files) == 0 {
		return nil, true // any, or those of names
	}
	var list []netip.Prefix
	add := func(prefixes []netip.Prefix) {
		for _, p := range prefixes {
			if FamilyOf(p.Addr()) == f {
				list = append(list, p)
			}
		}
	}
	add(a.Prefixes)
	for _, file := range a.Files {
		add(c.Lists[file])
	}
	if f == IPv6 && len(list) == 0 {
		return nil, len(a.Names) > 0
	}
	return firewall.NewPrefixes(list), true
}

// firewall adds our nft table, if there is anything to stand in it.
func (d *desired) firewall() {
	c := &d.state.Config
	if d.state.firewallStands() {
		return
	}
	f := &firewall.Table{
		Name: d.set.Owner.Table(), Mask: c.Routes.FwMarkMask, Marks: c.Marks,
		LeaveMarked: d.state.OthersMarks&c.Routes.FwMarkMask != 0,
	}
	f.Uplinks = make([]firewall.Uplink, 0, len(d.state.Uplinks))
	for i := range d.state.Uplinks {
		for p := range d.state.Uplinks[i].Present() {
			d.firewallUplink(f, &d.state.Uplinks[i], p)
		}
	}
	for i := range d.state.Uplinks {
		if c := &d.state.Uplinks[i].Config; c.Quota.Bytes > 0 {
			f.Counted = append(f.Counted, firewall.Counted{Name: c.Name, Interface: c.Interface})
		}
	}
	translates := func(u firewall.Uplink) bool { return u.Masquerade || len(u.Translate) > 0 }
	if !c.Marks && len(f.Counted) == 0 && !slices.ContainsFunc(f.Uplinks, translates) &&
		!slices.ContainsFunc(f.Uplinks6, translates) {
		return
	}
	for i, p := range c.Policies {
		f.Policies = append(f.Policies, d.policy(IPv4, i, p))
		if len(f.Uplinks6) > 0 {
			f.Policies6 = append(f.Policies6, d.policy(IPv6, i, p))
		}
	}
	d.set.Firewall = f
}

// firewallStands reports whether our nft table is left as a process before us has made it: what stands is right as
// far as is known, until it is known what the LAN has, and which services run.
func (s *State) firewallStands() bool {
	unknown := len(s.Config.LAN) > 0 || len(s.named) > 0 && s.Groups == nil
	return unknown && s.FoundFirewall && !s.Settled
}

// firewallUplink adds one path of an uplink to our nft table.
func (d *desired) firewallUplink(f *firewall.Table, u *Uplink, p *Path) {
	c := &u.Config
	way := firewall.Uplink{
		Name: c.Name, Interface: c.Interface, Mark: c.FwMark, Masquerade: c.Masquerade,
		// What is kept as a last resort is followed: perhaps only the probes fail.
		Out: !p.Carries && (p.OperState == api.Down || p.OperState == api.Disabled),
	}
	if p.Family == IPv4 {
		f.Uplinks = append(f.Uplinks, way)
		return
	}
	// Without an address of its own, what leaves by it would get another uplink's.
	way.Masquerade = way.Masquerade && len(p.Preferred) > 0
	way.Translate = d.state.translations(u, p)
	way.Foreign = d.state.foreignTo(u)
	f.Uplinks6 = append(f.Uplinks6, way)
}

func (d *desired) policy(f Family, i int, p configs.Policy) firewall.Policy {
	set := &d.state.sets[f][i]
	r := firewall.Policy{Name: p.Name, Match: set.match, Not: set.not}
	var there bool
	r.Match.Cgroup, there = d.state.group(p.Match)
	r.Not.Cgroup, _ = d.state.group(p.Not)
	r.Skip = set.never || !there || !configs.Holds(p.When, d.state.At)
	if u := d.state.lead(i, f); u != nil {
		r.Mark = u.Config.FwMark
		return r
	}
	if len(p.Via) > 0 {
		r.Prohibit = p.WhenDown == configs.WhenDownProhibit
		r.Skip = r.Skip || p.WhenDown == configs.WhenDownNext
		return r
	}
	if p.Sticky != configs.StickyNone {
		r.Sticky = d.state.sticky(p, f)
	}
	return r
}

// group returns the control group that a match names, nil when it names none, and whether it can match
// any: one that does not run has sent nothing.
func (s *State) group(m configs.Match) (*firewall.Cgroup, bool) {
	if m.Unit == "" && m.Cgroup == "" {
		return nil, true
	}
	g, ok := s.Groups[cgroups.Name{Unit: m.Unit, Path: m.Cgroup}]
	if !ok {
		return nil, false
	}
	return &firewall.Cgroup{Path: g.Path, Level: g.Level, ID: g.ID}, true
}

// groupNames returns the control groups that policies name, each once.
func groupNames(c configs.Config) []cgroups.Name {
	var list []cgroups.Name
	for i := range c.Policies {
		for _, m := range []*configs.Match{&c.Policies[i].Match, &c.Policies[i].Not} {
			name := cgroups.Name{Unit: m.Unit, Path: m.Cgroup}
			if name != (cgroups.Name{}) && !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list
}

// sticky says who keeps to which uplink. Whose uplink only pauses goes elsewhere meanwhile, and back;
// whose uplink is down is at home elsewhere from then on: what he had over it has ended.
func (s *State) sticky(p configs.Policy, f Family) *firewall.Sticky {
	k := &firewall.Sticky{
		Destination: p.Sticky == configs.StickySourceDestination, Seconds: uint32(p.For / time.Second),
	}
	for _, n := range s.carriers(f) {
		u := &s.Uplinks[n]
		k.Ways = append(k.Ways, firewall.StickyWay{Mark: u.Config.FwMark, Weight: max(u.Paths[f].Weight, 1)})
	}
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		state := u.Paths[f].OperState
		switch {
		case !u.Has(f) || u.Paths[f].Carries || state == api.Down || state == api.Disabled || u.spent(configs.ThenOut):
		case s.overflows(u, f):
			k.Full = append(k.Full, u.Config.FwMark)
		default:
			k.Away = append(k.Away, u.Config.FwMark)
		}
	}
	return k
}

// overflows reports whether an uplink takes no new connections only because others of its tier are to fill first, or
// after it: whose it is may go on there.
func (s *State) overflows(u *Uplink, f Family) bool {
	active := s.carriers(f)
	return s.Config.Routes.Balance == configs.BalanceOverflow && u.Paths[f].OperState == api.Up && !u.Load.Capped &&
		!u.Paths[f].Advice.Drains() && len(active) > 0 && u.tier(f) == s.Uplinks[active[0]].tier(f)
}

// Numbers of protocols (IANA).
const (
	protocolICMP   = 1
	protocolICMPv6 = 58
)

// protocolsIn returns the protocols of a policy as a family has them: what is ICMP there is ICMPv6 here.
func protocolsIn(f Family, list []uint8) []uint8 {
	if f == IPv4 || !slices.Contains(list, protocolICMP) {
		return list
	}
	list = slices.Clone(list)
	list[slices.Index(list, protocolICMP)] = protocolICMPv6
	return list
}
