package kernel

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
)

// A CarrierWatcher listens for interfaces that lose their carrier.
type CarrierWatcher struct{ file *os.File }

// NewCarrierWatcher subscribes in the calling thread's network namespace; Watch must then be called.
func NewCarrierWatcher() (*CarrierWatcher, error) {
	file, err := subscribe(unix.NETLINK_ROUTE, []uint32{unix.RTNLGRP_LINK})
	if err != nil {
		return nil, fmt.Errorf("subscribe to link events: %w", err)
	}
	return &CarrierWatcher{file}, nil
}

// Watch calls lost with the index of each interface that has no carrier any more, and since when at the latest, until
// ctx ends; then it closes the subscription and returns nil. It blocks. An event may have waited to be read while this
// process, or the machine, stood still: so the kernel is asked whether the carrier is still gone. One that is lost to a
// full buffer is not made up for: who reads the kernel sees it a moment later. heard is called when there was an event
// of any link: the kernel may then hold back those of others (linkwatch_schedule_work).
func (w *CarrierWatcher) Watch(ctx context.Context, heard func(), lost func(index int, at time.Time)) error {
	without := map[int]bool{}
	return listen(ctx, w.file, func(datagram []byte) {
		heard()
		if datagram == nil {
			clear(without)
		}
		for m, rest, ok := nlmsg.Next(datagram); ok; m, rest, ok = nlmsg.Next(rest) {
			index, carrier, ok := carrierOf(m)
			switch {
			case !ok:
			case carrier || m.Type == unix.RTM_DELLINK:
				delete(without, index)
			case !without[index]:
				at := time.Now()
				if present, err := askCarrier(ctx, index); err != nil || present {
					continue
				}
				without[index] = true
				lost(index, at)
			}
		}
	})
}

// askCarrier asks whether an interface has its carrier.
func askCarrier(ctx context.Context, index int) (carrier bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	body := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(body[4:], uint32(index))
	err = nlmsg.Ask(ctx, nlmsg.Request{
		Protocol: unix.NETLINK_ROUTE, Type: unix.RTM_GETLINK, Flags: unix.NLM_F_ACK, Body: body,
	}, func(m nlmsg.Message) bool {
		if _, has, ok := carrierOf(m); ok {
			carrier = has
		}
		return true
	})
	return carrier, err
}

// carrierOf reads a message of a link (struct ifinfomsg: the index at 4, the flags at 8).
func carrierOf(m nlmsg.Message) (index int, carrier, ok bool) {
	if m.Type != unix.RTM_NEWLINK && m.Type != unix.RTM_DELLINK || len(m.Body) < unix.SizeofIfInfomsg ||
		m.Body[0] != unix.AF_UNSPEC { // a bridge tells of its ports in a family of its own
		return 0, false, false
	}
	const both = unix.IFF_LOWER_UP | unix.IFF_RUNNING
	return int(int32(native.Uint32(m.Body[4:]))), native.Uint32(m.Body[8:])&both == both, true
}
