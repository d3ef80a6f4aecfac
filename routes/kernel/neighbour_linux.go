package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"uplinkd/internal/nlmsg"

	"golang.org/x/sys/unix"
)

// A NeighbourWatcher listens for neighbours that no longer answer ARP.
type NeighbourWatcher struct{ file *os.File }

// NewNeighbourWatcher subscribes in the calling thread's network namespace; Watch
// must then be called.
func NewNeighbourWatcher() (*NeighbourWatcher, error) {
	file, err := subscribe(unix.NETLINK_ROUTE, []uint32{unix.RTNLGRP_NEIGH})
	if err != nil {
		return nil, fmt.Errorf("subscribe to neighbour events: %w", err)
	}
	return &NeighbourWatcher{file}, nil
}

// afterlife is how long a failed neighbour is waited for to be deleted. One that
// somebody deletes is said to have failed too, a moment before.
const afterlife = 10 * time.Millisecond

// A neighbour is an address on a link.
type neighbour struct {
	index   int
	address netip.Addr
}

// Watch calls failed for each neighbour that the kernel has given up on
// (NUD_FAILED), by interface index and address, until ctx ends; then it closes
// the subscription and returns nil. It blocks. Events that are lost to a full
// buffer are not made up for: others tell of the same.
func (w *NeighbourWatcher) Watch(ctx context.Context, failed func(index int, address netip.Addr)) error {
	stop := context.AfterFunc(ctx, func() { _ = w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer w.file.Close() //nolint:errcheck // a subscription holds nothing to flush
	buffer := make([]byte, 64<<10)
	gone := map[neighbour]bool{}
	for {
		n, err := w.file.Read(buffer)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err == nil:
			sift(buffer[:n], gone)
		case errors.Is(err, os.ErrDeadlineExceeded):
			for n := range gone {
				failed(n.index, n.address)
			}
			clear(gone)
		case !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("listen for neighbour events: %w", err)
		}
		deadline := time.Time{}
		if len(gone) > 0 {
			deadline = time.Now().Add(afterlife)
		}
		if err := w.file.SetReadDeadline(deadline); err != nil {
			return err
		}
		if ctx.Err() != nil { // its deadline may have been overwritten just now
			return nil
		}
	}
}

// Sizes and places in a neighbour message (linux/neighbour.h): struct ndmsg has
// the interface at 4 and the state at 8.
const (
	neighbourHeader = 12
	neighbourDst    = 1 // NDA_DST
)

// sift notes the neighbours that have failed among netlink messages, and strikes
// those out that have been deleted or answer.
func sift(b []byte, gone map[neighbour]bool) {
	for m, rest, ok := nlmsg.Next(b); ok; m, rest, ok = nlmsg.Next(rest) {
		if len(m.Body) < neighbourHeader || m.Type != unix.RTM_NEWNEIGH && m.Type != unix.RTM_DELNEIGH {
			continue
		}
		address, ok := netip.AddrFromSlice(nlmsg.Attr(m.Body[neighbourHeader:], neighbourDst))
		if !ok {
			continue
		}
		n := neighbour{int(int32(native.Uint32(m.Body[4:]))), address}
		delete(gone, n)
		if m.Type == unix.RTM_NEWNEIGH && native.Uint16(m.Body[8:])&unix.NUD_FAILED != 0 {
			gone[n] = true
		}
	}
}
