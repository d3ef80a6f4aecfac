package flows

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// Messages and attributes of a flow (linux/netfilter/nfnetlink_conntrack.h).
const (
	ctGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	ctDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2 // IPCTNL_MSG_CT_DELETE

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaMark       = 8
	ctaMarkMask   = 21

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Dst    = 2
	ctaIPv6Dst    = 4
	ctaProtoNum   = 1
	ctaInfoTCP    = 1
	ctaTCPState   = 1

	lastAlive = 5 // of the states of TCP: CLOSE_WAIT; from LAST_ACK on it has ended
	assured   = 4 // IPS_ASSURED: it has been answered, more than once

	genericHeader = 4 // struct nfgenmsg
)

// header is a struct nfgenmsg. Version 1 matters to a deletion: version 0 deletes
// the flows of every family, whatever it says (ctnetlink_del_conntrack).
func header(family, version uint8) []byte { return []byte{family, version, 0, 0} }

// Count returns how many living flows the kernel's connection tracking knows whose
// answers come to each of the addresses: those that are translated to it, and this
// host's own. A kernel without connection tracking knows none. It reads every
// flow there is: a million take about a second.
func Count(ctx context.Context, addresses []netip.Addr) (map[netip.Addr]int, error) {
	return count(ctx, addresses, alive)
}

// Unanswered is Count for flows that have not been answered at all, but echoes.
func Unanswered(ctx context.Context, addresses []netip.Addr) (map[netip.Addr]int, error) {
	return count(ctx, addresses, func(flow []byte) bool {
		protocol := nlmsg.Attr(nlmsg.Attr(nlmsg.Attr(flow, ctaTupleOrig), ctaTupleProto), ctaProtoNum)
		status := nlmsg.Attr(flow, ctaStatus)
		return len(protocol) == 1 && protocol[0] != unix.IPPROTO_ICMP && protocol[0] != unix.IPPROTO_ICMPV6 &&
			len(status) == 4 && status[3]&seenReply == 0
	})
}

// count counts the flows that are counted, by the address that their answers come to.
func count(ctx context.Context, addresses []netip.Addr, counted func(flow []byte) bool) (map[netip.Addr]int, error) {
	counts := make(map[netip.Addr]int, len(addresses))
	for _, a := range addresses {
		counts[a] = 0
	}
	err := ask(ctx, unix.NETLINK_NETFILTER, ctGet, unix.NLM_F_DUMP, header(unix.AF_UNSPEC, 0), func(message []byte) {
		if len(message) <= genericHeader {
			return
		}
		flow := message[genericHeader:]
		if to, ok := answersTo(flow); ok && counted(flow) {
			if n, ours := counts[to]; ours {
				counts[to] = n + 1
			}
		}
	})
	if err = ignore(err, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT); err != nil {
		return nil, err
	}
	return counts, nil
}

// answersTo returns where a flow's answers go.
func answersTo(flow []byte) (netip.Addr, bool) {
	reply := nlmsg.Attr(nlmsg.Attr(flow, ctaTupleReply), ctaTupleIP)
	if b := nlmsg.Attr(reply, ctaIPv4Dst); len(b) == 4 {
		return netip.AddrFrom4([4]byte(b)), true
	}
	if b := nlmsg.Attr(reply, ctaIPv6Dst); len(b) == 16 {
		return netip.AddrFrom16([16]byte(b)), true
	}
	return netip.Addr{}, false
}

// alive reports whether a flow is a connection that somebody may still use: TCP
// that has not ended, or what has been answered more than once. Echoes are none.
func alive(flow []byte) bool {
	protocol := nlmsg.Attr(nlmsg.Attr(nlmsg.Attr(flow, ctaTupleOrig), ctaTupleProto), ctaProtoNum)
	switch {
	case len(protocol) != 1 || protocol[0] == unix.IPPROTO_ICMP || protocol[0] == unix.IPPROTO_ICMPV6:
		return false
	case protocol[0] == unix.IPPROTO_TCP:
		state := nlmsg.Attr(nlmsg.Attr(nlmsg.Attr(flow, ctaProtoInfo), ctaInfoTCP), ctaTCPState)
		return len(state) == 1 && state[0] <= lastAlive
	}
	status := nlmsg.Attr(flow, ctaStatus)
	return len(status) == 4 && status[3]&assured != 0
}

// errUnfiltered is what a kernel gives that does not look at marks.
var errUnfiltered = errors.New("the kernel does not tell flows by their marks (CONFIG_NF_CONNTRACK_MARK): " +
	"they are left to end by themselves")

// Forget makes connection tracking forget all flows of a family with a mark, and returns
// how many these were, as far as its count tells: others come and go meanwhile.
func Forget(ctx context.Context, v6 bool, mark, mask uint32) (int, error) {
	before := flowCount()
	if before == 0 {
		return 0, nil
	}
	if err := checkFilter(ctx); err != nil {
		return 0, err
	}
	err := ask(ctx, unix.NETLINK_NETFILTER, ctDelete, unix.NLM_F_ACK, byMark(familyOf(v6), mark, mask), func([]byte) {})
	if err != nil {
		return 0, ignore(err, unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT)
	}
	return max(before-flowCount(), 0), nil
}

func familyOf(v6 bool) uint8 {
	if v6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// byMark is the body of a request about all flows of a family with a mark.
func byMark(family uint8, mark, mask uint32) []byte {
	b := nlmsg.AppendAttr(header(family, 1), ctaMark, binary.BigEndian.AppendUint32(nil, mark))
	return nlmsg.AppendAttr(b, ctaMarkMask, binary.BigEndian.AppendUint32(nil, mask))
}

// checkFilter asks for flows with a mark that none can have. A kernel that names
// some does not look at marks, and would forget all flows there are.
func checkFilter(ctx context.Context) error {
	named := false
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := ask(ctx, unix.NETLINK_NETFILTER, ctGet, unix.NLM_F_DUMP, byMark(unix.AF_INET, 1, 0), func([]byte) {
		named = true
		cancel() // the rest may be long
	})
	if named {
		return errUnfiltered
	}
	return err
}

// flowCount returns how many flows connection tracking knows, 0 where there is none.
func flowCount() int {
	text, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // the kernel writes a number
	return n
}
