package kernel

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

func (k *Kernel) addRoute(r routes.Route) error {
	request, err := k.toNetlink(r)
	if err != nil {
		return err
	}
	if err := k.handle.RouteAdd(request); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return routes.ErrConflict
}

func (k *Kernel) replaceRoute(r routes.Route) error {
	request, err := k.toNetlink(r)
	if err != nil {
		return err
	}
	return k.handle.RouteReplace(request)
}

// deleteRoute names the route by its key, type and protocol alone: nexthops
// that the kernel has dropped meanwhile must not make it miss.
func (k *Kernel) deleteRoute(r routes.Route) error {
	scope := scopeOf(r)
	r.NextHops, r.Options = nil, routes.Options{}
	request, err := k.toNetlink(r)
	if err != nil {
		return err
	}
	request.Scope = scope
	return ignore(k.handle.RouteDel(request), unix.ESRCH)
}

var toKernelType = map[routes.RouteType]int{
	routes.Unicast: unix.RTN_UNICAST, routes.Prohibit: unix.RTN_PROHIBIT, routes.Unreachable: unix.RTN_UNREACHABLE,
}

func (k *Kernel) toNetlink(r routes.Route) (*netlink.Route, error) {
	kind, ok := toKernelType[r.Type]
	if !ok {
		return nil, fmt.Errorf("kernel: route type %d is not ours to write", r.Type)
	}
	n := &netlink.Route{
		Dst:   &net.IPNet{IP: r.Dst.Addr().AsSlice(), Mask: net.CIDRMask(r.Dst.Bits(), r.Dst.Addr().BitLen())},
		Table: int(r.Table), Priority: int(r.Metric), Type: kind,
		Protocol: netlink.RouteProtocol(r.Protocol), Scope: scopeOf(r),
		InitCwnd: int(r.Options.InitCwnd), InitRwnd: int(r.Options.InitRwnd),
		MTU: int(r.Options.MTU), AdvMSS: int(r.Options.AdvMSS),
		RtoMin: int(r.Options.RTOMin.Milliseconds()),
		// TCP looks at rto_min only when it is locked (tcp_rto_min in include/net/tcp.h).
		RtoMinLock: r.Options.RTOMin != 0,
	}
	if r.Options.QuickAck {
		n.QuickACK = 1
	}
	if len(r.NextHops) == 1 {
		hop, err := k.toNextHop(r.NextHops[0])
		if err != nil {
			return nil, err
		}
		n.LinkIndex, n.Gw, n.Flags = hop.LinkIndex, hop.Gw, hop.Flags
		return n, nil
	}
	for _, h := range r.NextHops {
		hop, err := k.toNextHop(h)
		if err != nil {
			return nil, err
		}
		n.MultiPath = append(n.MultiPath, hop)
	}
	return n, nil
}

// scopeOf returns the scope of a route: what leads to a network on the link itself can
// have gateways in it (fib_check_nh), and no default route is such.
func scopeOf(r routes.Route) netlink.Scope {
	if r.OnLinkNetwork() {
		return netlink.SCOPE_LINK
	}
	return netlink.SCOPE_UNIVERSE
}

func (k *Kernel) toNextHop(h routes.NextHop) (*netlink.NexthopInfo, error) {
	index, err := k.linkIndex(h.Interface)
	if err != nil {
		return nil, err
	}
	// The kernel keeps the weight less one in a byte: 257 would become 1.
	if h.Weight < 1 || h.Weight > 256 {
		return nil, fmt.Errorf("kernel: weight %d of %s: must be 1 to 256", h.Weight, h.Interface)
	}
	hop := &netlink.NexthopInfo{LinkIndex: index, Hops: h.Weight - 1}
	if h.Gateway.IsValid() {
		hop.Gw = h.Gateway.AsSlice()
	}
	if h.OnLink {
		hop.Flags = int(netlink.FLAG_ONLINK)
	}
	return hop, nil
}
