package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// A DHCPServer is an ISP's. It gives each client of its network an address from
// .100 on, always the same, and names the ISP's gateway as the router.
type DHCPServer struct {
	isp   *ISP
	lease time.Duration
	conn  net.PacketConn
	done  sync.WaitGroup

	// Answered is when the last acknowledgement was sent, in Unix nanoseconds.
	Answered atomic.Int64

	// Copies is how often each answer is sent; 0: once.
	Copies atomic.Int64

	mu      sync.Mutex // guards what follows
	first   byte
	bits    int // of the subnet mask
	clients map[string]netip.Addr
	seen    []dhcpv4.MessageType
	spoil   func(reply *dhcpv4.DHCPv4)
}

func startDHCP(isp *ISP, lease time.Duration) (*DHCPServer, error) {
	s := &DHCPServer{
		isp: isp, lease: lease, first: byte(90 + 10*isp.Number), bits: 24, clients: map[string]netip.Addr{},
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = unix.BindToDevice(int(fd), customerSide)
			if err == nil {
				err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
			}
		}); e != nil {
			return e
		}
		return err
	}}
	err := isp.ns.Do(func() (err error) {
		s.conn, err = config.ListenPacket(context.Background(), "udp4", "0.0.0.0:67")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start the DHCP server of ISP %d: %w", isp.Number, err)
	}
	s.done.Go(s.serve)
	return s, nil
}

// Renumber makes the server refuse the addresses it has given, and give others
// from now on.
func (s *DHCPServer) Renumber() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.first += 50
	s.clients = map[string]netip.Addr{}
}

// Mask makes the server give leases of another prefix length; with 32 the router
// lies outside the leased network.
func (s *DHCPServer) Mask(bits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bits = bits
}

// Spoil has f change every answer before it is sent; nil ends that.
func (s *DHCPServer) Spoil(f func(reply *dhcpv4.DHCPv4)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spoil = f
}

// Seen returns the messages that have come in since the last call.
func (s *DHCPServer) Seen() []dhcpv4.MessageType {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func (s *DHCPServer) close() {
	_ = s.conn.Close()
	s.done.Wait()
}

func (s *DHCPServer) serve() {
	buffer := make([]byte, 2048)
	for {
		n, _, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		request, err := dhcpv4.FromBytes(buffer[:n])
		if err != nil {
			continue
		}
		answer := s.answer(request)
		if answer == nil {
			continue
		}
		to := &net.UDPAddr{IP: net.IPv4bcast, Port: 68}
		if !request.ClientIPAddr.IsUnspecified() {
			to.IP = request.ClientIPAddr
		}
		s.Answered.Store(time.Now().UnixNano())
		for range max(s.Copies.Load(), 1) {
			_, _ = s.conn.WriteTo(answer.ToBytes(), to) // lost on the way is lost on the way
		}
	}
}

func (s *DHCPServer) answer(request *dhcpv4.DHCPv4) *dhcpv4.DHCPv4 {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := request.MessageType()
	s.seen = append(s.seen, kind)
	if kind == dhcpv4.MessageTypeDecline {
		s.first++ // that one is taken; give the next
	}
	if kind == dhcpv4.MessageTypeDecline || kind == dhcpv4.MessageTypeRelease {
		delete(s.clients, request.ClientHWAddr.String())
		return nil
	}
	address, known := s.clients[request.ClientHWAddr.String()]
	if !known && kind == dhcpv4.MessageTypeDiscover {
		at := s.isp.Network.Addr().As4()
		at[3] = s.first + byte(len(s.clients))
		address = netip.AddrFrom4(at)
		s.clients[request.ClientHWAddr.String()] = address
	}
	reply := dhcpv4.MessageTypeOffer
	if kind == dhcpv4.MessageTypeRequest {
		reply = dhcpv4.MessageTypeAck
		wanted := request.RequestedIPAddress()
		if wanted == nil {
			wanted = request.ClientIPAddr
		}
		if got, _ := netip.AddrFromSlice(wanted.To4()); got != address {
			reply = dhcpv4.MessageTypeNak
		}
	}
	modifiers := []dhcpv4.Modifier{
		dhcpv4.WithMessageType(reply),
		dhcpv4.WithOption(dhcpv4.OptServerIdentifier(s.isp.Gateway.AsSlice())),
	}
	if reply != dhcpv4.MessageTypeNak {
		modifiers = append(modifiers,
			dhcpv4.WithYourIP(address.AsSlice()), dhcpv4.WithLeaseTime(uint32(s.lease/time.Second)),
			dhcpv4.WithNetmask(net.CIDRMask(s.bits, 32)), dhcpv4.WithRouter(s.isp.Gateway.AsSlice()),
			dhcpv4.WithDNS(s.isp.Gateway.AsSlice()))
	}
	answer, err := dhcpv4.NewReplyFromRequest(request, modifiers...)
	if err != nil {
		return nil
	}
	if s.spoil != nil {
		s.spoil(answer)
	}
	return answer
}
