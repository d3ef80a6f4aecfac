package uplink

import (
	"fmt"
	"net/netip"
	"slices"

	"uplinkd/configs"
)

// An obstacle is what keeps a path from carrying anything, whatever its probes
// say. It counts at once.
type obstacle struct {
	reason string

	// passing: it is in the nature of a start, and may go by itself in a moment.
	passing bool
}

// obstacle returns the first thing in the way, or one without a reason.
func (u *Uplink) obstacle(p *Path) obstacle {
	if o := u.linkObstacle(); o.reason != "" {
		return o
	}
	if o := u.addressObstacle(p); o.reason != "" {
		return o
	}
	return u.gatewayObstacle(p)
}

// linkObstacle returns what of the interface is in the way, of any family.
func (u *Uplink) linkObstacle() obstacle {
	name, link := u.Config.Interface, &u.Device.Link
	switch {
	case link.Index == 0:
		return obstacle{reason: fmt.Sprintf("there is no interface %s", name)}
	case !link.Up && u.Device.UpIndex == link.Index:
		return obstacle{reason: fmt.Sprintf("%s is administratively down: ip link set %s up", name, name)}
	case !link.Up:
		return obstacle{reason: fmt.Sprintf("%s is being set up", name), passing: true}
	case !link.Carrier:
		return obstacle{reason: fmt.Sprintf("%s has no carrier", name)}
	}
	return obstacle{}
}

func (u *Uplink) addressObstacle(p *Path) obstacle {
	addresses := u.Addresses(p)
	if len(addresses) == 0 {
		switch {
		case p.Family == IPv6:
			return u.noAddressIPv6(p)
		case u.Config.Address != configs.AddressDHCP:
			return obstacle{reason: fmt.Sprintf("%s has no address", u.Config.Interface)}
		case u.Device.MAC == "":
			return obstacle{reason: fmt.Sprintf("no lease: %s is no Ethernet interface", u.Config.Interface)}
		case p.Clash != "":
			return obstacle{reason: p.Clash}
		}
		return obstacle{reason: "no lease: " + p.Report.Reason, passing: true}
	}
	if p.Family == IPv6 {
		addresses = addresses[:1] // others are on their way in or out
	}
	for _, a := range addresses {
		if !slices.Contains(p.Assigned, a) && slices.Contains(p.EverAssigned, a) {
			return obstacle{reason: fmt.Sprintf("the address %s is gone from %s", a, u.Config.Interface)}
		}
	}
	if p.Family == IPv6 {
		return u.sourceObstacle(p)
	}
	return obstacle{}
}

// noAddressIPv6 says why a path of IPv6 has no address.
func (u *Uplink) noAddressIPv6(p *Path) obstacle {
	name := u.Config.Interface
	switch {
	case !u.Device.LinkLocal.IsValid():
		return obstacle{passing: true, reason: fmt.Sprintf("%s has no link-local address: see whether IPv6 is on "+
			"there (sysctl net.ipv6.conf.%s.disable_ipv6=0) and the MTU is 1280 at least", name, name)}
	case p.Clash != "":
		return obstacle{reason: p.Clash}
	case u.Config.IPv6.Address != configs.AddressAuto:
		return obstacle{reason: fmt.Sprintf("%s has no IPv6 address", name)}
	}
	reason := "no address: " + p.Advert.Reason
	if p.Report.Reason != "" {
		reason += "; DHCPv6: " + p.Report.Reason
	}
	return obstacle{reason: reason, passing: true}
}

// sourceObstacle says why no connection can have the address that the path speaks by.
func (u *Uplink) sourceObstacle(p *Path) obstacle {
	first := u.Addresses(p)[0]
	has := func(list []netip.Prefix) bool { return slices.Contains(list, first) }
	switch {
	case has(p.Assigned):
		return obstacle{}
	case has(p.Tentative):
		return obstacle{passing: true, reason: fmt.Sprintf("%s: others are asked whether they have it", first.Addr())}
	case has(p.Duplicate):
		return obstacle{reason: fmt.Sprintf("another host on %s has %s", u.Config.Interface, first.Addr())}
	}
	return obstacle{passing: true, reason: fmt.Sprintf("%s is not on %s yet", first.Addr(), u.Config.Interface)}
}

// deprecated says why nothing new may take the address of a path, though what has it goes on; "" when it
// may. Where an interface has none that is preferred, the kernel takes another uplink's, and sends
// that out here (RFC 6724 section 5, rule 3 comes before rule 5).
func (u *Uplink) deprecated(p *Path) string {
	if p.Family != IPv6 {
		return ""
	}
	addresses := u.Addresses(p)
	if len(addresses) > 0 && slices.Contains(p.Preferred, addresses[0]) && (p.Lease == nil || !p.Lease.Deprecated) {
		return ""
	}
	if len(addresses) == 0 {
		return "it has no address"
	}
	return fmt.Sprintf("%s is deprecated: nothing new may take it", addresses[0].Addr())
}

func (u *Uplink) gatewayObstacle(p *Path) obstacle {
	hop, ok := u.NextHop(p)
	if p.GatewayIsOurs {
		return obstacle{reason: fmt.Sprintf("the gateway %s is an address of this host: correct it", hop.Gateway)}
	}
	if !ok && p.Family == IPv6 {
		return obstacle{reason: "no router: " + p.Advert.Reason, passing: !p.Advert.Heard}
	}
	if !ok {
		return obstacle{reason: "the lease names no router: give `gateway:` its address in the configuration"}
	}
	if !hop.Gateway.IsValid() || hop.OnLink || hop.Gateway.IsLinkLocalUnicast() && p.Family == IPv6 {
		return obstacle{}
	}
	for _, a := range u.Addresses(p) {
		if a.Contains(hop.Gateway) {
			return obstacle{}
		}
	}
	return obstacle{reason: fmt.Sprintf("the gateway %s is in no network of %s: correct it, or set onlink: true",
		hop.Gateway, u.Config.Interface)}
}
