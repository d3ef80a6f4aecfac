package configs

import (
	"net/netip"
	"slices"

	"go.yaml.in/yaml/v4"
)

// A grammar is what `address` and `gateway` may be in one family.
type grammar struct {
	v6       bool
	address  map[string]AddressMode // by its word; all else is an address
	forms    string                 // of address
	gateway  map[string]GatewayMode // by its word; all else is an address
	gateways string                 // forms of gateway

	// Where an address of the other family belongs.
	addressElsewhere, gatewayElsewhere string

	// nobodys says why no host can have an address in its network, "" when one can.
	nobodys func(netip.Prefix) string
}

var (
	grammar4 = grammar{
		address: map[string]AddressMode{
			"none": AddressNone, "dhcp": AddressDHCP, "external": AddressExternal,
		},
		forms:            "dhcp, external, or an address with its prefix length such as 203.0.113.5/24",
		gateway:          map[string]GatewayMode{"lease": GatewayLease, "none": GatewayNone},
		gateways:         "an IP address, lease or none",
		addressElsewhere: ": one of IPv6 belongs under ipv6", gatewayElsewhere: ": one of IPv6 belongs under ipv6",
		nobodys: func(p netip.Prefix) string {
			if p.Bits() < 31 && (p.Addr() == p.Masked().Addr() || p.Addr() == broadcast(p)) {
				return "this is the network or its broadcast address: give the host's own"
			}
			return ""
		},
	}
	grammar6 = grammar{
		v6: true,
		address: map[string]AddressMode{
			"none": AddressNone, "auto": AddressAuto, "external": AddressExternal,
		},
		forms:            "none, auto, external, or an address with its prefix length such as 2001:db8::5/64",
		gateway:          map[string]GatewayMode{"ra": GatewayRA, "none": GatewayNone},
		gateways:         "an IPv6 address, ra or none",
		addressElsewhere: ": one of IPv4 belongs under address", gatewayElsewhere: ", ra or none",
		nobodys: func(p netip.Prefix) string {
			switch {
			case p.Addr().IsLinkLocalUnicast():
				return "of the link alone: give an address that the Internet can answer to"
			case p.Bits() < 127 && p.Addr() == p.Masked().Addr():
				return "this is the address of all routers there (RFC 4291 section 2.6.1): give the host's own"
			}
			return ""
		},
	}
)

func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// readAddress reads where the address of a path comes from.
func (p *parser) readAddress(v value, g *grammar, to *Path) {
	if n := resolve(v.node); n.Kind == yaml.SequenceNode {
		to.Address = AddressStatic
		p.list(v, func(v value) { p.readPrefix(v, g, to) })
		if len(n.Content) == 0 {
			p.fail(v, "empty: must be %s", g.forms)
		}
		return
	}
	s, ok := p.text(v)
	if !ok {
		return
	}
	mode, isWord := g.address[s]
	if isWord {
		to.Address = mode
		return
	}
	to.Address = AddressStatic
	p.readPrefix(v, g, to)
}

func (p *parser) readPrefix(v value, g *grammar, to *Path) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		p.fail(v, "%q: must be %s", s, g.forms)
		return
	}
	switch {
	case !p.usableIn(v, prefix.Addr(), g.v6, g.addressElsewhere):
	case prefix.Bits() == 0:
		p.fail(v, "%s: a network cannot be the whole Internet", s)
	case g.nobodys(prefix) != "":
		p.fail(v, "%s: %s", s, g.nobodys(prefix))
	case slices.Contains(to.Prefixes, prefix):
		p.fail(v, "%s: named twice: keep one", s)
	default:
		to.Prefixes = append(to.Prefixes, prefix)
	}
}

// readGateway reads where the next hop of a path comes from.
func (p *parser) readGateway(v value, g *grammar, to *Path) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	mode, isWord := g.gateway[s]
	if isWord {
		to.Gateway = mode
		return
	}
	to.Gateway = GatewayFixed
	addr, err := netip.ParseAddr(s)
	if err != nil {
		p.fail(v, "%q: must be %s", s, g.gateways)
		return
	}
	p.usableIn(v, addr, g.v6, g.gatewayElsewhere)
	to.GatewayIP = addr
}
