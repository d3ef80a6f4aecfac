package probe

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"time"

	"uplinkd/internal/sock"
)

// Layout of an echo message (RFC 792): type, code, checksum, id, sequence, and
// a payload that is ours: nonce, send time, target.
const (
	echoReply   = 0
	echoRequest = 8

	echoHeader  = 8
	nonceSize   = 16
	stampOffset = echoHeader + nonceSize
	indexOffset = stampOffset + 8
	echoSize    = indexOffset + 2

	ipv4Header = 20 // without options
)

// An echo is what makes one socket's messages its own: an id the kernel can
// filter by, and a nonce that nobody off the path can know. Where its sequence numbers
// begin is nobody's to guess either.
type echo struct {
	id    uint16
	first uint16 // the sequence number on the wire of probe 0
	nonce [nonceSize]byte
}

// encode writes a request into b, which must hold echoSize bytes.
func (e *echo) encode(b []byte, target int, seq uint16, now time.Time) {
	b[0], b[1], b[2], b[3] = echoRequest, 0, 0, 0
	binary.BigEndian.PutUint16(b[4:], e.id)
	binary.BigEndian.PutUint16(b[6:], seq+e.first)
	copy(b[echoHeader:], e.nonce[:])
	binary.BigEndian.PutUint64(b[stampOffset:], uint64(now.UnixNano()))
	binary.BigEndian.PutUint16(b[indexOffset:], uint16(target))
	binary.BigEndian.PutUint16(b[2:], ^sock.Sum(b[:echoSize], 0))
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
	b := packet[header:]
	if b[0] != echoReply || b[1] != 0 || binary.BigEndian.Uint16(b[4:]) != e.id ||
		!bytes.Equal(b[echoHeader:stampOffset], e.nonce[:]) || ^sock.Sum(b, 0) != 0 {
		return reply{}, false
	}
	return reply{
		from:   netip.AddrFrom4([4]byte(packet[12:16])),
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
	if len(b) < echoHeader || b[0] != echoRequest || binary.BigEndian.Uint16(b[4:]) != e.id {
		return 0, false, false
	}
	proven = len(b) >= stampOffset
	if proven && !bytes.Equal(b[echoHeader:stampOffset], e.nonce[:]) {
		return 0, false, false
	}
	return binary.BigEndian.Uint16(b[6:]) - e.first, proven, true
}
