package flows

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// Sizes and numbers of sock_diag(7) (linux/inet_diag.h, linux/sock_diag.h).
const (
	sockDiagByFamily = 20
	sockDestroy      = 21
	diagRequest      = 56 // struct inet_diag_req_v2
	diagMessage      = 72 // struct inet_diag_msg
	diagSocketID     = 48 // struct inet_diag_sockid
	diagInfo         = 2  // INET_DIAG_INFO: struct tcp_info

	stateEstablished = 1
	stateListen      = 10
	allStates        = 1<<12 - 1
	stateTimeWait    = 6
	inUse            = 1<<stateEstablished | 1<<2 | 1<<8 // and SYN_SENT, CLOSE_WAIT (net/tcp_states.h)
)

// A socket is one as sock_diag tells it.
type socket struct {
	family, state uint8
	id            [diagSocketID]byte // ports, addresses, interface, cookie
}

func (s *socket) port() uint16 { return uint16(s.id[0])<<8 | uint16(s.id[1]) }

// peerless reports whether the socket has no other end: a UDP socket that is not
// connected, or one that listens.
func (s *socket) peerless() bool { return s.id[2] == 0 && s.id[3] == 0 }

// own and peer return the addresses of the two ends. A socket of IPv6 may speak
// IPv4 (RFC 4291 section 2.5.5.2); then these are IPv4's.
func (s *socket) own() netip.Addr  { return s.address(4) }
func (s *socket) peer() netip.Addr { return s.address(20) }

func (s *socket) address(offset int) netip.Addr {
	b := s.id[offset:]
	if s.family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b)).Unmap()
}

// A kind is a family and a protocol of sockets, as sock_diag lists them.
type kind struct{ family, protocol uint8 }

// Both families, for an IPv4 connection may be held by a socket of IPv6: Java's,
// and those of many proxies.
var (
	tcpKinds = []kind{{unix.AF_INET, unix.IPPROTO_TCP}, {unix.AF_INET6, unix.IPPROTO_TCP}}
	allKinds = append(tcpKinds, kind{unix.AF_INET, unix.IPPROTO_UDP}, kind{unix.AF_INET6, unix.IPPROTO_UDP})
)

// list calls each with every socket of a kind that is in one of the states, and
// with its attributes. extensions asks for more of those.
func list(ctx context.Context, k kind, states uint32, extensions uint8, each func(socket, []byte)) error {
	request := diagHeader(k, states, nil)
	request[2] = extensions
	err := ask(ctx, unix.NETLINK_INET_DIAG, sockDiagByFamily, unix.NLM_F_DUMP, request, func(m []byte) {
		if len(m) >= diagMessage {
			each(socket{family: m[0], state: m[1], id: [diagSocketID]byte(m[4:])}, m[diagMessage:])
		}
	})
	// A kernel without that kind of diagnosis, or without IPv6, has none to tell.
	return ignore(err, unix.ENOENT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT)
}

func diagHeader(k kind, states uint32, id []byte) []byte {
	b := make([]byte, diagRequest)
	b[0], b[1] = k.family, k.protocol
	native.PutUint32(b[4:], states)
	copy(b[8:], id)
	return b
}

// Connections returns how many established TCP connections of this host have each
// of the addresses as their own. Those that a local listener has accepted do not
// count: a stranger decides how many these are, and no balance leads them.
func Connections(ctx context.Context, addresses []netip.Addr) (map[netip.Addr]int, error) {
	counts := make(map[netip.Addr]int, len(addresses))
	for _, a := range addresses {
		counts[a] = 0
	}
	type end struct {
		address netip.Addr
		port    uint16
	}
	open, listening := map[end]int{}, map[uint16]bool{}
	for _, k := range tcpKinds {
		err := list(ctx, k, 1<<stateEstablished|1<<stateListen, 0, func(s socket, _ []byte) {
			if s.state == stateListen {
				listening[s.port()] = true
				return
			}
			if _, ok := counts[s.own()]; ok {
				open[end{s.own(), s.port()}]++
			}
		})
		if err != nil {
			return nil, err
		}
	}
	for at, n := range open {
		if !listening[at.port] {
			counts[at.address] += n
		}
	}
	return counts, nil
}

// Sockets returns how many connections of this host have each of the addresses as their
// own, TCP and connected UDP, whoever began them. It blocks for some milliseconds.
func Sockets(ctx context.Context, addresses []netip.Addr) (map[netip.Addr]int, error) {
	counts := make(map[netip.Addr]int, len(addresses))
	for _, a := range addresses {
		counts[a] = 0
	}
	for _, k := range allKinds {
		err := list(ctx, k, inUse, 0, func(s socket, _ []byte) {
			if n, ours := counts[s.own()]; ours && !s.peerless() {
				counts[s.own()] = n + 1
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return counts, nil
}

// stallLeast is how long a connection must have waited for an answer to what it
// has sent again, in milliseconds.
const stallLeast = 300

// Places in struct tcp_info (linux/tcp.h).
const (
	infoRetransmits = 2
	infoLastAckRecv = 56 // milliseconds since anything was acknowledged
	infoSize        = 60
)

// Stalled returns which of the addresses have TCP connections of this host that
// send again and again and hear nothing (tcp(7), TCP_INFO).
func Stalled(ctx context.Context, addresses []netip.Addr) (map[netip.Addr]bool, error) {
	stalled := make(map[netip.Addr]bool, len(addresses))
	for _, a := range addresses {
		stalled[a] = false
	}
	for _, k := range tcpKinds {
		err := list(ctx, k, allStates, 1<<(diagInfo-1), func(s socket, attrs []byte) {
			info := nlmsg.Attr(attrs, diagInfo)
			if len(info) < infoSize || info[infoRetransmits] == 0 {
				return
			}
			if native.Uint32(info[infoLastAckRecv:]) < stallLeast {
				return
			}
			if _, ours := stalled[s.own()]; ours {
				stalled[s.own()] = true
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return stalled, nil
}
