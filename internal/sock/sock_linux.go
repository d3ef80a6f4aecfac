// Package sock has what sockets of several packages need: binding to one uplink,
// and the Internet checksum.
package sock

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// bindToIfindex is SO_BINDTOIFINDEX (Linux 5.0). Binding by index cannot catch
// another interface that has taken the name meanwhile.
const bindToIfindex = 62

// Bind makes a socket leave and hear by one interface only, and gives what it
// sends a mark (socket(7), SO_MARK). The mark needs CAP_NET_ADMIN; 0 is none.
func Bind(fd, index int, mark uint32) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, bindToIfindex, index); err != nil {
		return fmt.Errorf("bind to interface %d: %w", index, err)
	}
	if mark == 0 {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return fmt.Errorf("set the mark %#x: %w", mark, err)
	}
	return nil
}

// Sum is the ones' complement sum of b (RFC 1071), begun with start. The Internet
// checksum is its complement; over a message with a right checksum in it, that is 0.
func Sum(b []byte, start uint32) uint16 {
	for ; len(b) > 1; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start>>16 != 0 {
		start = start&0xffff + start>>16
	}
	return uint16(start)
}
