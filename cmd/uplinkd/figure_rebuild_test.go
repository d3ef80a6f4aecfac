package main

import (
	"encoding/binary"
	"fmt"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab/labtest"
	"uplinkd/internal/nlmsg"
)

// A told socket hears what the kernel tells of IPv4 routes.
type toldSocket struct {
	fd int
	b  []byte
}

func (b *bench) listenRoutes() *toldSocket {
	b.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	b.ok(err)
	b.Cleanup(func() { _ = unix.Close(fd) })
	b.ok(unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_IPV4_ROUTE}))
	b.ok(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	return &toldSocket{fd: fd, b: make([]byte, 1<<16)}
}

// next returns the next messages.
func (s *toldSocket) next() (list []nlmsg.Message, err error) {
	n, _, err := unix.Recvfrom(s.fd, s.b, 0)
	for m, rest, ok := nlmsg.Next(s.b[:max(n, 0)]); ok; m, rest, ok = nlmsg.Next(rest) {
		list = append(list, m)
	}
	return list, err
}

// drain forgets what was told until now.
func (s *toldSocket) drain() {
	for {
		if _, _, err := unix.Recvfrom(s.fd, s.b, unix.MSG_DONTWAIT); err == unix.EAGAIN {
			return
		}
	}
}

// without waits until the kernel has told that our default route leads by an interface no more.
func (s *toldSocket) without(index int) error {
	for {
		list, err := s.next()
		if err != nil {
			return err
		}
		for _, m := range list {
			// struct rtmsg: the length of the prefix at 1, the table at 4, the protocol at 5
			ours := m.Type == unix.RTM_NEWROUTE && m.Body[1] == 0 && m.Body[4] == unix.RT_TABLE_MAIN && m.Body[5] == 201
			if ours && !leadsBy(m.Body[unix.SizeofRtMsg:], index) {
				return nil
			}
		}
	}
}

// leadsBy reports whether a route's attributes name an interface, alone or as one of several ways (struct rtnexthop: its
// length at 0, the interface at 4).
func leadsBy(attrs []byte, index int) bool {
	if out := nlmsg.Attr(attrs, unix.RTA_OIF); len(out) == 4 {
		return int(binary.NativeEndian.Uint32(out)) == index
	}
	for hops := nlmsg.Attr(attrs, unix.RTA_MULTIPATH); len(hops) >= 8; {
		if int(binary.NativeEndian.Uint32(hops[4:])) == index {
			return true
		}
		hops = hops[min(len(hops), max(8, int(binary.NativeEndian.Uint16(hops)))):]
	}
	return false
}

// From when a carrier is taken away to the kernel's word that the default route is without that uplink, with so many of
// them; and what another default route takes by ip(8).
func TestFigureRebuild(t *testing.T) {
	labtest.Measured(t)
	labtest.Need(t)
	sizes, runs, most := []int{2, 16}, 5, 20.0 // ms: a machine may be slow, and the lanes beside this one busy
	if runsOr(t, 0) > 0 {
		sizes, runs, most = []int{2, 16, 64, 200}, runsOr(t, 0), 5
	}
	table := figures.Table{
		Title:   "Rebuild",
		About:   "The carrier of one of so many uplinks falls: from before it is taken away, and from when that is done, to the kernel's word that the default route is without it: its event comes between. Beside it one `ip route replace` of that route, its process included.",
		Command: "UPLINKD_RUNS=20 go test -run TestFigureRebuild ./cmd/uplinkd",
		Limit:   "a message to the kernel takes it as long as its next hops are many; 200 uplinks are the most that a configuration has.",
		Columns: []string{"uplinks", "carrier to new route, ms", "since it was down, ms", "by `ip route replace`, ms", "times", "operations of ours"},
	}
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCrowd(t, n, "probe: {hold_down: 0s}\n")
			c.begin(c.build())
			index, err := c.world.Host().Index("u0")
			c.ok(err)
			var ours, since, theirs, operations []float64
			told := c.listenRoutes()
			for range runs {
				before := c.status().Kernel.Ops
				time.Sleep(100 * time.Millisecond)
				told.drain()
				began := time.Now()
				c.ok(c.far.SetLink("p0", false))
				taken := time.Now()
				c.ok(told.without(index))
				ours = append(ours, time.Since(began).Seconds()*1000)
				since = append(since, time.Since(taken).Seconds()*1000)
				c.until("it is down", time.Second, func() bool { s := c.status(); return s.Uplinks[0].State == "down" && s.Kernel.InSync })
				operations = append(operations, float64(c.status().Kernel.Ops-before))
				c.ok(c.far.SetLink("p0", true))
				c.untilAllUp()
			}
			c.end()
			for i := range runs {
				words := c.replaceWithout(n, i%2) // another one each time
				began := time.Now()
				c.ok(exec.Command("ip", words...).Run())
				theirs = append(theirs, time.Since(began).Seconds()*1000)
			}
			c.kernel("ip route del default proto 201")
			us, ip := figures.SpreadOf(ours), figures.SpreadOf(theirs)
			table.Rows = append(table.Rows, []string{
				fmt.Sprint(n), us.String(), figures.SpreadOf(since).String(), ip.String(), figures.Number(ip.Median / us.Median),
				figures.SpreadOf(operations).String(),
			})
			t.Log(table.Rows[len(table.Rows)-1])
			if n <= 16 && us.Median > most {
				t.Errorf("%d uplinks: %s ms to the new route, which is more than a slow machine explains: %.0f", n, us, most)
			}
		})
	}
	if slices.Max(sizes) > 16 {
		if err := table.Keep(); err != nil {
			t.Fatal(err)
		}
	}
}

// replaceWithout returns the words of ip(8) for a default route by all uplinks but one.
func (c *crowd) replaceWithout(n, which int) []string {
	words := []string{"route", "replace", "default", "proto", "201"}
	for i := range n {
		if i == which {
			continue
		}
		words = append(words, "nexthop", "via", fmt.Sprintf("10.%d.%d.1", i/250, i%250), "dev", fmt.Sprint("u", i), "onlink")
	}
	return words
}
