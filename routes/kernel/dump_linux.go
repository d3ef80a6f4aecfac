package kernel

import (
	"context"
	"errors"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// dumpTries is how often a dump that the kernel calls interrupted
// (NLM_F_DUMP_INTR: something changed while it was read) is made again. The
// last try's error is returned: half a dump must never pass for the whole.
const dumpTries = 10

func retried[T any](dump func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		result, err := dump()
		interrupted := errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, nlmsg.ErrInterrupted)
		if try == dumpTries || !interrupted {
			return result, err
		}
	}
}

func (k *Kernel) dumpLinks() ([]netlink.Link, error) {
	return retried(k.handle.LinkList) //nolint:forbidigo // this is the retrying helper
}

func (k *Kernel) dumpAddresses(family int) ([]netlink.Addr, error) {
	return retried(func() ([]netlink.Addr, error) {
		return k.handle.AddrList(nil, family) //nolint:forbidigo // this is the retrying helper
	})
}

// A routeFilter says which routes the kernel is to list. Zero stands for all.
type routeFilter struct {
	family   int
	table    uint32
	protocol uint8
	kind     uint8
}

// body returns the request, a struct rtmsg (rtnetlink(7)).
func (f routeFilter) body() []byte {
	b := make([]byte, unix.SizeofRtMsg)
	b[0], b[5], b[7] = uint8(f.family), f.protocol, f.kind
	if f.table == 0 {
		return b
	}
	return nlmsg.AppendAttr(b, unix.RTA_TABLE, native.AppendUint32(nil, f.table))
}

// An asker asks the kernel: nlmsg.Ask, or a socket that is kept.
type asker func(ctx context.Context, r nlmsg.Request, each func(nlmsg.Message) (more bool)) error

// listRoutes calls each with every route of a filter, until it returns false. The kernel
// does the choosing: a table of some routes takes 30 us where all tables of a host with
// a million take a second. A table that does not exist holds none.
func (ask asker) listRoutes(ctx context.Context, f routeFilter, limit time.Duration,
	each func(routeMessage) (more bool),
) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	request := nlmsg.Request{
		Protocol: unix.NETLINK_ROUTE, Type: unix.RTM_GETROUTE, Flags: unix.NLM_F_DUMP, Body: f.body(), Strict: true,
	}
	err := ask(ctx, request, func(m nlmsg.Message) bool {
		r, ok := parseRoute(m.Body)
		return !ok || r.flags&unix.RTM_F_CLONED != 0 || each(r)
	})
	return ignore(err, unix.ENOENT)
}

// dumpRoutes returns those routes of a filter for which keep is true.
func (k *Kernel) dumpRoutes(ctx context.Context, f routeFilter, names map[int]string,
	keep func(routeMessage) (kept, more bool),
) ([]routes.Route, error) {
	ask := asker(k.dumps.Ask)
	return retried(func() ([]routes.Route, error) {
		var list []routes.Route
		err := ask.listRoutes(ctx, f, answerTimeout, func(r routeMessage) bool {
			kept, more := keep(r)
			if kept {
				list = append(list, r.route(names))
			}
			return more
		})
		return list, err
	})
}

func (k *Kernel) dumpRules(family int) ([][]byte, error) {
	return retried(func() ([][]byte, error) {
		req := nl.NewNetlinkRequest(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.Sockets = k.rules
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: uint8(family)}})
		return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
	})
}
