package uplink

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes/firewall"
	"uplinkd/uplink/api"
)

// A policySet is the addresses of one policy in one family, made once for a configuration.
type policySet struct {
	from, to *firewall.Prefixes // nil: any
	never    bool               // it names addresses, and none of this family
}

// policySets makes the sets of all policies, of what the file and the files it
// names say.
func policySets(c configs.Config) [families][]policySet {
	var all [families][]policySet
	for f := range families {
		all[f] = make([]policySet, len(c.Policies))
		for i, p := range c.Policies {
			from, someFrom := prefixSet(c, p.From, f)
			to, someTo := prefixSet(c, p.To, f)
			all[f][i] = policySet{from, to, !someFrom || !someTo}
		}
	}
	return all
}

// prefixSet returns the addresses of a family that a policy names, nil when it names none at all,
// and whether it can match any. A list that is empty for now is one of IPv4.
func prefixSet(c configs.Config, a configs.Addresses, f Family) (set *firewall.Prefixes, some bool) {
	if a.Any() {
		return nil, true
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
	return firewall.NewPrefixes(list), f == IPv4 || len(list) > 0
}

// firewall adds our nft table, if there is anything to stand in it.
func (d *desired) firewall() {
	c := &d.state.Config
	if len(c.LAN) > 0 && d.state.FoundFirewall && !d.state.Settled {
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
	translates := func(u firewall.Uplink) bool { return u.Masquerade || len(u.Translate) > 0 }
	if !c.Marks && !slices.ContainsFunc(f.Uplinks, translates) && !slices.ContainsFunc(f.Uplinks6, translates) {
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
	set := d.state.sets[f][i]
	r := firewall.Policy{
		Name: p.Name, Skip: set.never,
		Match: firewall.Match{
			From: set.from, To: set.to, Protocol: protocolsIn(f, p.Protocol), User: p.User, DSCP: p.DSCP,
		},
	}
	if p.In != "" {
		r.Match.In = []string{p.In}
	}
	if set.never {
		return r
	}
	for _, port := range p.SPort {
		r.Match.SPort = append(r.Match.SPort, firewall.PortRange(port))
	}
	for _, port := range p.DPort {
		r.Match.DPort = append(r.Match.DPort, firewall.PortRange(port))
	}
	if u := d.state.lead(p, f); u != nil {
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
		for _, n := range d.state.carriers(f) {
			u := &d.state.Uplinks[n]
			way := firewall.StickyWay{Mark: u.Config.FwMark, Weight: max(u.Paths[f].Weight, 1)}
			r.Sticky.Ways = append(r.Sticky.Ways, way)
		}
	}
	return r
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

// lead returns the uplink that a policy leads to now in a family, nil when there is none: the first
// that is up, or else the first that is and whose agent wants no new connections, or else the
// first that is doubtful.
func (s *State) lead(p configs.Policy, f Family) *Uplink {
	var drained, doubtful *Uplink
	for _, name := range p.Via {
		u := s.Named(name)
		if u == nil || u.Load.Capped || !u.Has(f) {
			continue
		}
		path := &u.Paths[f]
		// At a start nobody has been judged, and what flows is not to be led elsewhere.
		starting := path.OperState == api.Starting && !s.Settled && u.AdminIn(f).State == api.AdminUp &&
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
	for f := range families {
		if u := s.lead(p, f); u != nil {
			return u.Config.Name
		}
	}
	if len(p.Via) == 0 {
		return "balance"
	}
	return map[configs.WhenDown]string{
		configs.WhenDownNext: "the next policy", configs.WhenDownProhibit: "nowhere",
		configs.WhenDownBalance: "balance",
	}[p.WhenDown]
}
