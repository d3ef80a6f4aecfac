package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"uplinkd/internal/sock"
)

const (
	clientPort = 68
	serverPort = 67

	ipHeader  = 20
	udpHeader = 8
	protoUDP  = 17
)

var errNotOurs = errors.New("not a DHCP server's packet")

// wrap puts a message into an IP packet to all, UDP port 68 to 67 (RFC 791, RFC
// 768), from 0.0.0.0 when from is not valid.
func wrap(message []byte, from netip.Addr) []byte {
	b := make([]byte, ipHeader+udpHeader+len(message))
	b[0] = 0x45
	b[1] = 0x10 // low delay, as other clients send it
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[8], b[9] = 64, protoUDP
	if from.Is4() {
		source := from.As4()
		copy(b[12:16], source[:])
	}
	copy(b[16:20], []byte{255, 255, 255, 255})
	binary.BigEndian.PutUint16(b[10:], ^sock.Sum(b[:ipHeader], 0))

	u := b[ipHeader:]
	binary.BigEndian.PutUint16(u[0:], clientPort)
	binary.BigEndian.PutUint16(u[2:], serverPort)
	binary.BigEndian.PutUint16(u[4:], uint16(len(u)))
	copy(u[udpHeader:], message)
	// The pseudo header: both addresses, protocol, length.
	pseudo := uint32(sock.Sum(b[12:20], 0)) + protoUDP + uint32(len(u))
	checksum := ^sock.Sum(u, pseudo)
	if checksum == 0 {
		checksum = 0xffff // 0 would mean: none
	}
	binary.BigEndian.PutUint16(u[6:], checksum)
	return b
}

// unwrap returns the message in an IP packet to our port. The UDP checksum is
// not looked at: on virtual links the kernel leaves it unfinished.
func unwrap(b []byte) ([]byte, error) {
	if len(b) < ipHeader || b[0]>>4 != 4 {
		return nil, errNotOurs
	}
	header, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipHeader || total > len(b) || total < header+udpHeader || b[9] != protoUDP {
		return nil, errNotOurs
	}
	if fragment := binary.BigEndian.Uint16(b[6:]); fragment&0x3fff != 0 {
		return nil, errNotOurs
	}
	u := b[header:total]
	length := int(binary.BigEndian.Uint16(u[4:]))
	if binary.BigEndian.Uint16(u[2:]) != clientPort || length < udpHeader || length > len(u) {
		return nil, errNotOurs
	}
	return u[udpHeader:length], nil
}
