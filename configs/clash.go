package configs

import (
	"net/netip"
	"slices"
)

// fillIn gives tables, marks and return values to the uplinks that name none,
// and turns quorums into numbers.
func (p *parser) fillIn() {
	for i := range p.uplinks {
		if u := &p.uplinks[i]; u.Table == 0 {
			u.Table, u.AssignedTable = defaultTable+uint32(i)+1, true
		}
	}
	p.fillMarks()
	for i := range p.uplinks {
		u := &p.uplinks[i]
		u.Probe = u.Probe.filled(false)
		if u.IPv6.Present() {
			u.IPv6.Probe = u.IPv6.Probe.filled(true)
		} else {
			u.IPv6 = IPv6{}
		}
		p.checkTargetsLeft(u)
	}
}

// filled returns a probe as it is in one family, with everything in it a number.
func (c Probe) filled(v6 bool) Probe {
	c = c.inFamily(v6)
	c.fillLimits()
	switch c.Quorum {
	case quorumAny:
		c.Quorum = 1
	case quorumAll:
		c.Quorum = len(c.Targets)
	}
	c.Quorum = min(c.Quorum, max(len(c.Targets), 1))
	return c
}

// checkTargetsLeft refuses a path of which nothing can be probed.
func (p *parser) checkTargetsLeft(u *rawUplink) {
	if len(p.problems) > 0 {
		return
	}
	p.uplink = u.Name
	if u.Present() && len(u.Probe.Targets) == 0 {
		p.fail(u.where("probe"), "probe.targets: none can be asked over IPv4: name one")
	}
	if u.IPv6.Present() && len(u.IPv6.Probe.Targets) == 0 {
		p.fail(u.where("ipv6"), "probe.targets: none can be asked over IPv6: name one, or gateway")
	}
	p.uplink = ""
}

// Where connection marks and fwmarks of ours stand when the file says nothing: in the
// highest byte, which nobody is known to use. QoS classes and scripts count from 1, and
// 0x00ff0000 is Tailscale's. A file that gives marks of its own, as those of before, means
// the lowest.
const (
	defaultMask = 0xff000000
	givenMask   = 0xff
)

// fillMask chooses the mask of a file that gives none.
func (p *parser) fillMask() {
	if _, given := p.routes["fwmark_mask"]; given {
		return
	}
	for i := range p.uplinks {
		if m := p.uplinks[i].FwMark; m != 0 && m&^givenMask == 0 {
			p.whole.Routes.FwMarkMask = givenMask
		}
	}
}

func (p *parser) fillMarks() {
	p.fillMask()
	taken := map[uint32]bool{}
	for i := range p.uplinks {
		taken[p.uplinks[i].FwMark] = true
	}
	n := uint32(1)
	for i := range p.uplinks {
		u := &p.uplinks[i]
		if u.FwMark != 0 {
			continue
		}
		for ; ; n++ {
			mark, ok := markAt(p.whole.Routes.FwMarkMask, n)
			if !ok {
				p.uplink = u.Name
				p.fail(u.where("fwmark"), "no mark is left under routes.fwmark_mask %#x: widen the mask",
					p.whole.Routes.FwMarkMask)
				p.uplink = ""
				return
			}
			if !taken[mark] {
				u.FwMark, u.Assigned, taken[mark] = mark, true, true
				break
			}
		}
	}
}

// clashes looks for what two uplinks, or an uplink and routes, both claim.
func (p *parser) clashes() {
	routes := p.whole.Routes
	if _, ok := p.routes["table"]; ok && (routes.Table == tableLocal || routes.Table == 0) {
		p.fail(p.routes["table"], "%d: the kernel's own: must be main or another table", routes.Table)
	}
	for i := range p.uplinks {
		u := &p.uplinks[i]
		p.uplink = u.Name
		if u.Name == "" {
			p.uplink = u.self.path
		}
		switch {
		case u.Table >= tableDefault && u.Table <= tableLocal:
			p.fail(u.where("table"), "%d: the kernel's own (default, main, local): give another", u.Table)
		case u.Table == routes.Table:
			p.fail(u.where("table"), "%d: also routes.table: give each its own", u.Table)
		}
		if u.FwMark&^routes.FwMarkMask != 0 {
			p.fail(u.where("fwmark"), "%#x: outside routes.fwmark_mask %#x: change one of them",
				u.FwMark, routes.FwMarkMask)
		}
		for j := range i {
			p.clash(u, &p.uplinks[j])
		}
		p.ownTargets(u)
		p.overflows(u, i)
	}
	p.uplink = ""
}

// overflows wants to know when an uplink is full that others of its tier come after.
func (p *parser) overflows(u *rawUplink, i int) {
	if p.whole.Routes.Balance != BalanceOverflow || u.Bandwidth != 0 {
		return
	}
	if slices.ContainsFunc(p.uplinks[i+1:], func(next rawUplink) bool { return next.Tier == u.Tier }) {
		p.fail(u.where("bandwidth"), "missing: routes.balance is overflow: say when it is full, such as 100Mbit")
	}
}

// ownTargets refuses addresses of this host as targets: it would answer itself.
func (p *parser) ownTargets(u *rawUplink) {
	for _, t := range slices.Concat(u.Probe.Targets, u.IPv6.Probe.Targets) {
		for i := range p.uplinks {
			own := func(a netip.Prefix) bool { return a.Addr() == t.IP }
			if slices.ContainsFunc(slices.Concat(p.uplinks[i].Prefixes, p.uplinks[i].IPv6.Prefixes), own) {
				place, ok := u.probeAt["targets"]
				if !ok {
					place = u.where("probe.targets")
				}
				p.fail(place, "%s: an address of this host, which would answer itself: probe another host", t.Text)
				return
			}
		}
	}
}

func (p *parser) clash(u, earlier *rawUplink) {
	name := earlier.Name
	if u.Name != "" && u.Name == name {
		p.fail(u.where("name"), "%s: an earlier uplink has it: give each its own", u.Name)
	}
	if u.Interface != "" && u.Interface == earlier.Interface {
		p.fail(u.where("interface"), "%s: already used by uplink %s: an interface is one uplink", u.Interface, name)
	}
	if u.Table == earlier.Table {
		p.fail(u.where("table"), "%d: already used by uplink %s: give each its own", u.Table, name)
	}
	if u.FwMark != 0 && u.FwMark == earlier.FwMark {
		p.fail(u.where("fwmark"), "%#x: already used by uplink %s: give each its own", u.FwMark, name)
	}
}
