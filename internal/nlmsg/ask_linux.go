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

// Ask sends a request over a socket of its own and calls each with every message of
// the answer, whose memory it may not keep, until each returns false: the rest is then
// never made. It blocks until the answer is complete, or until ctx ends: the kernel
// holds an answer back for as long as its own locks are held. What the kernel refuses
// is a unix.Errno.
func Ask(ctx context.Context, r Request, each func(Message) (more bool)) error {
	file, err := open(r)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	defer file.Close() //nolint:errcheck // it has served
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = file.Write(Append(nil, r.Type, r.Flags|unix.NLM_F_REQUEST, 1, r.Body)); err != nil {
		return err
	}
	buffer := make([]byte, answerSize)
	for {
		n, err := file.Read(buffer)
		if ctx.Err() != nil {
			return fmt.Errorf("the kernel did not answer: %w", ctx.Err())
		}
		if err != nil {
			return err
		}
		if done, err := take(buffer[:n], each); done || err != nil {
			return err
		}
	}
}

func open(r Request) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, r.Protocol)
	if err != nil {
		return nil, err
	}
	if r.Strict {
		if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("NETLINK_GET_STRICT_CHK (Linux 4.20): %w", err)
		}
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// take hands on the messages of one datagram, and reports whether no more are wanted.
func take(b []byte, each func(Message) bool) (done bool, err error) {
	for m, rest, ok := Next(b); ok; m, rest, ok = Next(rest) {
		if m.Flags&unix.NLM_F_DUMP_INTR != 0 {
			return true, ErrInterrupted
		}
		switch m.Type {
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if len(m.Body) >= 4 {
				if errno := -int32(native.Uint32(m.Body)); errno > 0 {
					return true, unix.Errno(errno)
				}
			}
			return true, nil
		case unix.NLMSG_NOOP:
		default:
			if !each(m) {
				return true, nil
			}
		}
	}
	return false, nil
}
