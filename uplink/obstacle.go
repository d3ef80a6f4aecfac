package uplink

import (
	"fmt"
	"slices"

	"uplinkd/configs"
)

// An obstacle is what keeps an uplink from carrying anything, whatever its
// probes say. It counts at once.
type obstacle struct {
	why string

	// passing: it is in the nature of a start, and may go by itself in a moment.
	passing bool
}

// obstacle returns the first thing in the way, or one without a reason.
func (u *Uplink) obstacle() obstacle {
	name := u.Config.Interface
	switch {
	case u.Link.Index == 0:
		return obstacle{why: fmt.Sprintf("there is no interface %s", name)}
	case !u.Link.Up && u.Raised == u.Link.Index:
		return obstacle{why: fmt.Sprintf("%s is administratively down", name)}
	case !u.Link.Up:
		return obstacle{why: fmt.Sprintf("%s is being set up", name), passing: true}
	case !u.Link.Carrier:
		return obstacle{why: fmt.Sprintf("%s has no carrier", name)}
	}
	if o := u.addressObstacle(); o.why != "" {
		return o
	}
	return u.gatewayObstacle()
}

func (u *Uplink) addressObstacle() obstacle {
	addresses := u.Addresses()
	if len(addresses) == 0 {
		if u.Config.Address == configs.AddressDHCP {
			if u.MAC == "" {
				return obstacle{why: fmt.Sprintf("no lease: %s is no Ethernet interface", u.Config.Interface)}
			}
			if u.Clash != "" {
				return obstacle{why: u.Clash}
			}
			return obstacle{why: "no lease: " + u.DHCP.Reason, passing: true}
		}
		return obstacle{why: fmt.Sprintf("%s has no address", u.Config.Interface)}
	}
	for _, a := range addresses {
		switch {
		case slices.Contains(u.Present, a.Prefix):
		case slices.Contains(u.Seen, a.Prefix):
			return obstacle{why: fmt.Sprintf("the address %s is gone from %s", a.Prefix, u.Config.Interface)}
		}
	}
	return obstacle{}
}

func (u *Uplink) gatewayObstacle() obstacle {
	hop, ok := u.NextHop()
	if !ok {
		return obstacle{why: "the lease names no router: give `gateway:` its address in the configuration"}
	}
	if !hop.Gateway.IsValid() || hop.OnLink {
		return obstacle{}
	}
	for _, a := range u.Addresses() {
		if a.Prefix.Contains(hop.Gateway) {
			return obstacle{}
		}
	}
	return obstacle{why: fmt.Sprintf("the gateway %s is in no network of %s: correct it, or set onlink: true",
		hop.Gateway, u.Config.Interface)}
}
