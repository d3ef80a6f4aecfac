package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// In IPv6 all ISPs have the same address towards the host, as providers do. ISP i has
// 2001:db8:i::/48: of it 2001:db8:i::/64 is the link to the host, and 2001:db8:i:100::/56 what it
// may delegate. The internet answers on every address of 2001:2::/48, which is set aside for such
// tests (RFC 5180). What leaves by an ISP with another's address is counted and dropped (BCP 38).
var (
	Gateway6  = netip.MustParseAddr("fe80::1")
	everyone6 = netip.MustParsePrefix("2001:2::/48")
)

// spoofed is the counter of what came from the host with an address that is not the ISP's, and
// spoofedFlows the set of where from and where to.
const (
	spoofed      = "spoofed"
	spoofedFlows = "spoofed_flows"
)

// Somewhere6 returns the n-th address of the internet in IPv6.
func Somewhere6(n int) netip.Addr {
	b := everyone6.Addr().As16()
	b[13], b[14], b[15] = byte(n>>16), byte(n>>8), byte(n)
	return netip.AddrFrom16(b)
}

// Network6 is all that the ISP has.
func (isp *ISP) Network6() netip.Prefix { return prefix6(isp.Number, 0, 48) }

// Link6 is the network between the ISP and the host.
func (isp *ISP) Link6() netip.Prefix { return prefix6(isp.Number, 0, 64) }

// Delegated6 is the prefix that the ISP has for the host's LAN.
func (isp *ISP) Delegated6() netip.Prefix { return prefix6(isp.Number, 0x0100, 56) }

func prefix6(isp, subnet, bits int) netip.Prefix {
	a := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(isp), byte(subnet >> 8), byte(subnet)})
	return netip.PrefixFrom(a, bits)
}

// Static6 is what the host may be given of the link.
func (isp *ISP) Static6() netip.Prefix { return host6(isp.Link6(), 10) }

// host6 returns the n-th address of a network.
func host6(p netip.Prefix, n byte) netip.Prefix {
	b := p.Addr().As16()
	b[15] = n
	return netip.PrefixFrom(netip.AddrFrom16(b), p.Bits())
}

// EnableIPv6 gives every ISP and the internet IPv6. What the host takes to find out whether an
// address is free is made short: it is a second or two for each otherwise.
func (w *World) EnableIPv6() error {
	if err := w.Internet.localRoute(everyone6); err != nil {
		return err
	}
	if err := w.server.serve6(w.Internet); err != nil {
		return err
	}
	for _, isp := range w.ISPs {
		if err := isp.enableIPv6(); err != nil {
			return fmt.Errorf("IPv6 of ISP %d: %w", isp.Number, err)
		}
	}
	return nil
}

func (isp *ISP) enableIPv6() error {
	isp.v6 = true
	near, far := host6(prefix6(0xff, isp.Number, 64), 1), host6(prefix6(0xff, isp.Number, 64), 2)
	peer := fmt.Sprintf("isp%d", isp.Number)
	return errors.Join(
		isp.ns.Sysctl("net/ipv6/conf/all/forwarding", "1"),
		isp.ns.address6(internetSide, near),
		isp.world.Internet.address6(peer, far),
		isp.ns.Route(netip.MustParsePrefix("::/0"), far.Addr(), internetSide),
		isp.world.Internet.Route(isp.Network6(), near.Addr(), peer),
		isp.attach6(),
		isp.apply(),
	)
}

// attach6 is Attach for IPv6.
func (isp *ISP) attach6() error {
	hurry := func(ns *Namespace, name string) error {
		return errors.Join(
			ns.Sysctl("net/ipv6/conf/"+name+"/router_solicitation_delay", "0"),
			ns.Sysctl("net/ipv6/neigh/"+name+"/retrans_time_ms", "100"),
			ns.Sysctl("net/ipv6/conf/"+name+"/accept_dad", "1"), // which the lab turns off (Enter)
		)
	}
	return errors.Join(hurry(isp.world.host, isp.Interface), isp.gateway6())
}

// gateway6 gives the customer's side its addresses. The kernel takes those of IPv6 from an interface that
// is set down.
func (isp *ISP) gateway6() error {
	return errors.Join(
		isp.ns.address6(customerSide, netip.PrefixFrom(Gateway6, 64)),
		isp.ns.address6(customerSide, host6(isp.Link6(), 1)),
	)
}

// trustAddresses has the namespace ask nobody whether an address of IPv6 is free, on interfaces that come
// from now on: nothing is sent from one for a second or two otherwise.
func (n *Namespace) trustAddresses() error { return n.Sysctl("net/ipv6/conf/default/accept_dad", "0") }

// address6 gives an interface an address at once: nobody is asked whether it is free.
func (n *Namespace) address6(name string, prefix netip.Prefix) error {
	err := n.handle.AddrReplace(byName(name), &netlink.Addr{IPNet: ipNet(prefix), Flags: unix.IFA_F_NODAD})
	if err != nil {
		return fmt.Errorf("address %s on %s: %w", prefix, name, err)
	}
	return nil
}

// Delegate leads a prefix of the ISP's to the host, whose address on the link is that.
func (isp *ISP) Delegate(prefix netip.Prefix, host netip.Addr) error {
	return isp.ns.Route(prefix, host, customerSide)
}

