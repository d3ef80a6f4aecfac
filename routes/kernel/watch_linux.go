package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watched are the kernel's groups of events that can change what is ours.
var watched = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
}

// A Watcher listens for changes of links, addresses, routes and rules.
type Watcher struct{ file *os.File }

// NewWatcher subscribes in the calling thread's network namespace. From its
// return on no change goes unnoticed; Watch must then be called.
func NewWatcher() (*Watcher, error) {
	file, err := subscribe(watched)
	if err != nil {
		return nil, fmt.Errorf("subscribe to routing events: %w", err)
	}
	return &Watcher{file}, nil
}

// subscribe opens a netlink socket that is told the events of some groups.
func subscribe(groups []uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, group := range groups {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(group)))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink events"), nil
}

// Watch calls wake after each change, or after several at once, until ctx ends;
// then it closes the subscription and returns nil. It blocks, and so must not
// wake for long. Events are not looked into: that they come is the message. So
// a receive buffer that overflowed (ENOBUFS) costs nothing, it is one more
// wake-up.
func (w *Watcher) Watch(ctx context.Context, wake func()) error {
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer w.file.Close() //nolint:errcheck // a subscription holds nothing to flush
	buffer := make([]byte, 64<<10)
	for {
		_, err := w.file.Read(buffer)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("listen for routing events: %w", err)
		}
		wake()
	}
}
