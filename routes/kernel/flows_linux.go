package kernel

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of a flow (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Dst    = 2
	ctaProtoNum   = 1
	ctaInfoTCP    = 1
	ctaTCPState   = 1

	lastAlive = 5 // of the states of TCP: CLOSE_WAIT; from LAST_ACK on it has ended
	assured   = 4 // IPS_ASSURED: it has been answered, more than once
)

// alive reports whether a flow is a connection that somebody may still use: TCP
// that has not ended, or what has been answered more than once. Echoes are none.
func alive(flow []byte) bool {
	protocol := attribute(attribute(attribute(flow, ctaTupleOrig), ctaTupleProto), ctaProtoNum)
	switch {
	case len(protocol) != 1 || protocol[0] == unix.IPPROTO_ICMP:
		return false
	case protocol[0] == unix.IPPROTO_TCP:
		state := attribute(attribute(attribute(flow, ctaProtoInfo), ctaInfoTCP), ctaTCPState)
		return len(state) == 1 && state[0] <= lastAlive
	}
	status := attribute(flow, ctaStatus)
	return len(status) == 4 && status[3]&assured != 0
}

// Flows returns how many living flows the kernel's connection tracking knows whose
// answers come to each of the addresses: those that are translated to it, and
// this host's own. A kernel without connection tracking knows none.
func Flows(addresses []string) (map[string]int, error) {
	counts := make(map[netip.Addr]int, len(addresses))
	for _, a := range addresses {
		if ip, err := netip.ParseAddr(a); err == nil {
			counts[ip] = 0
		}
	}
	req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_INET, Version: nl.NFNETLINK_V0})
	err := req.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		if len(message) > nl.SizeofNfgenmsg {
			flow := message[nl.SizeofNfgenmsg:]
			reply := attribute(attribute(flow, ctaTupleReply), ctaTupleIP)
			if b := attribute(reply, ctaIPv4Dst); len(b) == 4 && alive(flow) {
				address := netip.AddrFrom4([4]byte(b))
				if n, ok := counts[address]; ok {
					counts[address] = n + 1
				}
			}
		}
		return true
	})
	if err = ignore(err, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT); err != nil {
		return nil, err
	}
	flows := make(map[string]int, len(counts))
	for a, n := range counts {
		flows[a.String()] = n
	}
	return flows, nil
}

// attribute returns the value of the first attribute of a kind, nil when there is
// none.
func attribute(b []byte, kind uint16) []byte {
	for len(b) >= unix.NLA_HDRLEN {
		length := int(native.Uint16(b))
		if length < unix.NLA_HDRLEN || length > len(b) {
			return nil
		}
		if native.Uint16(b[2:])&^unix.NLA_F_NESTED&^unix.NLA_F_NET_BYTEORDER == kind {
			return b[unix.NLA_HDRLEN:length]
		}
		b = b[min((length+unix.NLA_ALIGNTO-1)&^(unix.NLA_ALIGNTO-1), len(b)):]
	}
	return nil
}

// stallLeast is how long a connection must have waited for an answer to what it
// has sent again, in milliseconds.
const stallLeast = 300

// Stalled returns which of the addresses have TCP connections of this host that
// send again and again and hear nothing (sock_diag(7), tcp(7) TCP_INFO).
func Stalled(addresses []string) (map[string]bool, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_INET_DIAG)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	sockets, err := handle.SocketDiagTCPInfo(unix.AF_INET)
	if err != nil {
		return nil, err
	}
	stalled := make(map[string]bool, len(addresses))
	for _, a := range addresses {
		stalled[a] = false
	}
	for _, s := range sockets {
		if s.TCPInfo == nil || s.TCPInfo.Retransmits == 0 || s.TCPInfo.Last_ack_recv < stallLeast {
			continue
		}
		if host := s.InetDiagMsg.ID.Source.String(); !stalled[host] {
			if _, ours := stalled[host]; ours {
				stalled[host] = true
			}
		}
	}
	return stalled, nil
}
