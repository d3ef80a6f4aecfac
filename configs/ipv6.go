package configs

import (
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v4"
)

// readIPv6 reads an uplink's path in IPv6, when the rest of the uplink is known: what it
// does not name is that of the uplink.
func (p *parser) readIPv6(v value, u *rawUplink) {
	to := &u.IPv6
	to.Weight, to.Tier, to.Probe = u.Weight, u.Tier, u.Probe
	to.Address, to.Gateway, to.Translate = AddressAuto, GatewayRA, true
	if resolve(v.node).Kind != yaml.MappingNode {
		p.readAddress(v, &grammar6, &to.Path)
		return
	}
	at := map[string]value{}
	probeAt := map[string]value{}
	p.mapping(v, map[string]func(value){
		"address": func(v value) { p.readAddress(v, &grammar6, &to.Path) },
		"gateway": func(v value) { at["gateway"] = v; p.readGateway(v, &grammar6, &to.Path) },
		"prefix":  func(v value) { at["prefix"] = v; p.readDelegation(v, to) },
		"prefix_length": func(v value) {
			at["prefix_length"] = v
			setInteger(p, v, &to.PrefixLength, delegatedShortest, delegatedLongest)
		},
		"translate": func(v value) { setFlag(p, v, &to.Translate) },
		"weight":    func(v value) { setInteger(p, v, &to.Weight, 1, 256) },
		"tier":      func(v value) { setInteger(p, v, &to.Tier, 1, 100) },
		"probe":     func(v value) { p.readProbe(v, &to.Probe, probeAt) },
	})
	p.checkProbe(to.Probe, probeAt)
	p.checkOtherTargets(probeAt, to.Probe, true, "probe.targets of the uplink")
	p.checkIPv6(to, at)
}

// checkIPv6 looks at what the keys of a path in IPv6 are together.
func (p *parser) checkIPv6(to *IPv6, at map[string]value) {
	if v, ok := at["prefix_length"]; ok && to.Delegation != DelegationAsk {
		p.fail(v, "only with prefix: ask: it is what DHCPv6 is asked for")
	}
	if to.Gateway == GatewayFixed && slices.ContainsFunc(to.Prefixes, func(a netip.Prefix) bool {
		return a.Addr() == to.GatewayIP
	}) {
		p.fail(at["gateway"], "%s: this is the uplink's own address: give the router's", to.GatewayIP)
	}
}

// Prefixes that are asked for: a LAN takes a /64 of one, and no provider gives more than a /32.
const (
	delegatedShortest = 32
	delegatedLongest  = 64
)

func (p *parser) readDelegation(v value, to *IPv6) {
	switch s, ok := p.text(v); {
	case !ok:
	case s == "ask":
		to.Delegation = DelegationAsk
	case s == "none":
		to.Delegation = DelegationNone
	default:
		to.Delegation = DelegationStatic
		to.Routed = p.delegated(v, s, "ask, none, or a prefix that is routed to this host, such as 2001:db8:1:100::/56")
	}
}

// delegated reads a prefix that numbers a LAN.
func (p *parser) delegated(v value, s, what string) netip.Prefix {
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil || !prefix.Addr().Is6() || prefix.Addr().Is4In6():
		p.fail(v, "%q: must be %s", s, what)
	case prefix.Bits() > delegatedLongest || prefix.Bits() < 16:
		p.fail(v, "%s: must be /16 to /64: the LAN gets a /64 of it", s)
	case prefix != prefix.Masked():
		p.fail(v, "%s: must have no bits set beyond its length: %s", s, prefix.Masked())
	case prefix.Addr().IsLinkLocalUnicast() || prefix.Addr().IsMulticast() || prefix.Addr().IsLoopback():
		p.fail(v, "%s: no hosts can have such addresses", s)
	}
	return prefix
}