// Spoofed returns how many packets the host has sent to the ISP with an address that is not the
// ISP's. It must be 0.
func (isp *ISP) Spoofed() (uint64, error) {
	objects, err := isp.nft.GetObjects(&nftables.Table{Family: nftables.TableFamilyINet, Name: "lab"})
	if err != nil {
		return 0, err
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *nftables.CounterObj:
			if o.Name == spoofed {
				return o.Packets, nil
			}
		case *nftables.NamedObj:
			if c, ok := o.Obj.(*expr.Counter); ok && o.Name == spoofed {
				return c.Packets, nil
			}
		}
	}
	return 0, errors.New("lab: the ISP does not count")
}

// SpoofedFlows returns where the packets that Spoofed counts came from and were to go, for a test that
// has found some to say.
func (isp *ISP) SpoofedFlows() ([]string, error) {
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "lab"}
	set, err := isp.nft.GetSetByName(table, spoofedFlows)
	if err != nil {
		return nil, err
	}
	elements, err := isp.nft.GetSetElements(set)
	if err != nil {
		return nil, err
	}
	var flows []string
	for _, e := range elements {
		if len(e.Key) < 36 {
			return nil, fmt.Errorf("lab: a flow of %d bytes", len(e.Key))
		}
		from, to := netip.AddrFrom16([16]byte(e.Key[:16])), netip.AddrFrom16([16]byte(e.Key[16:32]))
		flows = append(flows, fmt.Sprintf("protocol %d from %s to %s", e.Key[32], from, to))
	}
	return flows, nil
}

// noteSpoofed adds what notes the flows of such packets.
func noteSpoofed(conn *nftables.Conn, table *nftables.Table) ([]expr.Any, error) {
	key, err := nftables.ConcatSetType(nftables.TypeIP6Addr, nftables.TypeIP6Addr, nftables.TypeInetProto)
	if err != nil {
		return nil, err
	}
	set := &nftables.Set{Table: table, Name: spoofedFlows, KeyType: key, Dynamic: true, Concatenation: true, Size: 64}
	if err := conn.AddSet(set, nil); err != nil {
		return nil, err
	}
	return []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 16},
		&expr.Payload{DestRegister: unix.NFT_REG_2, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: unix.NFT_REG_3},
		&expr.Dynset{SrcRegKey: unix.NFT_REG_1, SetName: spoofedFlows, Operation: uint32(unix.NFT_DYNSET_OP_UPDATE)},
	}, nil
}

// countSpoofed adds what counts and drops packets of the host with an address that is not the ISP's.
func (isp *ISP) countSpoofed(conn *nftables.Conn, table *nftables.Table, forward *nftables.Chain) error {
	note, err := noteSpoofed(conn, table)
	if err != nil {
		return err
	}
	conn.AddObj(&nftables.NamedObj{Table: table, Name: spoofed, Type: nftables.ObjTypeCounter, Obj: &expr.Counter{}})
	network := isp.Network6()
	exprs := slices.Concat(fromCustomer(), familyIs(unix.NFPROTO_IPV6), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 8, Len: 6},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: network.Addr().AsSlice()[:6]},
		&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: spoofed},
	}, note, []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})
	conn.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: exprs})
	return nil
}

func familyIs(family byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
}

// SilenceIn is Silence for one family alone.
func (isp *ISP) SilenceIn(v6, on bool) error {
	if v6 {
		isp.faults.silent6 = on
	} else {
		isp.faults.silent4 = on
	}
	return isp.apply()
}

// UpstreamIn is Upstream for one family alone.
func (isp *ISP) UpstreamIn(v6, dead bool) error {
	if v6 {
		isp.faults.upstream6 = dead
	} else {
		isp.faults.upstream4 = dead
	}
	return isp.apply()
}

// serve6 has the internet answer in IPv6 too.
func (s *Server) serve6(ns *Namespace) error {
	err := ns.Do(func() (err error) {
		at := fmt.Sprintf("[::]:%d", Port)
		if s.tcp6, err = net.Listen("tcp6", at); err != nil {
			return err
		}
		s.udp6, err = anySource.ListenPacket(context.Background(), "udp6", at)
		return err
	})
	if err != nil {
		return err
	}
	s.all.Go(func() { s.serveTCP(s.tcp6) })
	s.all.Go(s.serveUDP6)
	return nil
}

// anySource has a socket answer from addresses that no interface has (ip6_datagram_send_ctl in net/ipv6/datagram.c).
var anySource = net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1) })
	return errors.Join(err, set)
}}

// serveUDP6 is serveUDP for IPv6.
func (s *Server) serveUDP6() {
	conn := ipv6.NewPacketConn(s.udp6)
	if err := conn.SetControlMessage(ipv6.FlagDst, true); err != nil {
		return
	}
	buffer := make([]byte, 64)
	for {
		_, asked, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo([]byte(from.String()+"\n"), &ipv6.ControlMessage{Src: asked.Dst}, from)
	}
}

// onLink has a socket leave and hear by one interface.
func onLink(name string) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var bind error
		err := c.Control(func(fd uintptr) { bind = unix.BindToDevice(int(fd), name) })
		return errors.Join(err, bind)
	}
}

// Other6 is another prefix that the ISP may have for the host's LAN.
func (isp *ISP) Other6() netip.Prefix { return prefix6(isp.Number, 0x0200, 56) }
