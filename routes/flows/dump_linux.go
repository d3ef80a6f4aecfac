package flows

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

var native = binary.NativeEndian

// answerSize is more than the kernel puts into one answer of a dump
// (NLMSG_GOODSIZE, and 32 KiB once the reader has shown that it takes so much).
const answerSize = 64 << 10

// ask sends one request to the kernel and calls each with the body of every message
// of the answer, whose memory it may not keep. It returns when the answer is
// complete, or with the context's error when that ends first: the kernel holds
// such a socket's answer for as long as its own locks are held.
func ask(ctx context.Context, protocol int, kind, flags uint16, body []byte, each func([]byte)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "netlink")
	defer file.Close() //nolint:errcheck // it has served
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err = file.Write(nlmsg.Append(nil, kind, flags|unix.NLM_F_REQUEST, 1, body)); err != nil {
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

// take hands on the messages of one datagram, and reports whether it was the last.
func take(b []byte, each func([]byte)) (done bool, err error) {
	for m, rest, ok := nlmsg.Next(b); ok; m, rest, ok = nlmsg.Next(rest) {
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
			each(m.Body)
		}
	}
	return false, nil
}

// ignore returns nil for an error that says there is nothing of that kind.
func ignore(err error, harmless ...error) error {
	for _, h := range harmless {
		if errors.Is(err, h) {
			return nil
		}
	}
	return err
}
