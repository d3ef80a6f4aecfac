package kernel

import (
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// dumpTries is how often a dump that the kernel calls interrupted
// (NLM_F_DUMP_INTR: something changed while it was read) is made again. The
// last try's error is returned: half a dump must never pass for the whole.
const dumpTries = 10

// families are those whose routing state is ours to read.
var families = []int{unix.AF_INET}

func retried[T any](dump func() (T, error)) (T, error) {
	for try := 1; ; try++ {
		result, err := dump()
		if try == dumpTries || !errors.Is(err, netlink.ErrDumpInterrupted) {
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

// dumpRoutes returns the routes of all tables for which keep is true.
func (k *Kernel) dumpRoutes(family int, keep func(*netlink.Route) bool) ([]netlink.Route, error) {
	return retried(func() ([]netlink.Route, error) {
		var list []netlink.Route
		// Table 0 with the table filter set means every table.
		err := k.handle.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC},
			netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
				if keep(&r) {
					list = append(list, r)
				}
				return true
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
