package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// Attributes of a route (linux/rtnetlink.h) that the library does not name.
const (
	rtaMark    = 16
	rtaIPProto = 27
	rtaSPort   = 28
	rtaDPort   = 29

	lookupTable = 0x1000 // RTM_F_LOOKUP_TABLE: tell the table too
)

var routeTypes = map[uint8]string{
	unix.RTN_UNICAST: "unicast", unix.RTN_LOCAL: "local", unix.RTN_BROADCAST: "broadcast",
	unix.RTN_MULTICAST: "multicast", unix.RTN_BLACKHOLE: "blackhole", unix.RTN_UNREACHABLE: "unreachable",
	unix.RTN_PROHIBIT: "prohibit", unix.RTN_THROW: "throw",
}

// Explain asks the kernel which way a packet would take. An error of the kernel's
// is its answer too: "network is unreachable", "permission denied" for prohibit.
// Read must have been called.
func (k *Kernel) Explain(ctx context.Context, p routes.Packet) (routes.Way, error) {
	if err := ctx.Err(); err != nil {
		return routes.Way{}, err
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_REQUEST)
	to := p.To.AsSlice()
	family, bits := uint8(unix.AF_INET), uint8(p.To.BitLen())
	if p.To.Is6() {
		family = unix.AF_INET6
	}
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Dst_len: bits, Flags: lookupTable}}
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, to))
	if p.From.IsValid() {
		header.Src_len = bits
		req.AddData(nl.NewRtAttr(unix.RTA_SRC, p.From.AsSlice()))
	}
	if p.Mark != 0 {
		req.AddData(nl.NewRtAttr(rtaMark, nl.Uint32Attr(p.Mark)))
	}
	if p.Protocol != 0 {
		req.AddData(nl.NewRtAttr(rtaIPProto, nl.Uint8Attr(p.Protocol)))
	}
	for kind, port := range map[int]uint16{rtaSPort: p.SPort, rtaDPort: p.DPort} {
		if port != 0 {
			req.AddData(nl.NewRtAttr(kind, []byte{byte(port >> 8), byte(port)}))
		}
	}
	if p.In != "" {
		index, err := k.linkIndex(p.In)
		if err != nil {
			return routes.Way{}, err
		}
		req.AddData(nl.NewRtAttr(unix.RTA_IIF, nl.Uint32Attr(uint32(index))))
	}
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return routes.Way{}, err
	}
	if len(messages) != 1 || len(messages[0]) < unix.SizeofRtMsg {
		return routes.Way{}, fmt.Errorf("the kernel gave %d answers where one belongs", len(messages))
	}
	return k.way(messages[0]), nil
}

func (k *Kernel) way(m []byte) routes.Way {
	attrs := m[unix.SizeofRtMsg:]
	w := routes.Way{Type: routeTypes[m[7]], Table: uint32(m[4])}
	if b := nlmsg.Attr(attrs, unix.RTA_TABLE); len(b) == 4 {
		w.Table = native.Uint32(b)
	}
	if b := nlmsg.Attr(attrs, unix.RTA_OIF); len(b) == 4 {
		for name, index := range k.index {
			if index == int(native.Uint32(b)) {
				w.Interface = name
			}
		}
	}
	w.Gateway, _ = netip.AddrFromSlice(nlmsg.Attr(attrs, unix.RTA_GATEWAY))
	w.Source, _ = netip.AddrFromSlice(nlmsg.Attr(attrs, unix.RTA_PREFSRC))
	return w
}
