package uplink

import (
	"fmt"
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
	if o := u.addressObstacle(p); o.reason != "" {
		return o
	}
	return u.gatewayObstacle(p)
}

func (u *Uplink) addressObstacle(p *Path) obstacle {
	addresses := u.Addresses(p)
	if len(addresses) == 0 {
		switch {
		case u.Config.Address != configs.AddressDHCP:
			return obstacle{reason: fmt.Sprintf("%s has no address", u.Config.Interface)}
		case u.Device.MAC == "":
			return obstacle{reason: fmt.Sprintf("no lease: %s is no Ethernet interface", u.Config.Interface)}
		case p.Clash != "":
			return obstacle{reason: p.Clash}
		}
		return obstacle{reason: "no lease: " + p.Report.Reason, passing: true}
	}
	for _, a := range addresses {
		if !slices.Contains(p.Assigned, a) && slices.Contains(p.EverAssigned, a) {
			return obstacle{reason: fmt.Sprintf("the address %s is gone from %s", a, u.Config.Interface)}
		}
	}
	return obstacle{}
}

func (u *Uplink) gatewayObstacle(p *Path) obstacle {
	hop, ok := u.NextHop(p)
	if p.GatewayIsOurs {
		return obstacle{reason: fmt.Sprintf("the gateway %s is an address of this host: correct it", hop.Gateway)}
	}
	if !ok {
		return obstacle{reason: "the lease names no router: give `gateway:` its address in the configuration"}
	}
	if !hop.Gateway.IsValid() || hop.OnLink {
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
