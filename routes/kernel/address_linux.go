package kernel

import (
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

func (k *Kernel) putAddress(a routes.Address, now time.Time) error {
	index, err := k.linkIndex(a.Interface)
	if err != nil {
		return err
	}
	if !k.tags {
		k.restore.addAddress(index, a.Prefix)
	}
	request := netlink.Addr{IPNet: ipNet(a), Protocol: int(a.Protocol)}
	if a.NoPrefixRoute {
		request.Flags |= unix.IFA_F_NOPREFIXROUTE
	}
	if a.NoDAD {
		request.Flags |= unix.IFA_F_NODAD
	}
	valid, preferred := a.Lifetimes(now)
	request.ValidLft, request.PreferedLft = int(valid), int(preferred)
	return k.handle.AddrReplace(linkWithIndex(index), &request)
}

func (k *Kernel) deleteAddress(a routes.Address) error {
	index, err := k.linkIndex(a.Interface)
	if err != nil {
		return ignore(err, unix.ENODEV)
	}
	err = k.handle.AddrDel(linkWithIndex(index), &netlink.Addr{IPNet: ipNet(a)})
	if err = ignore(err, unix.EADDRNOTAVAIL, unix.ENODEV); err != nil {
		return err
	}
	k.restore.removeAddress(index, a.Prefix)
	if a.Prefix.Addr().Is4() || a.NoPrefixRoute {
		return nil
	}
	return k.deletePrefixRoute(index, a)
}

// prefixMetric is the metric of such routes (IP6_RT_PRIO_ADDRCONF in net/ipv6/ip6_route.h).
const prefixMetric = 256

// deletePrefixRoute deletes the route to the network of an address of IPv6 that is gone. The kernel
// does that with one that has no end, and else leaves it until then (ipv6_del_addr in
// net/ipv6/addrconf.c). It stays while the interface has another address of that network.
func (k *Kernel) deletePrefixRoute(index int, gone routes.Address) error {
	list, err := k.dumpAddresses(unix.AF_INET6)
	if err != nil {
		return err
	}
	for _, other := range list {
		ones, _ := other.Mask.Size()
		if other.LinkIndex == index && ones == gone.Prefix.Bits() && ipNet(gone).Contains(other.IP) {
			return nil
		}
	}
	network := ipNet(routes.Address{Prefix: gone.Prefix.Masked()})
	err = k.handle.RouteDel(&netlink.Route{
		Dst: network, LinkIndex: index, Table: int(routes.TableMain), Protocol: unix.RTPROT_KERNEL,
		Priority: prefixMetric,
	})
	return ignore(err, unix.ESRCH, unix.ENODEV)
}

func ipNet(a routes.Address) *net.IPNet {
	return &net.IPNet{
		IP:   a.Prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(a.Prefix.Bits(), a.Prefix.Addr().BitLen()),
	}
}
