package dhcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"uplinkd/internal/sock"
)

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// A linuxConn is a packet socket, which sends and hears without an address, a
// UDP socket, which sends to a server through the neighbour table and holds
// port 68, and a packet socket for ARP.
type linuxConn struct {
	index  int
	packet *packet.Conn
	udp    *ipv4.PacketConn
	arp    *packet.Conn
	own    ownMACs
	close  func() error
}

// Open opens the Conn of spec. It needs CAP_NET_RAW, and CAP_NET_ADMIN for the
// mark.
func Open(spec Spec) (Conn, error) {
	p, err := openPacket(spec, unix.ETH_P_IP, cameBy(spec.Index, onlyOurs))
	if err != nil {
		return nil, err
	}
	arp, err := openPacket(spec, unix.ETH_P_ARP, nothing)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	udp, err := openUDP(spec)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("take UDP port %d on %s (does another DHCP client run there?): %w",
			clientPort, spec.Interface, err), p.Close(), arp.Close())
	}
	return &linuxConn{index: spec.Index, packet: p, arp: arp, udp: ipv4.NewPacketConn(udp), close: func() error {
		return errors.Join(p.Close(), arp.Close(), udp.Close())
	}}, nil
}

func openPacket(spec Spec, protocol int, only []bpf.Instruction) (*packet.Conn, error) {
	filter, err := bpf.Assemble(only)
	if err != nil {
		return nil, err
	}
	p, err := packet.Listen(&net.Interface{Index: spec.Index, Name: spec.Interface}, packet.Datagram,
		protocol, &packet.Config{Filter: filter})
	if err != nil {
		return nil, fmt.Errorf("open a packet socket on %s: %w", spec.Interface, err)
	}
	return p, nil
}

// onlyOurs lets unfragmented UDP to port 68 through, so that a busy link costs
// nothing. A datagram packet socket's packets begin with the IP header.
var onlyOurs = []bpf.Instruction{
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoUDP, SkipTrue: 6},
	bpf.LoadAbsolute{Off: 6, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 0x3fff, SkipTrue: 4},
	bpf.LoadMemShift{Off: 0},
	bpf.LoadIndirect{Off: 2, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clientPort, SkipTrue: 1},
	bpf.RetConstant{Val: messageMost + 60},
	bpf.RetConstant{Val: 0},
}

// cameBy lets through what a filter does, if it came by that interface itself: a
// socket on one that carries VLANs also hears what is meant for those.
func cameBy(index int, filter []bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtInterfaceIndex},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(index), SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}, filter...)
}

// nothing lets nothing through.
var nothing = []bpf.Instruction{bpf.RetConstant{Val: 0}}

// claimsOf lets ARP through that claims an address, or probes for it: sender
// address at 14, target address at 24.
func claimsOf(address netip.Addr) []bpf.Instruction {
	b := address.As4()
	a := binary.BigEndian.Uint32(b[:])
	return []bpf.Instruction{
		bpf.LoadAbsolute{Off: 14, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: a, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 3},
		bpf.LoadAbsolute{Off: 24, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: a, SkipTrue: 1},
		bpf.RetConstant{Val: arpSize},
		bpf.RetConstant{Val: 0},
	}
}

// openUDP opens the socket for unicast. Its own filter drops all that comes in:
// the packet socket hears that too.
func openUDP(spec Spec) (net.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) { err = prepareUDP(int(fd), spec) }); e != nil {
			return e
		}
		return err
	}}
	return config.ListenPacket(context.Background(), "udp4", fmt.Sprintf("0.0.0.0:%d", clientPort))
}

func prepareUDP(fd int, spec Spec) error {
	if err := sock.Bind(fd, spec.Index, spec.Mark); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("let others have the port on other interfaces: %w", err)
	}
	none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: 1, Filter: &none[0]})
}

// Broadcast implements Conn.
func (c *linuxConn) Broadcast(message []byte, from netip.Addr) error {
	_, err := c.packet.WriteTo(wrap(message, from), &packet.Addr{HardwareAddr: broadcastMAC})
	return err
}

// Unicast implements Conn.
func (c *linuxConn) Unicast(message []byte, from, to netip.Addr) error {
	_, err := c.udp.WriteTo(message, &ipv4.ControlMessage{Src: from.AsSlice()},
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, serverPort)))
	return err
}

// Receive implements Conn.
func (c *linuxConn) Receive(buffer []byte) (int, error) {
	frame := make([]byte, messageMost+60)
	for {
		n, _, err := c.packet.ReadFrom(frame)
		if err != nil {
			return 0, err
		}
		if message, err := unwrap(frame[:n]); err == nil {
			return copy(buffer, message), nil
		}
	}
}

// SendARP implements Conn.
func (c *linuxConn) SendARP(a ARP) error {
	_, err := c.arp.WriteTo(a.Bytes(), &packet.Addr{HardwareAddr: broadcastMAC})
	return err
}

// Watch implements Conn.
func (c *linuxConn) Watch(address netip.Addr) error {
	only := nothing
	if address.Is4() {
		only = cameBy(c.index, claimsOf(address))
	}
	filter, err := bpf.Assemble(only)
	if err != nil {
		return err
	}
	return c.arp.SetBPF(filter)
}

// ReceiveARP implements Conn. Another interface of this host is no other host:
// the kernel answers for all addresses on all of them (arp_ignore in ip-sysctl).
func (c *linuxConn) ReceiveARP() (ARP, error) {
	var frame [arpSize]byte
	for {
		n, _, err := c.arp.ReadFrom(frame[:])
		if err != nil {
			return ARP{}, err
		}
		if a, err := ParseARP(frame[:n]); err == nil && !c.own.has(a.SenderMAC) {
			return a, nil
		}
		time.Sleep(claimPause)
	}
}

// ownMACs are the hardware addresses of this host, as of a moment ago.
type ownMACs struct {
	at   time.Time
	list map[[6]byte]bool
}

func (o *ownMACs) has(mac [6]byte) bool {
	if now := time.Now(); now.Sub(o.at) > time.Second {
		o.at, o.list = now, map[[6]byte]bool{}
		interfaces, _ := net.Interfaces() // without the list every claim is another host's
		for _, i := range interfaces {
			if len(i.HardwareAddr) == 6 {
				o.list[[6]byte(i.HardwareAddr)] = true
			}
		}
	}
	return o.list[mac]
}

// Close implements Conn.
func (c *linuxConn) Close() error { return c.close() }
