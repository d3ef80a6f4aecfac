package flows

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// A Link is what one interface says of itself at a moment.
type Link struct {
	Carrier   bool // IFF_LOWER_UP: the kernel holds the event of its loss back for up to a second, but not this
	RxPackets uint64
	TxPackets uint64
	Traffic
}

// Traffic is what has gone over an interface since it was made, in bytes.
type Traffic struct{ RxBytes, TxBytes uint64 }

// Links asks for one interface at a time, over one socket: some microseconds. It is for
// one goroutine.
type Links struct {
	fd       int
	sequence uint32
	buffer   []byte
}

// linkLimit bounds the wait for an answer. The kernel gives it at once unless its rtnl
// lock is held.
const linkLimit = time.Second

// OpenLinks opens the socket, in the calling thread's network namespace.
func OpenLinks() (*Links, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	limit := unix.NsecToTimeval(linkLimit.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bound the wait on a netlink socket: %w", err)
	}
	return &Links{fd: fd, buffer: make([]byte, answerSize)}, nil
}

// Close frees the socket.
func (l *Links) Close() { _ = unix.Close(l.fd) }

// Read returns what an interface says. It blocks for a second at most. One that is not
// there is unix.ENODEV. It does not allocate in the steady state. Without carrier it asks
// for the counters alone, which takes the kernel a third of the time.
func (l *Links) Read(index int, carrier bool) (Link, error) {
	var body [unix.SizeofIfInfomsg]byte
	native.PutUint32(body[4:], uint32(index))
	kind, size := uint16(unix.RTM_GETLINK), unix.SizeofIfInfomsg
	if !carrier {
		kind, size = unix.RTM_GETSTATS, sizeofIfStatsmsg
		native.PutUint32(body[8:], 1<<(iflaStatsLink64-1))
	}
	l.sequence++
	request := nlmsg.Append(l.buffer[:0], kind, unix.NLM_F_REQUEST, l.sequence, body[:size])
	if err := unix.Sendto(l.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return Link{}, fmt.Errorf("ask for interface %d: %w", index, err)
	}
	for {
		n, _, err := unix.Recvfrom(l.fd, l.buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return Link{}, fmt.Errorf("ask for interface %d: %w", index, err)
		}
		// The answer to an earlier question, which came too late, is passed over.
		if m, _, ok := nlmsg.Next(l.buffer[:n]); ok && m.Sequence == l.sequence {
			return parseLink(m)
		}
	}
}

// Of RTM_GETSTATS (linux/if_link.h): struct if_stats_msg has the interface at 4 and at 8 which statistics are meant.
const (
	sizeofIfStatsmsg = 12
	iflaStatsLink64  = 1 // IFLA_STATS_LINK_64
)

// parseLink reads an answer: struct ifinfomsg or if_stats_msg, and attributes (rtnetlink(7)).
func parseLink(m nlmsg.Message) (Link, error) {
	switch {
	case m.Type == unix.NLMSG_ERROR && len(m.Body) >= 4:
		return Link{}, unix.Errno(-int32(native.Uint32(m.Body)))
	case m.Type == unix.RTM_NEWSTATS && len(m.Body) >= sizeofIfStatsmsg:
		return counters(Link{}, nlmsg.Attr(m.Body[sizeofIfStatsmsg:], iflaStatsLink64)), nil
	case m.Type != unix.RTM_NEWLINK || len(m.Body) < unix.SizeofIfInfomsg:
		return Link{}, errors.New("no answer about an interface")
	}
	link := Link{Carrier: native.Uint32(m.Body[8:])&unix.IFF_LOWER_UP != 0}
	return counters(link, nlmsg.Attr(m.Body[unix.SizeofIfInfomsg:], unix.IFLA_STATS64)), nil
}

// counters reads struct rtnl_link_stats64 (linux/if_link.h).
func counters(link Link, stats []byte) Link {
	if len(stats) >= 32 {
		link.RxPackets, link.TxPackets = native.Uint64(stats), native.Uint64(stats[8:])
		link.RxBytes, link.TxBytes = native.Uint64(stats[16:]), native.Uint64(stats[24:])
	}
	return link
}
