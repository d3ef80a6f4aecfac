package flows

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

const (
	ctaID   = 12
	ctaZone = 18

	ctaIPv4Src = 1
	ctaIPv6Src = 3

	seenReply = 2 // IPS_SEEN_REPLY: it has been answered

	// untranslatedMost bounds how many flows are forgotten at once. The rest is at the
	// next call.
	untranslatedMost = 65536
)

// ForgetUntranslated makes connection tracking forget the forwarded flows of a family that
// leave by one of the interfaces with the address they came with, and that nobody has
// answered: they began while nothing translated them, and connection tracking would
// never have them translated. Their next packet begins anew. It returns how many these
// were. It reads every flow there is: a million take about a second.
func ForgetUntranslated(ctx context.Context, v6 bool, interfaces []string) (int, error) {
	if flowCount() == 0 {
		return 0, nil
	}
	found, err := untranslated(ctx, v6)
	if err != nil || len(found) == 0 {
		return 0, err
	}
	out := map[int]bool{}
	for _, name := range interfaces {
		if i, err := net.InterfaceByName(name); err == nil { // one that is gone has no flows
			out[i.Index] = true
		}
	}
	leaves := map[netip.Addr]bool{} // by destination
	forgotten := 0
	for _, f := range found {
		leads, known := leaves[f.to]
		if !known {
			leads = out[wayOut(ctx, f.to)]
			leaves[f.to] = leads
		}
		if !leads {
			continue
		}
		err := ask(ctx, unix.NETLINK_NETFILTER, ctDelete, unix.NLM_F_ACK, f.request, func([]byte) {})
		switch {
		case errors.Is(err, unix.ENOENT): // it has ended by itself
		case err != nil:
			return forgotten, fmt.Errorf("forget a flow to %s: %w", f.to, err)
		default:
			forgotten++
		}
	}
	return forgotten, nil
}

// A named flow is one that can be forgotten by its name.
type named struct {
	to      netip.Addr
	request []byte
}

// untranslated returns the forwarded flows that go by the address they came with and
// have no answer.
func untranslated(ctx context.Context, v6 bool) ([]named, error) {
	own, err := ownAddresses()
	if err != nil {
		return nil, err
	}
	var found []named
	family := uint8(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	err = ask(ctx, unix.NETLINK_NETFILTER, ctGet, unix.NLM_F_DUMP, header(family, 0), func(message []byte) {
		if len(message) <= genericHeader || len(found) == untranslatedMost {
			return
		}
		flow := message[genericHeader:]
		if from, to, ok := unanswered(flow); ok && !own[from] && !own[to] && to.IsGlobalUnicast() {
			found = append(found, named{to, nameOf(family, flow)})
		}
	})
	return found, ignore(err, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT)
}

// unanswered returns the ends of a flow that is not translated and that nobody has
// answered.
func unanswered(flow []byte) (from, to netip.Addr, ok bool) {
	status := nlmsg.Attr(flow, ctaStatus)
	if len(status) != 4 || status[3]&seenReply != 0 {
		return from, to, false
	}
	ends := nlmsg.Attr(nlmsg.Attr(flow, ctaTupleOrig), ctaTupleIP)
	for _, kinds := range [][2]uint16{{ctaIPv4Src, ctaIPv4Dst}, {ctaIPv6Src, ctaIPv6Dst}} {
		src, ok1 := netip.AddrFromSlice(nlmsg.Attr(ends, kinds[0]))
		dst, ok2 := netip.AddrFromSlice(nlmsg.Attr(ends, kinds[1]))
		if ok1 && ok2 {
			from, to = src, dst
		}
	}
	if !from.IsValid() {
		return from, to, false
	}
	answers, ok := answersTo(flow)
	return from, to, ok && answers == from
}

// nameOf returns the request to forget a flow: by both its ends, its zone and its
// number, so that none can be mistaken for another that has taken its place.
func nameOf(family uint8, flow []byte) []byte {
	b := header(family, 1)
	for _, kind := range []uint16{ctaTupleOrig, ctaZone, ctaID} {
		value := nlmsg.Attr(flow, kind)
		if value == nil {
			continue
		}
		if kind == ctaTupleOrig {
			kind |= unix.NLA_F_NESTED
		}
		b = nlmsg.AppendAttr(b, kind, value)
	}
	return slices.Clone(b)
}

// wayOut returns the index of the interface by which a packet to an address would leave
// now, 0 when by none.
func wayOut(ctx context.Context, to netip.Addr) int {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[1] = unix.AF_INET, 32
	if to.Is6() {
		b[0], b[1] = unix.AF_INET6, 128
	}
	b = nlmsg.AppendAttr(b, unix.RTA_DST, to.AsSlice())
	index := 0
	request := nlmsg.Request{Protocol: unix.NETLINK_ROUTE, Type: unix.RTM_GETROUTE, Body: b}
	_ = nlmsg.Ask(ctx, request, func(m nlmsg.Message) bool { // who has no route leaves by none
		if len(m.Body) > unix.SizeofRtMsg {
			if oif := nlmsg.Attr(m.Body[unix.SizeofRtMsg:], unix.RTA_OIF); len(oif) == 4 {
				index = int(native.Uint32(oif))
			}
		}
		return false // there is one answer, and no end is told
	})
	return index
}

// ownAddresses returns the addresses of this host.
func ownAddresses() (map[netip.Addr]bool, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of this host: %w", err)
	}
	own := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own[p.Addr()] = true
		}
	}
	return own, nil
}
