// Package nlmsg reads and writes netlink messages (netlink(7)), and asks the kernel:
// messages in a buffer, attributes in a message. Nothing of these allocates but Append.
package nlmsg

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

var native = binary.NativeEndian

// A Message is one netlink message: its header's fields and what follows the header.
type Message struct {
	Type     uint16
	Flags    uint16
	Sequence uint32
	Port     uint32 // of the socket that asked; 0: the kernel itself
	Body     []byte
}

// Next returns the first message of b, the rest of b, and whether there was one.
// A message that claims to be longer than b ends it.
func Next(b []byte) (m Message, rest []byte, ok bool) {
	if len(b) < unix.NLMSG_HDRLEN {
		return Message{}, nil, false
	}
	length := int(native.Uint32(b))
	if length < unix.NLMSG_HDRLEN || length > len(b) {
		return Message{}, nil, false
	}
	m = Message{
		Type: native.Uint16(b[4:]), Flags: native.Uint16(b[6:]), Sequence: native.Uint32(b[8:]),
		Port: native.Uint32(b[12:]), Body: b[unix.NLMSG_HDRLEN:length],
	}
	return m, b[min(align(length), len(b)):], true
}

// Append appends a message with that body and sequence number to b.
func Append(b []byte, kind, flags uint16, sequence uint32, body []byte) []byte {
	b = native.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, sequence)
	b = native.AppendUint32(b, 0)
	return pad(append(b, body...))
}

// Attr returns the value of the first attribute of a kind in b, nil when there is
// none.
func Attr(b []byte, kind uint16) []byte {
	for len(b) >= unix.NLA_HDRLEN {
		length := int(native.Uint16(b))
		if length < unix.NLA_HDRLEN || length > len(b) {
			return nil
		}
		if native.Uint16(b[2:])&^unix.NLA_F_NESTED&^unix.NLA_F_NET_BYTEORDER == kind {
			return b[unix.NLA_HDRLEN:length]
		}
		b = b[min(align(length), len(b)):]
	}
	return nil
}

// Attrs yields the value of every attribute in b, in order. One that claims to be longer than b
// ends it.
func Attrs(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(b) >= unix.NLA_HDRLEN {
			length := int(native.Uint16(b))
			if length < unix.NLA_HDRLEN || length > len(b) || !yield(b[unix.NLA_HDRLEN:length]) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

// AppendAttr appends an attribute to b.
func AppendAttr(b []byte, kind uint16, value []byte) []byte {
	b = native.AppendUint16(b, uint16(unix.NLA_HDRLEN+len(value)))
	b = native.AppendUint16(b, kind)
	return pad(append(b, value...))
}

// align rounds a length up to a multiple of four: NLMSG_ALIGNTO and NLA_ALIGNTO.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

func pad(b []byte) []byte {
	for len(b)%unix.NLMSG_ALIGNTO != 0 {
		b = append(b, 0)
	}
	return b
}
