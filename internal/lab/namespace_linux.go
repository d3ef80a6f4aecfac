package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A Namespace is a network namespace that lives as long as it is open.
type Namespace struct {
	ns     netns.NsHandle
	handle *netlink.Handle
}

// NewNamespace makes an empty network namespace with loopback up.
func NewNamespace() (*Namespace, error) {
	type result struct {
		ns  netns.NsHandle
		err error
	}
	c := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		var ns netns.NsHandle
		if err == nil {
			ns, err = netns.Get()
		}
		c <- result{ns, err}
	}()
	r := <-c
	if r.err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", r.err)
	}
	handle, err := netlink.NewHandleAt(r.ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(err, r.ns.Close())
	}
	return &Namespace{ns: r.ns, handle: handle}, handle.LinkSetUp(byName("lo"))
}

// Host returns the namespace this process runs in.
func Host() (*Namespace, error) {
	ns, err := netns.Get()
	if err != nil {
		return nil, err
	}
	handle, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return &Namespace{ns: ns, handle: handle}, nil
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay there.
func (n *Namespace) Do(f func() error) error {
	c := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: a thread moved elsewhere is not used again
		if err := netns.Set(n.ns); err != nil {
			c <- err
			return
		}
		c <- f()
	}()
	return <-c
}

// Close lets the namespace go; with the last reference the kernel removes it.
func (n *Namespace) Close() {
	n.handle.Close()
	_ = n.ns.Close()
}

// Sysctl writes a setting, its name with slashes.
func (n *Namespace) Sysctl(name, value string) error {
	return n.Do(func() error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0) })
}

// Wire joins name here with peerName in the namespace other, both up.
func (n *Namespace) Wire(name string, other *Namespace, peerName string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peerName, PeerNamespace: netlink.NsFd(other.ns)}
	if err := n.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the wire %s-%s: %w", name, peerName, err)
	}
	if err := n.handle.LinkSetUp(byName(name)); err != nil {
		return err
	}
	return other.handle.LinkSetUp(byName(peerName))
}

// Address gives an interface an address.
func (n *Namespace) Address(name string, prefix netip.Prefix) error {
	err := n.handle.AddrReplace(byName(name), &netlink.Addr{IPNet: ipNet(prefix)})
	if err != nil {
		return fmt.Errorf("address %s on %s: %w", prefix, name, err)
	}
	return nil
}

// RemoveAddress takes an address away.
func (n *Namespace) RemoveAddress(name string, prefix netip.Prefix) error {
	index, err := n.Index(name)
	if err != nil {
		return err
	}
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	return n.handle.AddrDel(link, &netlink.Addr{IPNet: ipNet(prefix)})
}

// SetLink sets an interface up or down.
func (n *Namespace) SetLink(name string, up bool) error {
	if up {
		return n.handle.LinkSetUp(byName(name))
	}
	return n.handle.LinkSetDown(byName(name))
}

// DeleteLink removes an interface, and so the wire it is an end of.
func (n *Namespace) DeleteLink(name string) error { return n.handle.LinkDel(byName(name)) }

func byName(name string) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: name}}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Index returns an interface's index.
func (n *Namespace) Index(name string) (int, error) {
	link, err := n.handle.LinkByName(name) //nolint:forbidigo // one link by its name, not a dump
	if err != nil {
		return 0, err
	}
	return link.Attrs().Index, nil
}

// Received returns how many packets have come in by an interface, as text.
func (n *Namespace) Received(name string) (string, error) {
	link, err := n.handle.LinkByName(name) //nolint:forbidigo // one link by its name, not a dump
	if err != nil {
		return "", err
	}
	return strconv.FormatUint(link.Attrs().Statistics.RxPackets, 10), nil
}

// gateway sets the default route.
func (n *Namespace) gateway(via netip.Addr, name string) error {
	return n.Route(netip.MustParsePrefix("0.0.0.0/0"), via, name)
}

// Route sets a route.
func (n *Namespace) Route(to netip.Prefix, via netip.Addr, name string) error {
	index, err := n.Index(name)
	if err != nil {
		return err
	}
	err = n.handle.RouteReplace(&netlink.Route{LinkIndex: index, Dst: ipNet(to), Gw: via.AsSlice()})
	if err != nil {
		return fmt.Errorf("route to %s: %w", to, err)
	}
	return nil
}

// Unreachable has the namespace answer that a destination cannot be reached.
func (n *Namespace) Unreachable(to netip.Prefix) error {
	return n.handle.RouteReplace(&netlink.Route{Dst: ipNet(to), Type: unix.RTN_UNREACHABLE})
}

// localRoute makes every address of a prefix this namespace's own.
func (n *Namespace) localRoute(p netip.Prefix) error {
	lo, err := n.Index("lo")
	if err != nil {
		return err
	}
	return n.handle.RouteReplace(&netlink.Route{
		LinkIndex: lo, Dst: ipNet(p), Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
		Table: unix.RT_TABLE_LOCAL,
	})
}
