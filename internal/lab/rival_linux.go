package lab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// RivalMAC is the hardware address of a Rival.
var RivalMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x66}

// A Rival is a host on an ISP's network that has an address already, and says so
// to whoever asks for it.
type Rival struct {
	conn    *packet.Conn
	address [4]byte
	done    sync.WaitGroup
}

// Rival puts a host with that address on the ISP's network. Close takes it away.
func (isp *ISP) Rival(address netip.Addr) (*Rival, error) {
	index, err := isp.ns.Index(customerSide)
	if err != nil {
		return nil, err
	}
	r := &Rival{address: address.As4()}
	err = isp.ns.Do(func() (err error) {
		wire := &net.Interface{Index: index, Name: customerSide}
		r.conn, err = packet.Listen(wire, packet.Datagram, unix.ETH_P_ARP, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("put a rival on %s: %w", isp.Interface, err)
	}
	r.done.Go(r.answer)
	return r, nil
}

// answer answers requests for the address (RFC 826): the operation becomes 2, and
// sender and target change places.
func (r *Rival) answer() {
	b := make([]byte, 64)
	for {
		n, from, err := r.conn.ReadFrom(b)
		if err != nil {
			return
		}
		// An announcement, from the address itself, Linux does not answer either.
		if n < 28 || b[7] != 1 || !bytes.Equal(b[24:28], r.address[:]) || bytes.Equal(b[14:18], r.address[:]) {
			continue
		}
		reply := append([]byte(nil), b[:28]...)
		reply[7] = 2
		copy(reply[8:], RivalMAC)
		copy(reply[14:], r.address[:])
		copy(reply[18:], b[8:18])
		_, _ = r.conn.WriteTo(reply, from) // lost on the way is lost on the way
	}
}

// Claim tells all on the network that the rival has the address.
func (r *Rival) Claim() error {
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, RivalMAC...), r.address[:]...)
	b = append(append(b, make([]byte, 6)...), r.address[:]...)
	_, err := r.conn.WriteTo(b, &packet.Addr{HardwareAddr: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}})
	return err
}

// Close takes the rival away.
func (r *Rival) Close() {
	_ = r.conn.Close()
	r.done.Wait()
}
