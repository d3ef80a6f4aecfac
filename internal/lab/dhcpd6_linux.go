package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/net/ipv6"
)

// A DHCP6Server is an ISP's (RFC 8415). It lends one address and one prefix, to whoever asks, and leads the
// prefix there.
type DHCP6Server struct {
	isp  *ISP
	conn *ipv6.PacketConn
	done sync.WaitGroup

	mu   sync.Mutex // guards what follows
	give Lend
	gone []netip.Prefix // lent before, and no longer
	seen []dhcpv6.MessageType
}

// Lend is what a DHCP6Server lends.
type Lend struct {
	Address          netip.Addr   // not valid: NoAddrsAvail
	Prefix           netip.Prefix // not valid: NoPrefixAvail
	Preferred, Valid time.Duration
	T1               time.Duration // 0: the client's choice
	DNS              netip.Addr
}

// StartDHCP6 starts the DHCPv6 server.
func (isp *ISP) StartDHCP6(give Lend) error {
	s := &DHCP6Server{isp: isp, give: give}
	config := net.ListenConfig{Control: onLink(customerSide)}
	err := isp.ns.Do(func() error {
		udp, err := config.ListenPacket(context.Background(), "udp6", fmt.Sprintf("[::]:%d", dhcpv6.DefaultServerPort))
		if err != nil {
			return err
		}
		link, err := net.InterfaceByName(customerSide)
		if err != nil {
			return err
		}
		s.conn = ipv6.NewPacketConn(udp)
		return s.conn.JoinGroup(link, &net.UDPAddr{IP: dhcpv6.AllDHCPRelayAgentsAndServers})
	})
	if err != nil {
		return fmt.Errorf("start the DHCPv6 server of ISP %d: %w", isp.Number, err)
	}
	isp.DHCP6 = s
	s.done.Go(s.serve)
	return nil
}

// StopDHCP6 ends the DHCPv6 server.
func (isp *ISP) StopDHCP6() {
	if isp.DHCP6 != nil {
		_ = isp.DHCP6.conn.Close()
		isp.DHCP6.done.Wait()
		isp.DHCP6 = nil
	}
}

// Change has the server lend other things from now on, and take back what it has lent before.
func (s *DHCP6Server) Change(give Lend) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.give.Prefix.IsValid() && s.give.Prefix != give.Prefix {
		s.gone = append(s.gone, s.give.Prefix)
	}
	s.give = give
}

// Seen returns the messages that have come in since the last call.
func (s *DHCP6Server) Seen() []dhcpv6.MessageType {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}

func (s *DHCP6Server) serve() {
	buffer := make([]byte, 2048)
	for {
		n, _, from, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		request, err := dhcpv6.MessageFromBytes(append([]byte(nil), buffer[:n]...))
		if err != nil {
			continue
		}
		client, ok := netip.AddrFromSlice(from.(*net.UDPAddr).IP)
		if answer := s.answer(request); answer != nil && ok {
			if answer.MessageType == dhcpv6.MessageTypeReply {
				s.lead(client)
			}
			_, _ = s.conn.WriteTo(answer.ToBytes(), nil, from) // lost on the way is lost on the way
		}
	}
}

// lead leads the prefix to a client.
func (s *DHCP6Server) lead(client netip.Addr) {
	s.mu.Lock()
	prefix := s.give.Prefix
	s.mu.Unlock()
	if prefix.IsValid() {
		_ = s.isp.Delegate(prefix, client)
	}
}

func (s *DHCP6Server) answer(request *dhcpv6.Message) *dhcpv6.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, request.MessageType)
	kind := dhcpv6.MessageTypeReply
	if request.MessageType == dhcpv6.MessageTypeSolicit {
		kind = dhcpv6.MessageTypeAdvertise
	}
	m := &dhcpv6.Message{MessageType: kind, TransactionID: request.TransactionID}
	m.AddOption(dhcpv6.OptClientID(request.Options.ClientID()))
	m.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{
		HWType: iana.HWTypeEthernet, LinkLayerAddr: net.HardwareAddr{2, 0, 0, 0, 0, byte(s.isp.Number)},
	}))
	said := []dhcpv6.MessageType{dhcpv6.MessageTypeRelease, dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeConfirm}
	if slices.Contains(said, request.MessageType) {
		m.AddOption(&dhcpv6.OptStatusCode{StatusCode: iana.StatusSuccess})
		return m
	}
	for _, ia := range request.Options.IANA() {
		m.AddOption(s.address(ia))
	}
	for _, ia := range request.Options.IAPD() {
		m.AddOption(s.prefix(ia))
	}
	if s.give.DNS.IsValid() {
		m.AddOption(dhcpv6.OptDNS(s.give.DNS.AsSlice()))
	}
	return m
}

func (s *DHCP6Server) address(ia *dhcpv6.OptIANA) dhcpv6.Option {
	answer := &dhcpv6.OptIANA{IaId: ia.IaId, T1: s.give.T1, T2: s.give.T1 * 8 / 5}
	if !s.give.Address.IsValid() {
		answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoAddrsAvail})
		return answer
	}
	answer.Options.Add(&dhcpv6.OptIAAddress{
		IPv6Addr: s.give.Address.AsSlice(), PreferredLifetime: s.give.Preferred, ValidLifetime: s.give.Valid,
	})
	return answer
}

func (s *DHCP6Server) prefix(ia *dhcpv6.OptIAPD) dhcpv6.Option {
	answer := &dhcpv6.OptIAPD{IaId: ia.IaId, T1: s.give.T1, T2: s.give.T1 * 8 / 5}
	if !s.give.Prefix.IsValid() {
		answer.Options.Add(&dhcpv6.OptStatusCode{StatusCode: iana.StatusNoPrefixAvail})
		return answer
	}
	for _, old := range s.gone {
		for _, asked := range ia.Options.Prefixes() {
			if asked.Prefix != nil && asked.Prefix.String() == old.String() {
				answer.Options.Add(&dhcpv6.OptIAPrefix{Prefix: asked.Prefix}) // both lifetimes 0
			}
		}
	}
	answer.Options.Add(&dhcpv6.OptIAPrefix{
		Prefix: ipNet(s.give.Prefix), PreferredLifetime: s.give.Preferred, ValidLifetime: s.give.Valid,
	})
	return answer
}