func (p *parser) readLAN(v value) {
	var lan LAN
	at := v
	p.mapping(v, map[string]func(value){
		"interface": func(v value) {
			at = v
			p.readName(v, &lan.Interface, interfaceName, "an interface's name, at most 15 bytes")
		},
		"subnet": func(v value) { setInteger(p, v, &lan.Subnet, 0, 1<<32-1) },
	})
	if lan.Interface == "" {
		p.fail(at, "interface: missing: name the interface that the hosts are on")
	}
	for _, other := range p.whole.LAN {
		switch {
		case other.Interface == lan.Interface:
			p.fail(at, "%s: named twice: keep one", lan.Interface)
		case other.Subnet == lan.Subnet:
			p.fail(at, "subnet %d: also that of %s: give each its own", lan.Subnet, other.Interface)
		}
	}
	p.whole.LAN = append(p.whole.LAN, lan)
	p.lanAt = append(p.lanAt, at)
}

func (p *parser) readGlobalIPv6(v value) {
	p.mapping(v, map[string]func(value){
		"lan_prefix": func(v value) {
			p.lanPrefixAt = v
			if resolve(v.node).Kind == yaml.SequenceNode {
				p.list(v, func(v value) {
					if s, ok := p.text(v); ok {
						p.whole.LANPrefix = append(p.whole.LANPrefix, s)
					}
				})
				return
			}
			if s, ok := p.text(v); ok {
				const forms = "a list of uplinks, or a prefix of one's own such as fd00:aaaa::/56"
				p.whole.OwnPrefix = p.delegated(v, s, forms)
			}
		},
	})
}

// checkLAN looks at what the LAN gets, when all uplinks are known.
func (p *parser) checkLAN() {
	present := func(name string) bool {
		return slices.ContainsFunc(p.uplinks, func(u rawUplink) bool { return u.Name == name && u.IPv6.Present() })
	}
	for i, lan := range p.whole.LAN {
		if slices.ContainsFunc(p.uplinks, func(u rawUplink) bool { return u.Interface == lan.Interface }) {
			p.fail(p.lanAt[i], "%s: an uplink is on it: name the interface that the hosts are on", lan.Interface)
		}
	}
	for _, name := range p.whole.LANPrefix {
		if !present(name) {
			p.fail(p.lanPrefixAt, "%s: no uplink of that name has ipv6", name)
		}
	}
	if len(p.whole.LAN) > 0 && len(p.whole.LANPrefix) == 0 && !p.whole.OwnPrefix.IsValid() {
		for _, u := range p.uplinks {
			if u.IPv6.Present() {
				p.whole.LANPrefix = append(p.whole.LANPrefix, u.Name)
			}
		}
		if len(p.whole.LANPrefix) == 0 {
			p.fail(p.lanAt[0], "lan: no uplink has ipv6 that could number it")
		}
	}
	if p.whole.Routes.Metric == kernelMetric6 && slices.ContainsFunc(p.uplinks, func(u rawUplink) bool {
		return u.IPv6.Present()
	}) {
		p.fail(p.routes["metric"], "%d: in IPv6 that is where the kernel puts the routers it hears of, and one would "+
			"take the place of the other: give another", kernelMetric6)
	}
}

// kernelMetric6 is IP6_RT_PRIO_USER, which is also that of routers the kernel hears of.
const kernelMetric6 = 1024

// fits reports whether a target can be asked in a family: one that is no address in both.
func (t *Target) fits(v6 bool) bool { return !t.IP.IsValid() || t.IP.Is6() == v6 }

// inFamily returns a probe with the targets that can be asked in a family.
func (c Probe) inFamily(v6 bool) Probe {
	c.Targets = slices.DeleteFunc(slices.Clone(c.Targets), func(t Target) bool { return !t.fits(v6) })
	return c
}

// checkOtherTargets refuses targets of a family that a place is not for.
func (p *parser) checkOtherTargets(at map[string]value, probe Probe, v6 bool, elsewhere string) {
	place, ok := at["targets"]
	if !ok {
		return
	}
	for _, t := range probe.Targets {
		if !t.fits(v6) {
			p.fail(place, "%s: an address of the other family: it belongs under %s", t, elsewhere)
		}
	}
}
