package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// A World is a host (the namespace this process runs in) with uplinks to ISPs,
// an internet behind those, and a LAN.
//
//	lan0 ─ client      eth1 ─ ISP 1 ┐
//	        host       eth2 ─ ISP 2 ├─ internet: 198.18.0.0/15
//	                   eth3 ─ ISP 3 ┘
//
// ISP i has 100.64.i.0/24 towards the host, its gateway is .1 and the host's
// static address .10. The internet answers on every address of 198.18.0.0/15,
// which is set aside for such tests (RFC 2544), and tells each caller the
// address it came from.
type World struct {
	ISPs     []*ISP
	Client   *Namespace // on the LAN, 192.168.77.2 behind 192.168.77.1
	Internet *Namespace
	host     *Namespace
	server   *Server
	twins    bool
	slow     bool
	lanDelay time.Duration // one way, of the LAN's wire
	lanWire  *slowWire
}

// LANHost and LANClient are the addresses on the LAN.
var (
	LANHost   = netip.MustParsePrefix("192.168.77.1/24")
	LANClient = netip.MustParsePrefix("192.168.77.2/24")
	everyone  = netip.MustParsePrefix("198.18.0.0/15")
)

// Somewhere returns the n-th address of the internet.
func Somewhere(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, byte(18 + n>>16&1), byte(n >> 8), byte(n)})
}

// NewWorld builds a World with n ISPs, 1 to 9. It needs Enter to have been
// called. Close takes it down.
func NewWorld(n int) (w *World, err error) { return newWorld(n, &World{}) }

// NewTwins builds a World with two ISPs that have the same network, 100.64.9.0/24,
// and the same gateway address, as providers with carrier-grade NAT do.
func NewTwins() (*World, error) { return newWorld(2, &World{twins: true}) }

// NewSlowWorld builds a World with n ISPs whose wires can have delays (Delay,
// Stall).
func NewSlowWorld(n int) (*World, error) { return newWorld(n, &World{slow: true}) }

// NewFarLAN builds a World whose LAN is that far away, one way. On a wire without a delay an answer comes
// before the question is through, and errors are only seen when it is asked again.
func NewFarLAN(n int, delay time.Duration) (*World, error) {
	return newWorld(n, &World{lanDelay: delay})
}

func newWorld(n int, empty *World) (w *World, err error) {
	w = empty
	defer func() {
		if err != nil {
			w.Close()
			w, err = nil, fmt.Errorf("build the lab: %w", err)
		}
	}()
	if w.host, err = Host(); err != nil {
		return w, err
	}
	if w.Internet, err = NewNamespace(); err != nil {
		return w, err
	}
	if err = w.Internet.trustAddresses(); err != nil {
		return w, err
	}
	if err = w.Internet.localRoute(everyone); err != nil {
		return w, err
	}
	if w.server, err = serve(w.Internet); err != nil {
		return w, err
	}
	for i := 1; i <= n; i++ {
		isp, err := newISP(i, w)
		if isp != nil {
			w.ISPs = append(w.ISPs, isp)
		}
		if err != nil {
			return w, err
		}
	}
	return w, w.lan()
}

func (w *World) lan() error {
	client, err := NewNamespace()
	if err != nil {
		return err
	}
	w.Client = client
	wire := func() (err error) {
		if w.lanDelay == 0 {
			return w.host.Wire("lan0", client, "eth0")
		}
		if w.lanWire, err = w.host.wireSlowly("lan0", client, "eth0"); err == nil {
			w.lanWire.delay.Store(int64(w.lanDelay))
		}
		return err
	}
	return errors.Join(
		wire(),
		w.host.Address("lan0", LANHost),
		client.Address("eth0", LANClient),
		client.gateway(LANHost.Addr(), "eth0"),
	)
}

// Host returns the host's namespace.
func (w *World) Host() *Namespace { return w.host }

// Close ends everything and removes the host's interfaces. It may be called on
// a World that was built in part.
func (w *World) Close() {
	if w.server != nil {
		w.server.close()
	}
	for _, isp := range w.ISPs {
		isp.close()
	}
	if w.lanWire != nil {
		w.lanWire.close()
	}
	if w.host != nil {
		_ = w.host.DeleteLink("lan0")
		w.host.Close()
	}
	for _, ns := range []*Namespace{w.Client, w.Internet} {
		if ns != nil {
			ns.Close()
		}
	}
}
