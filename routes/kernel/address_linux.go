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
	return nil
}

func ipNet(a routes.Address) *net.IPNet {
	return &net.IPNet{
		IP:   a.Prefix.Addr().AsSlice(),
		Mask: net.CIDRMask(a.Prefix.Bits(), a.Prefix.Addr().BitLen()),
	}
}
