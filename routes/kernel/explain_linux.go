package kernel

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

// A Packet is what a route is looked up for. What is zero is not told.
type Packet struct {
	To, From     netip.Addr
	Mark         uint32
	Protocol     uint8
	SPort, DPort uint16
	In           string // the interface it comes in by; "": this host sends it
}

// A Way is the kernel's own answer.
type Way struct {
	Type      string // unicast, local, prohibit, ...
	Table     uint32
	Interface string
	Gateway   netip.Addr // not valid: the target is on the link
	Source    netip.Addr
	Rule      string // that led to the table, as of `ip rule`; "" when none of those that are known did
}

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
func (k *Kernel) Explain(ctx context.Context, p Packet) (Way, error) {
	if err := ctx.Err(); err != nil {
		return Way{}, err
	}
	req := nl.NewNetlinkRequest(unix.RTM_GETROUTE, unix.NLM_F_REQUEST)
	to := p.To.AsSlice()
	header := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Dst_len: 32, Flags: lookupTable}}
	req.AddData(header)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, to))
	if p.From.IsValid() {
		header.Src_len = 32
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
			return Way{}, err
		}
		req.AddData(nl.NewRtAttr(unix.RTA_IIF, nl.Uint32Attr(uint32(index))))
	}
	messages, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return Way{}, err
	}
	if len(messages) != 1 || len(messages[0]) < unix.SizeofRtMsg {
		return Way{}, fmt.Errorf("the kernel gave %d answers where one belongs", len(messages))
	}
	return k.way(messages[0]), nil
}

func (k *Kernel) way(m []byte) Way {
	attrs := m[unix.SizeofRtMsg:]
	w := Way{Type: routeTypes[m[7]], Table: uint32(m[4])}
	if b := attribute(attrs, unix.RTA_TABLE); len(b) == 4 {
		w.Table = native.Uint32(b)
	}
	if b := attribute(attrs, unix.RTA_OIF); len(b) == 4 {
		for name, index := range k.index {
			if index == int(native.Uint32(b)) {
				w.Interface = name
			}
		}
	}
	w.Gateway, _ = netip.AddrFromSlice(attribute(attrs, unix.RTA_GATEWAY))
	w.Source, _ = netip.AddrFromSlice(attribute(attrs, unix.RTA_PREFSRC))
	return w
}

// matches reports whether a rule is for such a packet, as far as that is told.
func matches(r routes.Rule, p Packet) bool {
	return !r.V6 && !r.Foreign && r.Out == "" && (r.Mask == 0 || p.Mark&r.Mask == r.Mark) &&
		(!r.From.IsValid() || p.From.IsValid() && r.From.Contains(p.From))
}

// LedBy returns the first of the rules that leads such a packet to that table.
// The kernel does not tell it. One that shows no default route is taken not to have
// led to a gateway: a more specific route via one is rare.
func LedBy(rules []routes.Rule, p Packet, w Way) string {
	for _, r := range rules {
		if matches(r, p) && r.Table == w.Table && (!r.SuppressDefault || !w.Gateway.IsValid()) {
			return r.String()
		}
	}
	switch w.Table {
	case routes.TableLocal:
		return "pref 0 lookup local"
	case routes.TableMain:
		return "pref 32766 lookup main"
	}
	return ""
}
