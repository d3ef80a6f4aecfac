package lab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// A Router is what an ISP's gateway advertises of itself (RFC 4861).
type Router struct {
	isp    *ISP
	packet *ipv6.PacketConn
	index  int
	done   sync.WaitGroup
	stop   chan struct{}

	mu     sync.Mutex // guards what follows
	advert ndp.RouterAdvertisement
	silent bool
	asked  int
}

// advertEvery is how often a Router advertises itself unasked: more often than any does, for the
// tests' sake.
const advertEvery = 3 * time.Second

// Lifetimes of what a Router advertises.
const (
	RouterLifetime    = 30 * time.Minute
	PreferredLifetime = 4 * time.Hour
	ValidLifetime     = 24 * time.Hour
)

// StartRouter has the ISP's gateway advertise itself, with the network of the link.
func (isp *ISP) StartRouter() error {
	r := &Router{isp: isp, stop: make(chan struct{}), advert: ndp.RouterAdvertisement{
		CurrentHopLimit: 64, RouterLifetime: RouterLifetime,
		Options: []ndp.Option{PrefixOption(isp.Link6(), PreferredLifetime, ValidLifetime)},
	}}
	config := net.ListenConfig{Control: onLink(customerSide)}
	err := isp.ns.Do(func() error {
		raw, err := config.ListenPacket(context.Background(), "ip6:ipv6-icmp", "::")
		if err != nil {
			return err
		}
		r.packet = ipv6.NewPacketConn(raw)
		var filter ipv6.ICMPFilter
		filter.SetAll(true)
		filter.Accept(ipv6.ICMPTypeRouterSolicitation)
		return errors.Join(r.packet.SetICMPFilter(&filter), r.packet.SetMulticastHopLimit(255))
	})
	if err != nil {
		return err
	}
	if r.index, err = isp.ns.Index(customerSide); err != nil {
		return err
	}
	isp.Router = r
	r.done.Go(r.listen)
	r.done.Go(r.repeat)
	return nil
}

// PrefixOption is a network that hosts make themselves addresses of.
func PrefixOption(p netip.Prefix, preferred, valid time.Duration) *ndp.PrefixInformation {
	return &ndp.PrefixInformation{
		PrefixLength: uint8(p.Bits()), OnLink: true, AutonomousAddressConfiguration: true,
		PreferredLifetime: preferred, ValidLifetime: valid, Prefix: p.Addr(),
	}
}

// Change has f change what is advertised, and advertises it.
func (r *Router) Change(f func(*ndp.RouterAdvertisement)) error {
	r.mu.Lock()
	f(&r.advert)
	r.mu.Unlock()
	return r.send()
}

// Silence ends advertising, or begins it again.
func (r *Router) Silence(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = on
}

// Asked returns how many solicitations have come in.
func (r *Router) Asked() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func (r *Router) send() error {
	r.mu.Lock()
	advert, silent := r.advert, r.silent
	r.mu.Unlock()
	if silent {
		return nil
	}
	return r.Send(Gateway6, 255, &advert)
}

// Send sends any advertisement, from an address that the gateway has, and with a hop limit.
func (r *Router) Send(from netip.Addr, hopLimit int, advert *ndp.RouterAdvertisement) error {
	b, err := ndp.MarshalMessage(advert)
	if err != nil {
		return err
	}
	return r.SendRaw(from, hopLimit, b)
}

// SendRaw sends any ICMPv6 message to all hosts.
func (r *Router) SendRaw(from netip.Addr, hopLimit int, b []byte) error {
	control := &ipv6.ControlMessage{HopLimit: hopLimit, Src: from.AsSlice(), IfIndex: r.index}
	_, err := r.packet.WriteTo(b, control, &net.IPAddr{IP: net.IPv6linklocalallnodes})
	return err
}

func (r *Router) listen() {
	buffer := make([]byte, 1500)
	for {
		if _, _, _, err := r.packet.ReadFrom(buffer); err != nil {
			return
		}
		r.mu.Lock()
		r.asked++
		r.mu.Unlock()
		_ = r.send() // lost on the way is lost on the way
	}
}

func (r *Router) repeat() {
	ticker := time.NewTicker(advertEvery)
	defer ticker.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-ticker.C:
			_ = r.send()
		}
	}
}

func (r *Router) close() {
	close(r.stop)
	_ = r.packet.Close()
	r.done.Wait()
}
