package main

import (
	"fmt"

	"uplinkd/uplink/api"
)

// familyIPv6 is what an uplink's family is called that has no other, or of its second one.
const familyIPv6 = "ipv6"

// secondFamily returns an uplink in IPv6, as a line below that of IPv4; nil: it has no such.
func secondFamily(u *api.Uplink) *api.Uplink {
	if u.IPv6 == nil || u.Family == familyIPv6 {
		return nil
	}
	six := u.IPv6
	return &api.Uplink{
		Name: "  v6", Interface: u.Interface, Family: familyIPv6,
		State: six.State, Reason: six.Reason, Since: six.Since, Active: six.Active,
		Weight: six.Weight, EffectiveWeight: six.EffectiveWeight, Tier: six.Tier,
		Address: networkText(six), Gateway: six.Gateway, Probes: six.Probes, Hold: six.Hold,
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
