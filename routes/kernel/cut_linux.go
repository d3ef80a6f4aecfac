package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Attributes of a flow (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaMark     = 8
	ctaMarkMask = 21
)

// errUnfiltered is what a kernel gives that does not look at marks.
var errUnfiltered = errors.New("the kernel does not tell flows by their marks (CONFIG_NF_CONNTRACK_MARK): " +
	"they are left to end by themselves")

// ForgetFlows makes connection tracking forget all flows with a mark, and returns
// how many these were. It first looks at what the kernel takes the mark for: one
// without marks would forget all there are.
func ForgetFlows(mark, mask uint32) (int, error) {
	request := func(kind, flags int) *nl.NetlinkRequest {
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|kind, flags)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
		req.AddData(nl.NewRtAttr(ctaMark, nl.BEUint32Attr(mark)))
		req.AddData(nl.NewRtAttr(ctaMarkMask, nl.BEUint32Attr(mask)))
		return req
	}
	count, foreign := 0, false
	err := request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP).ExecuteIter(unix.NETLINK_NETFILTER, 0, func(m []byte) bool {
		count++
		b := []byte(nil)
		if len(m) > nl.SizeofNfgenmsg {
			b = attribute(m[nl.SizeofNfgenmsg:], ctaMark)
		}
		foreign = foreign || len(b) != 4 || uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3])&mask != mark
		return !foreign
	})
	switch {
	case foreign:
		return 0, errUnfiltered
	case err != nil || count == 0:
		return 0, ignore(err, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT)
	}
	_, err = request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK).Execute(unix.NETLINK_NETFILTER, 0)
	return count, err
}

// Sizes and numbers of sock_diag(7) (linux/inet_diag.h, linux/sock_diag.h).
const (
	sockDiagByFamily = 20
	sockDestroy      = 21
	diagRequest      = 56 // struct inet_diag_req_v2
	diagMessage      = 72 // struct inet_diag_msg
	diagSocketID     = 48 // struct inet_diag_sockid

	stateEstablished = 1
	stateListen      = 10
	allStates        = 1<<12 - 1
)

// A diagSocket is one socket as sock_diag tells it.
type diagSocket struct {
	family, state uint8
	id            [diagSocketID]byte // ports, addresses, interface, cookie
}

func (s *diagSocket) port() uint16 { return uint16(s.id[0])<<8 | uint16(s.id[1]) }

// peerless reports whether the socket has no other end: a UDP socket that is not
// connected, or one that listens.
func (s *diagSocket) peerless() bool { return s.id[2] == 0 && s.id[3] == 0 }

// source returns the socket's own address; one of IPv6 may stand for one of IPv4.
func (s *diagSocket) source() netip.Addr {
	if s.family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(s.id[4:8]))
	}
	return netip.AddrFrom16([16]byte(s.id[4:20])).Unmap()
}

// EndSockets ends the connections of this host that have one of the addresses as
// their own: TCP over IPv4 or IPv6, and connected UDP. The programs see
// ECONNABORTED. Those that a local listener has accepted are left: who is at the
// other end has chosen the address, and may be who looks after this host. It
// returns how many it has ended.
func EndSockets(addresses []netip.Addr) (int, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, fmt.Errorf("open a sock_diag socket: %w", err)
	}
	defer socket.Close()
	timeout := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := errors.Join(socket.SetReceiveTimeout(&timeout), socket.SetSendTimeout(&timeout)); err != nil {
		return 0, err
	}
	wanted := map[netip.Addr]bool{}
	for _, a := range addresses {
		wanted[a] = true
	}
	ended := 0
	for _, kind := range []struct{ family, protocol uint8 }{
		{unix.AF_INET, unix.IPPROTO_TCP}, {unix.AF_INET6, unix.IPPROTO_TCP},
		{unix.AF_INET, unix.IPPROTO_UDP}, {unix.AF_INET6, unix.IPPROTO_UDP},
	} {
		victims, err := connectionsOf(kind.family, kind.protocol, wanted)
		if err != nil {
			return ended, err
		}
		n, err := destroy(socket, victims, kind.protocol)
		ended += n
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// connectionsOf returns the sockets with one of the addresses that are connected
// and were not accepted by a listener.
func connectionsOf(family, protocol uint8, wanted map[netip.Addr]bool) ([]diagSocket, error) {
	var list []diagSocket
	listening := map[uint16]bool{}
	req := nl.NewNetlinkRequest(sockDiagByFamily, unix.NLM_F_DUMP)
	req.AddRawData(diagHeader(family, protocol, allStates, nil))
	err := req.ExecuteIter(unix.NETLINK_INET_DIAG, sockDiagByFamily, func(m []byte) bool {
		if len(m) < diagMessage {
			return true
		}
		s := diagSocket{family: m[0], state: m[1], id: [diagSocketID]byte(m[4:])}
		switch {
		case protocol == unix.IPPROTO_TCP && s.state == stateListen:
			listening[s.port()] = true
		case !s.peerless() && wanted[s.source()]:
			list = append(list, s)
		}
		return true
	})
	// A kernel without UDP diagnosis, or without IPv6, has none to end.
	if err = ignore(err, unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT); err != nil {
		return nil, fmt.Errorf("list sockets: %w", err)
	}
	kept := list[:0]
	for i := range list {
		if !listening[list[i].port()] {
			kept = append(kept, list[i])
		}
	}
	return kept, nil
}

func diagHeader(family, protocol uint8, states uint32, id []byte) []byte {
	b := make([]byte, diagRequest)
	b[0], b[1] = family, protocol
	native.PutUint32(b[4:], states)
	copy(b[8:], id)
	return b
}

// destroyBatch is how many orders are sent before their answers are read.
const destroyBatch = 64

// destroy ends sockets, by their cookies, so that none can be mistaken for another
// that has taken its place. One that has ended meanwhile is none of the count.
func destroy(socket *nl.NetlinkSocket, victims []diagSocket, protocol uint8) (int, error) {
	ended := 0
	for len(victims) > 0 {
		batch := victims[:min(destroyBatch, len(victims))]
		victims = victims[len(batch):]
		for i := range batch {
			req := nl.NewNetlinkRequest(sockDestroy, unix.NLM_F_ACK)
			req.AddRawData(diagHeader(batch[i].family, protocol, 0, batch[i].id[:]))
			if err := socket.Send(req); err != nil {
				return ended, fmt.Errorf("end sockets: %w", err)
			}
		}
		n, err := acknowledged(socket, len(batch))
		ended += n
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// acknowledged reads the answers to a batch, and returns how many were good.
func acknowledged(socket *nl.NetlinkSocket, answers int) (good int, err error) {
	for answers > 0 {
		messages, _, err := socket.Receive()
		if err != nil {
			return good, fmt.Errorf("end sockets: %w", err)
		}
		for _, m := range messages {
			answers--
			if len(m.Data) < 4 {
				continue
			}
			switch errno := unix.Errno(-int32(native.Uint32(m.Data))); errno {
			case 0:
				good++
			case unix.EOPNOTSUPP:
				return good, errors.New("the kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY): " +
					"connections over a dead uplink wait for their own timeouts")
			case unix.EPERM:
				return good, errors.New("end sockets: uplinkd needs to be root or to have CAP_NET_ADMIN")
			default: // it has ended by itself
			}
		}
	}
	return good, nil
}
