package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// arpSize is the length of an ARP packet for IPv4 on Ethernet (RFC 826).
const arpSize = 28

const (
	arpRequest = 1
	arpReply   = 2
)

var errNotARP = errors.New("not an ARP packet of IPv4 on Ethernet")

// An ARP is an ARP packet of IPv4 on Ethernet.
type ARP struct {
	Reply     bool
	SenderMAC [6]byte
	Sender    netip.Addr // 0.0.0.0 in a probe
	Target    netip.Addr
}

// MAC returns the sender's hardware address.
func (a ARP) MAC() net.HardwareAddr { return a.SenderMAC[:] }

// Bytes returns the packet. The target's hardware address, which a request asks
// for, is left zero, in announcements too (RFC 5227 section 2.3).
func (a ARP) Bytes() []byte {
	b := make([]byte, arpSize)
	binary.BigEndian.PutUint16(b[0:], 1) // Ethernet
	binary.BigEndian.PutUint16(b[2:], 0x0800)
	b[4], b[5] = 6, 4
	binary.BigEndian.PutUint16(b[6:], arpRequest)
	if a.Reply {
		binary.BigEndian.PutUint16(b[6:], arpReply)
	}
	copy(b[8:], a.SenderMAC[:])
	sender, target := a.Sender.As4(), a.Target.As4()
	copy(b[14:], sender[:])
	copy(b[24:], target[:])
	return b
}

// ParseARP reads a packet. What follows it is padding.
func ParseARP(b []byte) (ARP, error) {
	if len(b) < arpSize || binary.BigEndian.Uint16(b) != 1 || binary.BigEndian.Uint16(b[2:]) != 0x0800 ||
		b[4] != 6 || b[5] != 4 {
		return ARP{}, errNotARP
	}
	kind := binary.BigEndian.Uint16(b[6:])
	if kind != arpRequest && kind != arpReply {
		return ARP{}, errNotARP
	}
	return ARP{
		Reply: kind == arpReply, SenderMAC: [6]byte(b[8:14]),
		Sender: netip.AddrFrom4([4]byte(b[14:18])), Target: netip.AddrFrom4([4]byte(b[24:28])),
	}, nil
}
