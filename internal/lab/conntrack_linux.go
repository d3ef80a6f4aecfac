package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// Messages and attributes of a flow (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctNew    = unix.NFNL_SUBSYS_CTNETLINK << 8 // IPCTNL_MSG_CT_NEW
	ctDelete = ctNew | 2                       // IPCTNL_MSG_CT_DELETE

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaTimeout    = 7
	ctaMark       = 8

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaProtoNum   = 1
	ctaSrcPort    = 2
	ctaDstPort    = 3

	answeredFlow = 0xe // IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED
	nested       = unix.NLA_F_NESTED
)

// flowBatch is how many flows are made by one system call.
const flowBatch = 256

// FillConntrack makes n UDP flows of a LAN in the calling thread's namespace, with a
// mark, whose answers go to an address. It returns how many the kernel took: its
// table is bounded by net.netfilter.nf_conntrack_max, of the machine.
func FillConntrack(n int, to netip.Addr, mark uint32) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd) //nolint:errcheck // it has served
	answers := make([]byte, 64<<10)
	for made := 0; made < n; {
		var batch []byte
		count := min(flowBatch, n-made)
		for i := range count {
			flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_CREATE)
			if i == count-1 {
				flags |= unix.NLM_F_ACK
			}
			batch = nlmsg.Append(batch, ctNew, flags, uint32(i), flow(made+i, to, mark))
		}
		if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return made, err
		}
		full, err := acknowledged(fd, answers, uint32(count-1))
		if full || err != nil {
			return made, err
		}
		made += count
	}
	return n, nil
}

// acknowledged reads answers up to that of the last request of a batch. It reports
// whether the table is full. A flow that is there already is fine.
func acknowledged(fd int, b []byte, last uint32) (full bool, err error) {
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return false, err
		}
		for m, rest, ok := nlmsg.Next(b[:n]); ok; m, rest, ok = nlmsg.Next(rest) {
			if len(m.Body) < 4 {
				continue
			}
			switch errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.Body))); errno {
			case 0, unix.EEXIST:
			case unix.ENOMEM:
				return true, nil
			default:
				return false, fmt.Errorf("make a flow: %w", errno)
			}
			if m.Sequence == last {
				return false, nil
			}
		}
	}
}

// ForgetFlows has connection tracking forget all flows of the calling thread's namespace.
func ForgetFlows() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	all := nlmsg.Request{
		Protocol: unix.NETLINK_NETFILTER, Type: ctDelete, Flags: unix.NLM_F_ACK, Body: []byte{unix.AF_UNSPEC, 0, 0, 0},
	}
	if err := nlmsg.Ask(ctx, all, func(nlmsg.Message) bool { return true }); err != nil {
		return fmt.Errorf("forget all flows: %w", err)
	}
	return nil
}

// flow is the body of a request to make the n-th flow.
func flow(n int, to netip.Addr, mark uint32) []byte {
	client := netip.AddrFrom4([4]byte{192, 168, 77, 2})
	server := netip.AddrFrom4([4]byte{198, 18, byte(n >> 24), byte(n >> 16)})
	port := uint16(n)
	b := []byte{unix.AF_INET, 0, 0, 0} // struct nfgenmsg
	b = nlmsg.AppendAttr(b, ctaTupleOrig|nested, tuple(client, server, port, 5000))
	b = nlmsg.AppendAttr(b, ctaTupleReply|nested, tuple(server, to, 5000, port))
	b = nlmsg.AppendAttr(b, ctaStatus, binary.BigEndian.AppendUint32(nil, answeredFlow))
	b = nlmsg.AppendAttr(b, ctaTimeout, binary.BigEndian.AppendUint32(nil, 3600))
	return nlmsg.AppendAttr(b, ctaMark, binary.BigEndian.AppendUint32(nil, mark))
}

func tuple(from, to netip.Addr, sport, dport uint16) []byte {
	ip := nlmsg.AppendAttr(nil, ctaIPv4Src, from.AsSlice())
	ip = nlmsg.AppendAttr(ip, ctaIPv4Dst, to.AsSlice())
	proto := nlmsg.AppendAttr(nil, ctaProtoNum, []byte{unix.IPPROTO_UDP})
	proto = nlmsg.AppendAttr(proto, ctaSrcPort, binary.BigEndian.AppendUint16(nil, sport))
	proto = nlmsg.AppendAttr(proto, ctaDstPort, binary.BigEndian.AppendUint16(nil, dport))
	return nlmsg.AppendAttr(nlmsg.AppendAttr(nil, ctaTupleIP|nested, ip), ctaTupleProto|nested, proto)
}
