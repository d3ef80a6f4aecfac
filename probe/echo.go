package probe

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"uplinkd/internal/sock"
)

// Layout of an echo message (RFC 792, and RFC 4443 section 4.1): type, code, checksum, id,
// sequence, and a payload that is ours: nonce, send time, target.
const (
	echoHeader  = 8
	nonceSize   = 16
	stampOffset = echoHeader + nonceSize
	indexOffset = stampOffset + 8
	echoSize    = indexOffset + 2

	ipv4Header = 20 // without options
	ipv6Header = 40 // without extensions
)

// A dialect is what differs between ICMP and ICMPv6.
type dialect struct {
	request, reply byte // types of an echo
	unreachable    byte // type of "destination unreachable"
	final          uint // a bit for each of its codes that says so of the target's network or host
	header         int  // bytes of the IP header
}

// The codes that say that the target's network or host cannot be reached: of ICMP (RFC 1812
// section 5.2.7.1) net, host, both unknown, both prohibited, communication prohibited; of ICMPv6
// (RFC 4443 section 3.1) no route, prohibited, beyond the scope, address, source's policy, reject.
// Others are about a protocol, a port, a size or a type of service.
var (
	icmp4 = dialect{
		request: 8, reply: 0, unreachable: 3, header: ipv4Header,
		final: 1<<0 | 1<<1 | 1<<6 | 1<<7 | 1<<9 | 1<<10 | 1<<13,
	}
	icmp6 = dialect{
		request: 128, reply: 129, unreachable: 1, header: ipv6Header,
		final: 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<5 | 1<<6,
	}
)

// An echo is what makes one socket's messages its own: an id the kernel can
// filter by, and a nonce that nobody off the path can know. Where its sequence numbers
// begin is nobody's to guess either.
type echo struct {
	dialect *dialect
	id      uint16
	first   uint16 // the sequence number on the wire of probe 0
	nonce   [nonceSize]byte
}

// encode writes a request into b, which must hold echoSize bytes.
func (e *echo) encode(b []byte, target int, seq uint16, now time.Time) {
	b[0], b[1], b[2], b[3] = e.dialect.request, 0, 0, 0
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], seq+e.first)
	copy(b[echoHeader:], e.nonce[:])
	binary.BigEndian.PutUint64(b[stampOffset:], uint64(now.UnixNano()))
	binary.BigEndian.PutUint16(b[indexOffset:], uint16(target))
	if e.dialect == &icmp4 { // of ICMPv6 the kernel makes the checksum, which the addresses are part of
		binary.BigEndian.PutUint16(b[2:], ^sock.Sum(b[:echoSize], 0))
	}
}

// A reply is an answer as it came from the network.
type reply struct {
	from   netip.Addr
	target int
	seq    uint16
	sent   time.Time
}

// decode reads an IPv4 packet and reports whether it is a reply to one of our
// requests. The kernel has checked the IP header's checksum, not ICMP's.
func (e *echo) decode(packet []byte) (reply, bool) {
	if len(packet) < ipv4Header || packet[0]>>4 != 4 {
		return reply{}, false
	}
	header := int(packet[0]&0xf) * 4
	if header < ipv4Header || len(packet) < header+echoSize {
		return reply{}, false
	}
	if ^sock.Sum(packet[header:], 0) != 0 {
		return reply{}, false
	}
	return e.decodeMessage(packet[header:], netip.AddrFrom4([4]byte(packet[12:16])))
}

// decodeMessage reads a message without its IP header, and reports whether it is a reply to one
// of our requests. Its checksum has been looked at.
func (e *echo) decodeMessage(b []byte, from netip.Addr) (reply, bool) {
	if len(b) < echoSize || b[0] != e.dialect.reply || b[1] != 0 || binary.BigEndian.Uint16(b[4:]) != e.id ||
		!bytes.Equal(b[echoHeader:stampOffset], e.nonce[:]) {
		return reply{}, false
	}
	return reply{
		from:   from,
		target: int(binary.BigEndian.Uint16(b[indexOffset:])),
		seq:    binary.BigEndian.Uint16(b[6:]) - e.first,
		sent:   time.Unix(0, int64(binary.BigEndian.Uint64(b[stampOffset:]))),
	}, true
}

// quoted reads the beginning of a request that an ICMP error quotes, without its
// IP header, and reports whether it is one of ours. Eight bytes are all that a
// router must quote (RFC 792), and those a stranger can guess; proven reports whether
// our nonce is there too.
func (e *echo) quoted(b []byte) (seq uint16, proven, ok bool) {
	if len(b) < echoHeader || b[0] != e.dialect.request || binary.BigEndian.Uint16(b[4:]) != e.id {
		return 0, false, false
	}
	proven = len(b) >= stampOffset
	if proven && !bytes.Equal(b[echoHeader:stampOffset], e.nonce[:]) {
		return 0, false, false
	}
	return binary.BigEndian.Uint16(b[6:]) - e.first, proven, true
}
