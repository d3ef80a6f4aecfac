package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// watched are the kernel's groups of events that can change what is ours.
var watched = []uint32{
	unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
}

// A Watcher listens for changes of links, addresses, routes, rules and nft tables, and
// looks for changes of settings.
type Watcher struct {
	file     *os.File
	nft      *os.File // nil on a kernel without nftables
	surveyor *surveyor
	witness  *witness
	settings *settingsWatch
	kept     *keptSets
	unread   bool // the transaction that is being told changes more than elements of sets
}

// nftablesGroup is NFNLGRP_NFTABLES.
const nftablesGroup = 7

// NewWatcher subscribes to changes of what k reads, in the calling thread's network
// namespace. From its return on no change goes unnoticed; Watch must then be called.
func NewWatcher(k *Kernel) (*Watcher, error) {
	file, err := subscribe(unix.NETLINK_ROUTE, watched)
	if err != nil {
		return nil, fmt.Errorf("subscribe to routing events: %w", err)
	}
	w := &Watcher{file: file, surveyor: k.surveyor, witness: k.witness, settings: k.settings, kept: k.kept}
	w.surveyor.attach()
	// Without it every change of the default route waits for a reading.
	if k.sentry, err = newSentry(); err != nil {
		k.sentry = nil
	}
	// Without it a table that others have flushed is put back at the next reading.
	if w.nft, err = subscribe(unix.NETLINK_NETFILTER, []uint32{nftablesGroup}); err != nil {
		w.nft = nil
	}
	return w, nil
}

// subscribe opens a netlink socket that is told the events of some groups.
func subscribe(protocol int, groups []uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
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

// Watch calls wake after each change that what is read may show, or after several at
// once, until ctx ends; then it closes the subscription and returns nil. It blocks, and
// so must not wake for long. A receive buffer that overflowed (ENOBUFS) is one more
// wake-up. The routes of others, of which a router may have a million and change some
// each second, wake nobody, nor does what does not concern us of others' links (bystanders).
func (w *Watcher) Watch(ctx context.Context, wake func()) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.surveyor.run(ctx, wake) })
	group.Go(func() error { return w.settings.run(ctx, wake) })
	group.Go(func() error { return w.kept.run(ctx) })
	group.Go(func() error {
		return listen(ctx, w.file, func(datagram []byte) {
			if w.matters(datagram) {
				wake()
			}
		})
	})
	if w.nft != nil {
		group.Go(func() error {
			return listen(ctx, w.nft, func(datagram []byte) {
				if w.ends(datagram) {
					wake()
				}
			})
		})
	}
	return group.Wait()
}

// matters reports whether what is read each time may have changed. nil stands for
// events that were lost.
func (w *Watcher) matters(datagram []byte) bool {
	if datagram == nil {
		w.surveyor.lost()
		return true
	}
	matters := false
	for m, rest, ok := nlmsg.Next(datagram); ok; m, rest, ok = nlmsg.Next(rest) {
		w.witness.note(m, time.Now())
		matters = w.surveyor.event(m) || matters
	}
	return matters
}

// ends reports whether a change of nft's is complete that what is read may show: each transaction
// is told object by object, and then that it is over. One that changes elements of sets alone, as
// a DNS server's do all day, shows nothing. nil stands for events that were lost.
func (w *Watcher) ends(datagram []byte) bool {
	over := datagram == nil
	for m, rest, ok := nlmsg.Next(datagram); ok; m, rest, ok = nlmsg.Next(rest) {
		switch {
		case m.Type == nftGeneration:
			w.witness.note(m, time.Now())
			over = over || w.unread
			w.unread = false
		case isElements(m):
			w.kept.note(m, time.Now())
		default:
			w.unread = true
		}
	}
	return over
}

// listen calls heard with each datagram, nil for one or more that were lost.
func listen(ctx context.Context, file *os.File, heard func([]byte)) error {
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer file.Close() //nolint:errcheck // a subscription holds nothing to flush
	buffer := make([]byte, 64<<10)
	for {
		n, err := file.Read(buffer)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			heard(buffer[:n])
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
			heard(nil)
		default:
			return fmt.Errorf("listen for routing events: %w", err)
		}
	}
}
