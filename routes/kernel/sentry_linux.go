package kernel

import (
	"errors"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// tablesMost bounds of how many tables it is counted apart how often their default routes have changed.
const tablesMost = 1000

// A sentry counts the changes of default routes. It has a socket of its own, so that what has happened until it is
// asked is counted, whatever the goroutine that listens for all events has come to.
type sentry struct {
	fd     int
	counts map[uint32]uint64 // by table
	lost   uint64            // how often it was not told of some
	buffer []byte
}

func newSentry() (*sentry, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	groups := uint32(1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1))
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &sentry{fd: fd, counts: map[uint32]uint64{}, buffer: make([]byte, 32<<10)}, nil
}

// hear reads all that was told until now. A buffer that has overflowed is one more change of any table.
func (s *sentry) hear() {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.buffer, unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.ENOBUFS):
			s.lost++
			continue
		case err != nil:
			s.lost++
			return
		}
		for m, rest, ok := nlmsg.Next(s.buffer[:n]); ok; m, rest, ok = nlmsg.Next(rest) {
			s.note(m)
		}
	}
}

// note counts a change of a default route: its destination has no bits (struct rtmsg, rtm_dst_len).
func (s *sentry) note(m nlmsg.Message) {
	if m.Type != unix.RTM_NEWROUTE && m.Type != unix.RTM_DELROUTE || len(m.Body) < unix.SizeofRtMsg || m.Body[1] != 0 {
		return
	}
	table := tableOf(m.Body)
	if _, known := s.counts[table]; !known && len(s.counts) >= tablesMost {
		s.lost++
		return
	}
	s.counts[table]++
}

// DefaultsHeard implements routes.Sentry. While nobody watches, it always says that something has changed.
func (k *Kernel) DefaultsHeard(defaults []routes.Route) uint64 {
	if k.sentry == nil {
		k.unheard++
		return k.unheard
	}
	k.sentry.hear()
	n := k.sentry.lost
	for _, r := range defaults {
		n += k.sentry.counts[r.Table]
	}
	return n
}
