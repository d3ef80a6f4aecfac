package dhcp6

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

// Ports (RFC 8415 section 7.2), and where all servers and relays on a link hear (section 7.1).
const (
	clientPort = 546
	serverPort = 547
)

var allServers = net.ParseIP("ff02::1:2")

// messageMost is the longest message that is read, in bytes.
const messageMost = 1500

// A linuxConn is a UDP socket that leaves and hears by one interface.
type linuxConn struct {
	index int
	udp   *ipv6.PacketConn
}

// Open opens the Conn of spec: UDP port 546 of its address on the link.
func Open(spec Spec) (Conn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var bind error
		err := c.Control(func(fd uintptr) { bind = sock.Bind(int(fd), spec.Index, 0) })
		return errors.Join(err, bind)
	}}
	at := netip.AddrPortFrom(spec.LinkLocal.WithZone(spec.Interface), clientPort)
	udp, err := config.ListenPacket(context.Background(), "udp6", at.String())
	if err != nil {
		return nil, fmt.Errorf("take UDP port %d on %s (does another DHCPv6 client run there?): %w",
			clientPort, spec.Interface, err)
	}
	return &linuxConn{index: spec.Index, udp: ipv6.NewPacketConn(udp)}, nil
}

// Send implements Conn.
func (c *linuxConn) Send(message []byte) error {
	to := &net.UDPAddr{IP: allServers, Port: serverPort}
	_, err := c.udp.WriteTo(message, &ipv6.ControlMessage{IfIndex: c.index}, to)
	return err
}

// Receive implements Conn.
func (c *linuxConn) Receive(buffer []byte) (int, error) {
	for {
		n, _, from, err := c.udp.ReadFrom(buffer)
		if err != nil {
			return 0, err
		}
		// Servers and relays send from their own port, and from the link (RFC 8415 section 7.2).
		if a, ok := from.(*net.UDPAddr); ok && a.Port == serverPort && a.IP.IsLinkLocalUnicast() {
			return n, nil
		}
	}
}

// Close implements Conn.
func (c *linuxConn) Close() error { return c.udp.Close() }
