package probe

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uplinkd/internal/sock"
)

// stampMost is how old a packet's time stamp may be and still be believed: the
// wall clock it is of may have been set meanwhile.
const stampMost = 10 * time.Second

// An icmpConn is one raw socket that leaves and hears by one interface only.
// Choosing the interface with IP_PKTINFO would not do: a reply that comes in by
// another uplink would count.
type icmpConn struct {
	echo    echo
	targets []Target
	peers   []sockaddr // of targets, ready for the kernel
	file    *os.File
	raw     syscall.RawConn

	// Of the sender.
	out     [echoSize]byte
	sending func(fd uintptr) bool
	peer    *sockaddr
	sendErr unix.Errno

	// Of the receiver.
	in       [256]byte // a reply is echoSize and an IP header of at most 60
	control  [128]byte
	name     sockaddr
	vector   unix.Iovec
	message  unix.Msghdr
	size     int
	readErr  unix.Errno
	refused  bool // what was read is from the error queue
	strange  int  // errors since then that need not be about our probes
	since    time.Time
	readable func(fd uintptr) bool
}

// OpenICMP opens a Conn that sends ICMP echo requests (RFC 792, RFC 4443), of the family of its
// source address, to the targets of spec, by its interface, with that address and its mark. It needs
// CAP_NET_RAW, and CAP_NET_ADMIN for the mark. In the steady state neither
// Send nor Receive allocates. Targets of another kind are left alone.
func OpenICMP(spec Spec) (Conn, error) {
	c := &icmpConn{targets: spec.Targets, echo: echo{dialect: &icmp4}}
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if spec.isIPv6() {
		c.echo.dialect, family, protocol = &icmp6, unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	var id, first [2]byte
	_, _ = rand.Read(id[:]) // never fails
	_, _ = rand.Read(first[:])
	_, _ = rand.Read(c.echo.nonce[:])
	c.echo.id, c.echo.first = binary.BigEndian.Uint16(id[:]), binary.BigEndian.Uint16(first[:])
	for _, t := range spec.Targets {
		if t.Kind == ICMP && t.IP.Is6() != spec.isIPv6() {
			return nil, fmt.Errorf("probe target %s: not of the family of %s, which asks it", t.Name, spec.Source)
		}
		c.peers = append(c.peers, newSockaddr(t.IP, spec.Index))
	}
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, fmt.Errorf("open an ICMP socket: %w", err)
	}
	if err = c.prepare(fd, spec); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind the ICMP socket to %s and %s: %w", spec.Interface, spec.Source, err)
	}
	c.file = os.NewFile(uintptr(fd), "icmp "+spec.Interface)
	if c.raw, err = c.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, c.file.Close())
	}
	c.ready()
	return c, nil
}

func (c *icmpConn) prepare(fd int, spec Spec) error {
	filter, err := c.filter()
	if err != nil {
		return err
	}
	if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter); err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	if !spec.Unbound {
		if err = sock.Bind(fd, spec.Index, spec.Mark); err != nil {
			return err
		}
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("socket option SO_TIMESTAMPNS: %w", err)
	}
	// What routers say of our probes is queued for us (ip(7), IP_RECVERR).
	if err := c.hearErrors(fd, 1); err != nil {
		return fmt.Errorf("socket option IP_RECVERR: %w", err)
	}
	if spec.Unbound {
		return nil
	}
	if c.echo.dialect == &icmp6 {
		return unix.Bind(fd, &unix.SockaddrInet6{Addr: spec.Source.As16()})
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: spec.Source.As4()})
}

// hearErrors has errors queued, or not; not empties the queue too (net/ipv4/ip_sockglue.c).
func (c *icmpConn) hearErrors(fd, on int) error {
	if c.echo.dialect == &icmp6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, on)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, on)
}

// filter lets only echo replies with our id through, so that other pings on
// this host cost nothing. A raw socket's packets begin with the IP header; those of ICMPv6 do
// not.
func (c *icmpConn) filter() (*unix.SockFprog, error) {
	var begin bpf.Instruction = bpf.LoadMemShift{Off: 0} // x = length of the IP header
	if c.echo.dialect == &icmp6 {
		begin = bpf.LoadConstant{Dst: bpf.RegX, Val: 0}
	}
	program, err := bpf.Assemble([]bpf.Instruction{
		begin,
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(c.echo.dialect.reply), SkipTrue: 3},
		bpf.LoadIndirect{Off: 4, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(c.echo.id), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(len(c.in))},
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, err
	}
	list := make([]unix.SockFilter, len(program))
	for i, p := range program {
		list[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	return &unix.SockFprog{Len: uint16(len(list)), Filter: &list[0]}, nil
}

// ready lays out what the system calls need, once.
func (c *icmpConn) ready() {
	c.vector.Base = &c.in[0]
	c.vector.SetLen(len(c.in))
	c.message.Iov = &c.vector
	c.message.SetIovlen(1)
	c.message.Control = &c.control[0]
	c.message.Name = (*byte)(unsafe.Pointer(&c.name))
	receive := func(fd uintptr, flags uintptr) {
		c.message.SetControllen(len(c.control))
		c.message.Namelen = unix.SizeofSockaddrInet6
		n, _, errno := unix.Syscall(unix.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&c.message)), flags)
		c.size, c.readErr = int(n), errno
	}
	c.readable = func(fd uintptr) bool {
		receive(fd, 0)
		c.refused = false
		if c.readErr == unix.EAGAIN {
			receive(fd, unix.MSG_ERRQUEUE)
			c.refused = c.readErr == 0
		}
		return c.readErr != unix.EAGAIN && c.readErr != unix.EINTR
	}
	c.sending = func(fd uintptr) bool {
		_, _, c.sendErr = unix.Syscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&c.out[0])), echoSize,
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(c.peer)), uintptr(c.peer.size()))
		return true
	}
}

