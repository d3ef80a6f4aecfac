package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
)

// An ISP is a provider: a namespace between the host and the internet, with a
// gateway that answers, a DHCP server, and faults to inject.
type ISP struct {
	Number    int
	Interface string       // of the host: eth1, ...
	Gateway   netip.Addr   // 100.64.i.1
	Network   netip.Prefix // 100.64.i.0/24
	Static    netip.Prefix // what the host may be given: 100.64.i.10/24
	DHCP      *DHCPServer
	Router    *Router // of IPv6
	DHCP6     *DHCP6Server

	world  *World
	ns     *Namespace
	faults faults
	wire   *slowWire // of a slow world
	v6     bool
	nft    *nftables.Conn
}

const (
	customerSide = "cust" // the ISP's interface towards the host
	internetSide = "up"   // and towards the internet
)

func newISP(i int, w *World) (*ISP, error) {
	third := byte(i)
	if w.twins {
		third = 9
	}
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{100, 64, third, last}) }
	isp := &ISP{
		Number: i, Interface: fmt.Sprintf("eth%d", i), Gateway: at(1), Network: netip.PrefixFrom(at(0), 24),
		Static: netip.PrefixFrom(at(byte(9+i)), 24), world: w,
	}
	if !w.twins {
		isp.Static = netip.PrefixFrom(at(10), 24)
	}
	ns, err := NewNamespace()
	if err != nil {
		return nil, err
	}
	isp.ns = ns
	if err := ns.trustAddresses(); err != nil {
		return isp, err
	}
	if err := isp.Attach(); err != nil {
		return isp, err
	}
	// The link to the internet has a /30 of its own.
	near := netip.PrefixFrom(isp.outside(), 30)
	far := netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 31, byte(i), 2}), 30)
	peer := fmt.Sprintf("isp%d", i)
	return isp, errors.Join(
		ns.Sysctl("net/ipv4/ip_forward", "1"),
		ns.Wire(internetSide, w.Internet, peer),
		ns.Address(internetSide, near),
		w.Internet.Address(peer, far),
		ns.gateway(far.Addr(), internetSide),
		isp.backRoute(near.Addr(), peer),
	)
}

// backRoute leads the internet's answers to the ISP's customers. Twins have one
// network between them: there each ISP answers for its own, by masquerading.
func (isp *ISP) backRoute(near netip.Addr, peer string) error {
	if err := isp.apply(); err != nil || isp.world.twins {
		return err
	}
	return isp.world.Internet.Route(isp.Network, near, peer)
}

// outside is the ISP's own address on the internet.
func (isp *ISP) outside() netip.Addr { return netip.AddrFrom4([4]byte{172, 31, byte(isp.Number), 1}) }

// Attach gives the host its interface to this ISP, as plugging a modem in does.
func (isp *ISP) Attach() error {
	var err error
	if isp.world.slow {
		isp.wire, err = isp.world.host.wireSlowly(isp.Interface, isp.ns, customerSide)
	} else {
		err = isp.world.host.Wire(isp.Interface, isp.ns, customerSide)
	}
	err = errors.Join(err, isp.ns.Address(customerSide, netip.PrefixFrom(isp.Gateway, 24)))
	if isp.v6 {
		err = errors.Join(err, isp.attach6())
	}
	return err
}

// Detach takes the host's interface away, as pulling a modem out does.
func (isp *ISP) Detach() error {
	isp.StopDHCP()
	isp.StopRouter()
	isp.StopDHCP6()
	return isp.unplug()
}

func (isp *ISP) unplug() error {
	if isp.wire != nil {
		isp.wire.close()
		isp.wire = nil
		return nil
	}
	return isp.world.host.DeleteLink(isp.Interface)
}

// Carrier takes the host's carrier away or gives it back.
func (isp *ISP) Carrier(on bool) error {
	if isp.wire != nil {
		return isp.wire.carrier(on)
	}
	err := isp.ns.SetLink(customerSide, on)
	if err == nil && on && isp.v6 {
		err = isp.gateway6()
	}
	return err
}

// Namespace returns the ISP's own.
func (isp *ISP) Namespace() *Namespace { return isp.ns }

// StartDHCP starts the DHCP server. Leases last that long.
func (isp *ISP) StartDHCP(lease time.Duration) error {
	server, err := startDHCP(isp, lease)
	if err == nil {
		isp.DHCP = server
	}
	return err
}

// StopDHCP ends the DHCP server; its leases are forgotten.
func (isp *ISP) StopDHCP() {
	if isp.DHCP != nil {
		isp.DHCP.close()
		isp.DHCP = nil
	}
}

// StopRouter ends advertising.
func (isp *ISP) StopRouter() {
	if isp.Router != nil {
		isp.Router.close()
		isp.Router = nil
	}
}

func (isp *ISP) close() {
	isp.StopDHCP()
	isp.StopRouter()
	isp.StopDHCP6()
	_ = isp.unplug() // may be detached
	if isp.nft != nil {
		_ = isp.nft.CloseLasting()
	}
	isp.ns.Close()
}
