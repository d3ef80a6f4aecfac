package kernel

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// A routeMessage is a route as the kernel tells it, in a list or as an event
// (rtnetlink(7), RTM_NEWROUTE). Its attributes lie in the buffer it was read into.
type routeMessage struct {
	dst      netip.Prefix
	table    uint32
	tos      uint8
	protocol uint8
	kind     uint8  // RTN_UNICAST, ...
	flags    uint32 // RTM_F_* and RTNH_F_*
	attrs    []byte
}

// parseRoute reads the head of a message, which is all that most are asked for. It
// does not allocate.
func parseRoute(b []byte) (routeMessage, bool) {
	if len(b) < unix.SizeofRtMsg {
		return routeMessage{}, false
	}
	r := routeMessage{
		tos: b[3], table: uint32(b[4]), protocol: b[5], kind: b[7], flags: native.Uint32(b[8:]),
		attrs: b[unix.SizeofRtMsg:],
	}
	if table := nlmsg.Attr(r.attrs, unix.RTA_TABLE); len(table) == 4 {
		r.table = native.Uint32(table)
	}
	address, bits := netip.IPv4Unspecified(), int(b[1])
	if b[0] == unix.AF_INET6 {
		address = netip.IPv6Unspecified()
	}
	if dst, ok := netip.AddrFromSlice(nlmsg.Attr(r.attrs, unix.RTA_DST)); ok {
		address = dst
	}
	r.dst = netip.PrefixFrom(address, bits)
	return r, r.dst.IsValid()
}

// isSite reports whether a foreign route leads to a private network behind a router of
// the site. What is beyond the Internet's border is told by BGP too, and says nothing of
// whose an address is.
func (r *routeMessage) isSite() bool {
	return r.table == routes.TableMain && r.kind == unix.RTN_UNICAST && r.dst.Addr().IsPrivate() &&
		(nlmsg.Attr(r.attrs, unix.RTA_GATEWAY) != nil || nlmsg.Attr(r.attrs, unix.RTA_VIA) != nil ||
			nlmsg.Attr(r.attrs, unix.RTA_MULTIPATH) != nil)
}

// number returns an attribute of four bytes, 0 when there is none.
func number(attrs []byte, kind uint16) uint32 {
	if b := nlmsg.Attr(attrs, kind); len(b) == 4 {
		return native.Uint32(b)
	}
	return 0
}

// link returns the index of the interface the route leads to, 0 for one with several.
func (r *routeMessage) link() int { return int(number(r.attrs, unix.RTA_OIF)) }

var fromKernelType = map[uint8]routes.RouteType{
	unix.RTN_UNICAST: routes.Unicast, unix.RTN_PROHIBIT: routes.Prohibit,
	unix.RTN_UNREACHABLE: routes.Unreachable, unix.RTN_BLACKHOLE: routes.Blackhole,
}

// route returns the whole route. names are those of interfaces, by their index.
func (r *routeMessage) route(names map[int]string) routes.Route {
	metrics := nlmsg.Attr(r.attrs, unix.RTA_METRICS)
	to := routes.Route{
		RouteKey: routes.RouteKey{Table: r.table, Dst: r.dst, Metric: number(r.attrs, unix.RTA_PRIORITY)},
		Protocol: r.protocol,
		Options: routes.Options{
			InitCwnd: number(metrics, unix.RTAX_INITCWND), InitRwnd: number(metrics, unix.RTAX_INITRWND),
			MTU: number(metrics, unix.RTAX_MTU), AdvMSS: number(metrics, unix.RTAX_ADVMSS),
			RTOMin:   time.Duration(number(metrics, unix.RTAX_RTO_MIN)) * time.Millisecond,
			QuickAck: number(metrics, unix.RTAX_QUICKACK) != 0,
		},
	}
	var ok bool
	if to.Type, ok = fromKernelType[r.kind]; !ok {
		to.Type = routes.Other
	}
	if to.Type != routes.Unicast {
		return to
	}
	if several := nlmsg.Attr(r.attrs, unix.RTA_MULTIPATH); several != nil {
		to.NextHops = nextHops(several, names)
		return to
	}
	hop := nextHop(r.attrs, r.flags)
	hop.Interface = names[r.link()]
	to.NextHops = []routes.NextHop{hop}
	return to
}

// nextHops reads the value of RTA_MULTIPATH: structs rtnexthop, each with attributes.
func nextHops(b []byte, names map[int]string) (list []routes.NextHop) {
	for len(b) >= unix.SizeofRtNexthop {
		length := int(native.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			return list
		}
		hop := nextHop(b[unix.SizeofRtNexthop:length], uint32(b[2]))
		// The kernel keeps the weight less one in a byte.
		hop.Weight = int(b[3]) + 1
		hop.Interface = names[int(native.Uint32(b[4:]))]
		list = append(list, hop)
		b = b[min((length+3)&^3, len(b)):]
	}
	return list
}

// nextHop reads a next hop of weight 1, but for its interface.
func nextHop(attrs []byte, flags uint32) routes.NextHop {
	gateway, _ := netip.AddrFromSlice(nlmsg.Attr(attrs, unix.RTA_GATEWAY))
	return routes.NextHop{Gateway: gateway, Weight: 1, OnLink: flags&unix.RTNH_F_ONLINK != 0}
}
