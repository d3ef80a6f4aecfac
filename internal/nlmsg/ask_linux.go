package nlmsg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrInterrupted is what a dump gives that the kernel calls interrupted
// (NLM_F_DUMP_INTR): something changed while it was made, and half of it may be of
// before. It is to be made again.
var ErrInterrupted = errors.New("the kernel's objects changed while they were listed")

// answerSize is more than the kernel puts into one answer of a dump
// (NLMSG_GOODSIZE, and 32 KiB once the reader has shown that it takes so much).
const answerSize = 64 << 10

// A Request is one question to the kernel. NLM_F_REQUEST is added to its flags.
type Request struct {
	Protocol int // NETLINK_ROUTE, ...
	Type     uint16
	Flags    uint16
	Body     []byte
	Strict   bool // the kernel looks at what a dump is to be filtered by (NETLINK_GET_STRICT_CHK)
}

// Ask asks once, over a socket of its own: see [Conn.Ask].
func Ask(ctx context.Context, r Request, each func(Message) (more bool)) error {
	c, err := Dial(r.Protocol, r.Strict)
	if err != nil {
		return err
	}
	defer c.Close() //nolint:errcheck // it has served
	c.rest = 1
	return c.Ask(ctx, r, each)
}

// restMost is how many datagrams of an answer that nobody wants any more are read. Beyond
// that a new socket costs less.
const restMost = 8

// A Conn asks the kernel again and again over one socket, so that it still can when this
// host has no descriptor left. It is for one goroutine, and asks in the network namespace
// that it was made in.
type Conn struct {
	protocol int
	strict   bool
	file     *os.File // nil: another is opened for the next question
	halfRead bool     // there is more of the last answer
	sequence uint32   // of the last question
	buffer   []byte
	rest     int // how many datagrams are read that nobody wants, so that the socket can be kept
}

// Dial opens a Conn. Strict is as in a Request.
func Dial(protocol int, strict bool) (*Conn, error) {
	c := &Conn{protocol: protocol, strict: strict, buffer: make([]byte, answerSize), rest: restMost}
	return c, c.open()
}

// Close frees the socket.
func (c *Conn) Close() error {
	if c.file == nil {
		return nil
	}
	defer func() { c.file = nil }()
	return c.file.Close()
}

// Ask sends a request and calls each with every message of the answer, whose memory it may
// not keep, until each returns false: the rest is then not made, or not handed on. It
// blocks until the answer is complete, or until ctx ends: the kernel holds an answer back
// for as long as its own locks are held. What the kernel refuses is a unix.Errno. Protocol
// and Strict of the request are the Conn's.
func (c *Conn) Ask(ctx context.Context, r Request, each func(Message) (more bool)) error {
	if err := c.renew(ctx); err != nil {
		return err
	}
	file := c.file
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	complete, err := c.ask(ctx, r, each)
	c.halfRead = !complete
	if !stop() || ctx.Err() != nil {
		_ = c.Close()
	}
	return err
}

// renew sees to it that nothing of an earlier answer is left: by another socket, or where
// none is to be had by reading the old one's to its end.
func (c *Conn) renew(ctx context.Context) error {
	if c.file != nil && !c.halfRead {
		return nil
	}
	old := c.file
	err := c.open()
	switch {
	case err == nil && old != nil:
		_ = old.Close()
	case err != nil && old != nil:
		defer context.AfterFunc(ctx, func() { _ = old.SetReadDeadline(time.Unix(1, 0)) })()
		rest := answer{sequence: c.sequence}
		for !rest.complete {
			n, broken := old.Read(c.buffer)
			if broken != nil || ctx.Err() != nil {
				_ = c.Close()
				return errors.Join(broken, ctx.Err())
			}
			rest.take(c.buffer[:n])
		}
		err = nil
	}
	c.halfRead = false
	return err
}

// ask reports whether all of the answer has been read.
func (c *Conn) ask(ctx context.Context, r Request, each func(Message) bool) (complete bool, err error) {
	c.sequence++
	if _, err = c.file.Write(Append(nil, r.Type, r.Flags|unix.NLM_F_REQUEST, c.sequence, r.Body)); err != nil {
		return false, err
	}
	a := answer{
		sequence: c.sequence, each: each, wanted: true, single: r.Flags&(unix.NLM_F_DUMP|unix.NLM_F_ACK) == 0,
	}
	for unwanted := 0; !a.complete && unwanted < c.rest; {
		n, err := c.file.Read(c.buffer)
		if ctx.Err() != nil {
			return false, fmt.Errorf("the kernel did not answer: %w", ctx.Err())
		}
		if err != nil {
			return false, err
		}
		a.take(c.buffer[:n])
		if !a.wanted {
			unwanted++
		}
	}
	return a.complete, a.err
}

func (c *Conn) open() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, c.protocol)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	if c.strict {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("open a netlink socket: NETLINK_GET_STRICT_CHK (Linux 4.20): %w", err)
		}
	}
	c.file = os.NewFile(uintptr(fd), "netlink")
	return nil
}

// An answer is how far the kernel's answer has been read.
type answer struct {
	sequence uint32 // of its question
	each     func(Message) (more bool)
	single   bool // it is one message, with nothing behind it
	wanted   bool // each is to see what comes
	complete bool
	err      error
}

// take takes in the messages of one datagram.
func (a *answer) take(b []byte) {
	for m, rest, ok := Next(b); ok && !a.complete; m, rest, ok = Next(rest) {
		if m.Sequence != a.sequence {
			continue
		}
		if m.Flags&unix.NLM_F_DUMP_INTR != 0 && a.wanted {
			a.wanted, a.err = false, ErrInterrupted
		}
		switch m.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			a.complete = true
			if len(m.Body) < 4 || !a.wanted {
				continue
			}
			if errno := -int32(native.Uint32(m.Body)); errno > 0 {
				a.err = unix.Errno(errno)
			}
		case unix.NLMSG_NOOP:
		default:
			a.wanted = a.wanted && a.each(m)
			a.complete = a.single && !a.wanted
		}
	}
}
