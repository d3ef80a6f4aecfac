package main

import (
	"fmt"

	"uplinkd/uplink/api"
)

// secondFamily returns an uplink in IPv6, as a line below that of IPv4; nil: it has no such.
func secondFamily(u *api.Uplink) *api.Uplink {
	if u.IPv6 == nil || u.Family == "ipv6" {
		return nil
	}
	return &api.Uplink{
		Name: "  v6", State: u.IPv6.State, Since: u.IPv6.Since, Active: u.IPv6.Active, Tier: u.IPv6.Tier,
		EffectiveWeight: u.IPv6.EffectiveWeight, Address: networkText(u.IPv6), Gateway: u.IPv6.Gateway,
		Probes: u.IPv6.Probes,
	}
}

// networkText returns the first address in IPv6, of a network that alone, and the length of the prefix for
// the LAN: what a person tells providers by.
func networkText(p *api.IPv6) string {
	if len(p.Addresses) == 0 {
		return ""
	}
	a := p.Addresses[0]
	text := a.Masked().String()
	if a.IsSingleIP() {
		text = a.Addr().String()
	}
	for _, d := range p.Prefixes {
		text += fmt.Sprintf(" +/%d", d.Bits())
	}
	return text
}

// lanText says what hosts on an interface of the LAN get.
func lanText(n api.LAN) string {
	text := n.Prefix.String()
	if n.Of != "" {
		text += " of " + n.Of
	}
	if !n.Preferred {
		text += ", on its way out" + untilText(n.Until)
	}
	return text
}
