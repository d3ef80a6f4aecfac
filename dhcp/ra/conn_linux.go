package ra

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv6"

	"uplinkd/internal/sock"
)

// messageMost is the longest advertisement that is read, in bytes: an Ethernet frame's.
const messageMost = 1500

// allRouters is ff02::2 (RFC 4291 section 2.7.1).
var allRouters = net.ParseIP("ff02::2")

// A linuxConn is a raw ICMPv6 socket that leaves and hears by one interface.
type linuxConn struct {
	index  int
	packet *ipv6.PacketConn
	buffer [messageMost]byte
}

// Open opens the Conn of spec. It needs CAP_NET_RAW.
func Open(spec Spec) (Conn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bind error
		err := c.Control(func(fd uintptr) { bind = sock.Bind(int(fd), spec.Index, 0) })
		return errors.Join(err, bind)
	}}
	raw, err := config.ListenPacket(context.Background(), "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, fmt.Errorf("open an ICMPv6 socket on %s: %w", spec.Interface, err)
	}
	c := &linuxConn{index: spec.Index, packet: ipv6.NewPacketConn(raw)}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	err = errors.Join(
		c.packet.SetICMPFilter(&filter),
		c.packet.SetControlMessage(ipv6.FlagHopLimit, true),
		// Who is not on the link cannot send with 255 (RFC 4861 section 6.1).
		c.packet.SetMulticastHopLimit(255),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the ICMPv6 socket on %s: %w", spec.Interface, err), raw.Close())
	}
	return c, nil
}

// Solicit implements Conn.
func (c *linuxConn) Solicit(message []byte) error {
	to := &net.IPAddr{IP: allRouters}
	_, err := c.packet.WriteTo(message, &ipv6.ControlMessage{IfIndex: c.index}, to)
	return err
}

// Receive implements Conn.
func (c *linuxConn) Receive() (Received, error) {
	n, control, from, err := c.packet.ReadFrom(c.buffer[:])
	if err != nil {
		return Received{}, err
	}
	r := Received{Message: c.buffer[:n]}
	if control != nil {
		r.HopLimit = control.HopLimit
	}
	if a, ok := from.(*net.IPAddr); ok {
		r.From, _ = netip.AddrFromSlice(a.IP)
	}
	return r, nil
}

// Close implements Conn.
func (c *linuxConn) Close() error { return c.packet.Close() }