// Send implements Conn.
func (c *icmpConn) Send(target int, seq uint16) error {
	c.echo.encode(c.out[:], target, seq, time.Now())
	c.peer = &c.peers[target]
	if err := c.raw.Write(c.sending); err != nil {
		return err
	}
	// The socket's own buffer is full of what the interface does not send: that is the same as a
	// full queue, and no lack of this host's.
	if c.sendErr == unix.EAGAIN {
		return unix.ENOBUFS
	}
	if c.sendErr != 0 {
		return c.sendErr
	}
	return nil
}

// Receive implements Conn. Errors that tell of one packet's fate, not of the
// socket's, are no end: the miss that follows says it all.
func (c *icmpConn) Receive() (Answer, error) {
	for {
		if err := c.raw.Read(c.readable); err != nil {
			return Answer{}, err
		}
		now := time.Now()
		switch c.readErr {
		case 0:
		case unix.ENETDOWN, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ECONNREFUSED, unix.EPROTO, unix.EMSGSIZE:
			continue
		default:
			return Answer{}, c.readErr
		}
		if c.refused {
			answer, ok := c.refusal(now)
			if !answer.Hard {
				c.unproven(now)
			}
			if ok {
				return answer, nil
			}
			continue
		}
		r, ok := c.decode()
		if !ok || r.target >= len(c.targets) || r.from != c.targets[r.target].IP {
			continue
		}
		size := c.echo.dialect.header + echoSize
		arrived, ok := c.arrival()
		if age := now.Sub(arrived); ok && age > 0 && age < stampMost {
			// When it came counts, not when this busy host got round to reading it.
			return Answer{
				Target: r.target, Seq: r.seq, At: now.Add(-age), RTT: arrived.Sub(r.sent), Bytes: size,
			}, nil
		}
		return Answer{Target: r.target, Seq: r.seq, At: now, RTT: now.Sub(r.sent), Bytes: size}, nil
	}
}

// decode reads what was just read.
func (c *icmpConn) decode() (reply, bool) {
	if c.echo.dialect == &icmp6 {
		return c.echo.decodeMessage(c.in[:c.size], c.name.address())
	}
	return c.echo.decode(c.in[:c.size])
}

// find returns the data of a control message of the packet just read, nil when
// there is none of that kind or it is shorter than size.
func (c *icmpConn) find(level, kind int32, size int) []byte {
	const header = unix.SizeofCmsghdr
	for b := c.control[:c.message.Controllen]; len(b) >= header; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(h.Len)
		if length < header || length > len(b) {
			return nil
		}
		if h.Level == level && h.Type == kind && length-header >= size {
			return b[header:length]
		}
		b = b[min(unix.CmsgSpace(length-header), len(b)):]
	}
	return nil
}

// arrival returns the kernel's time stamp of the packet just read (SCM_TIMESTAMPNS).
func (c *icmpConn) arrival() (time.Time, bool) {
	b := c.find(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, int(unsafe.Sizeof(unix.Timespec{})))
	if b == nil {
		return time.Time{}, false
	}
	stamp := (*unix.Timespec)(unsafe.Pointer(&b[0]))
	return time.Unix(stamp.Unix()), true
}

// refusal reads what the error queue had: an ICMP "destination unreachable"
// (RFC 792), with the beginning of the probe it is about. It may be from a router
// on the way, or from this host's own kernel, when nobody answers ARP for the
// next hop.
func (c *icmpConn) refusal(now time.Time) (Answer, bool) {
	level, kind, origin := int32(unix.IPPROTO_IP), int32(unix.IP_RECVERR), uint8(unix.SO_EE_ORIGIN_ICMP)
	if c.echo.dialect == &icmp6 {
		level, kind, origin = unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.SO_EE_ORIGIN_ICMP6
	}
	b := c.find(level, kind, extendedErrSize)
	if b == nil {
		return Answer{}, false
	}
	e := (*unix.SockExtendedErr)(unsafe.Pointer(&b[0]))
	d := c.echo.dialect
	if e.Origin != origin || e.Type != d.unreachable || e.Code > 31 || d.final>>e.Code&1 == 0 {
		return Answer{}, false
	}
	seq, proven, ok := c.echo.quoted(c.in[:c.size])
	if !ok {
		return Answer{}, false
	}
	for i := range c.peers {
		if c.targets[i].Kind == ICMP && c.peers[i].address() == c.name.address() {
			text := unix.Errno(e.Errno).Error()
			if by := addressOf(b[extendedErrSize:]); by.IsValid() {
				text += ", says " + by.String()
			}
			return Answer{Target: i, Seq: seq, At: now, Err: text, Hard: proven, Doubt: !proven}, true
		}
	}
	return Answer{}, false
}

// unprovenMost is how many errors a second that need not be about our probes are read.
// With more somebody is sending them to keep us busy.
const unprovenMost = 100

// unproven counts an error that need not be about a probe of ours, and with too many of
// them stops hearing errors for a second: the queue cannot be filtered.
func (c *icmpConn) unproven(now time.Time) {
	if now.Sub(c.since) > time.Second {
		c.since, c.strange = now, 0
	}
	c.strange++
	if c.strange != unprovenMost {
		return
	}
	hear := func(on int) {
		_ = c.raw.Control(func(fd uintptr) { _ = c.hearErrors(int(fd), on) })
	}
	hear(0)
	time.AfterFunc(time.Second, func() { hear(1) })
}

// extendedErrSize is that of struct sock_extended_err (linux/errqueue.h).
const extendedErrSize = 16

// Close implements Conn.
func (c *icmpConn) Close() error { return c.file.Close() }
