package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"syscall"

	"github.com/vishvananda/netlink/nl"
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
// how many these were, as far as its count tells: others come and go meanwhile.
func ForgetFlows(mark, mask uint32) (int, error) {
	before := flowCount()
	if before == 0 {
		return 0, nil
	}
	if err := checkFilter(); err != nil {
		return 0, err
	}
	_, err := byMark(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK, mark, mask).Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return 0, ignore(err, unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT)
	}
	return max(before-flowCount(), 0), nil
}

// byMark is a request about all flows with a mark.
func byMark(kind, flags int, mark, mask uint32) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|kind, flags)
	// Version 0 would delete those of every family, whatever this says
	// (ctnetlink_del_conntrack).
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: 1})
	req.AddData(nl.NewRtAttr(ctaMark, nl.BEUint32Attr(mark)))
	req.AddData(nl.NewRtAttr(ctaMarkMask, nl.BEUint32Attr(mask)))
	return req
}

// checkFilter asks for flows with a mark that none can have. A kernel that names
// some does not look at marks, and would forget all flows there are.
func checkFilter() error {
	named := false
	err := byMark(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP, 1, 0).ExecuteIter(unix.NETLINK_NETFILTER, 0,
		func([]byte) bool { named = true; return false })
	if named {
		return errUnfiltered
	}
	return err
}

// flowCount returns how many flows connection tracking knows, 0 where there is none.
func flowCount() int {
	text, err := readFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(text) // the kernel writes a number
	return n
}

// Sizes and numbers of sock_diag(7) (linux/inet_diag.h, linux/sock_diag.h).
const (
	sockDiagByFamily = 20
	sockDestroy      = 21
	diagRequest      = 56 // struct inet_diag_req_v2
	diagMessage      = 72 // struct inet_diag_msg
	diagSocketID     = 48 // struct inet_diag_sockid

	stateListen = 10
	allStates   = 1<<12 - 1
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

// address returns the socket's own address (0) or its peer's (1); one of IPv6 may
// stand for one of IPv4.
func (s *diagSocket) address(which int) netip.Addr {
	b := s.id[4+16*which:]
	if s.family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b)).Unmap()
}

// EndSockets ends the connections of this host that have one of the addresses as
// their own: TCP over IPv4 or IPv6, and connected UDP. The programs see
// ECONNABORTED. Those that a local listener has accepted are left: who is at the
// other end has chosen the address, and may be who looks after this host. So are
// those within the address's own network, or of this host with itself: they go by no
// gateway. It returns how many it has ended.
func EndSockets(addresses []netip.Prefix) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, fmt.Errorf("open a sock_diag socket: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // it has served
	wanted := map[netip.Addr]netip.Prefix{}
	for _, a := range addresses {
		wanted[a.Addr()] = a
	}
	ended := 0
	for _, kind := range []struct{ family, protocol uint8 }{
		{unix.AF_INET, unix.IPPROTO_TCP},
		{unix.AF_INET6, unix.IPPROTO_TCP},
		{unix.AF_INET, unix.IPPROTO_UDP},
		{unix.AF_INET6, unix.IPPROTO_UDP},
	} {
		victims, err := connectionsOf(kind.family, kind.protocol, wanted)
		if err != nil {
			return ended, err
		}
		n, err := destroy(fd, victims, kind.protocol)
		ended += n
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// connectionsOf returns the sockets with one of the addresses that are connected
// and were not accepted by a listener.
func connectionsOf(family, protocol uint8, wanted map[netip.Addr]netip.Prefix) ([]diagSocket, error) {
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
		case !s.peerless():
			if own, ok := wanted[s.address(0)]; ok && !own.Contains(s.address(1)) {
				list = append(list, s)
			}
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

// destroyBatch is how many orders stand in one message. The kernel carries them
// out before the call returns.
const destroyBatch = 64

// destroy ends sockets, by their cookies, so that none can be mistaken for another
// that has taken its place, and returns how many. One that has ended by itself
// meanwhile does not count.
func destroy(fd int, victims []diagSocket, protocol uint8) (int, error) {
	ended := 0
	for batch := range slices.Chunk(victims, destroyBatch) {
		var b []byte
		for i := range batch {
			b = native.AppendUint32(b, unix.NLMSG_HDRLEN+diagRequest)
			b = native.AppendUint16(b, sockDestroy)
			b = native.AppendUint16(b, unix.NLM_F_REQUEST) // an answer only if it fails
			b = native.AppendUint32(b, uint32(i))
			b = native.AppendUint32(b, 0)
			b = append(b, diagHeader(batch[i].family, protocol, 0, batch[i].id[:])...)
		}
		if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return ended, fmt.Errorf("end sockets: %w", err)
		}
		failed, err := failures(fd)
		ended += len(batch) - failed
		if err != nil {
			return ended, err
		}
	}
	return ended, nil
}

// failures reads the answers there are, and returns how many orders failed. An
// error says that all will.
func failures(fd int) (failed int, err error) {
	b := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return failed, nil
		}
		if err != nil {
			return failed, fmt.Errorf("end sockets: %w", err)
		}
		messages, err := syscall.ParseNetlinkMessage(b[:n])
		if err != nil {
			return failed, fmt.Errorf("end sockets: %w", err)
		}
		for _, m := range messages {
			if len(m.Data) < 4 {
				continue
			}
			failed++
			switch unix.Errno(-int32(native.Uint32(m.Data))) {
			case unix.EOPNOTSUPP:
				return failed, errors.New("the kernel cannot end sockets (CONFIG_INET_DIAG_DESTROY): " +
					"connections over a dead uplink wait for their own timeouts")
			case unix.EPERM:
				return failed, errors.New("end sockets: uplinkd needs to be root or to have CAP_NET_ADMIN")
			default: // it has ended by itself
			}
		}
	}
}
