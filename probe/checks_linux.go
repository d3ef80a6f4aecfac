package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/plain"
	"uplinkd/internal/sock"
)

// errorMost is how much of what speaks against a service is kept, in bytes. Its
// certificate, its answer or a program may have had a say in it.
const errorMost = 300

var errBusy = errors.New("the checks before this one are still under way")

// Open opens the Conn of a Spec: for echoes a raw socket, for all else checks
// that run beside each other, each by sockets that are bound to the interface.
func Open(spec Spec) (Conn, error) {
	kinds := map[bool]bool{}
	for _, t := range spec.Targets {
		kinds[t.Kind == ICMP] = true
	}
	if !kinds[false] {
		return OpenICMP(spec)
	}
	c := &checks{
		spec: spec, answers: make(chan Answer, len(spec.Targets)), busy: make([]atomic.Int32, len(spec.Targets)),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if kinds[true] {
		icmp, err := OpenICMP(spec)
		if err != nil {
			c.cancel()
			return nil, err
		}
		c.icmp = icmp
		c.running.Go(c.forward)
	}
	return c, nil
}

// checks is a Conn whose probes are checks of services.
type checks struct {
	spec    Spec
	icmp    Conn // nil without targets of that kind
	answers chan Answer
	broken  atomic.Pointer[error] // of icmp
	busy    []atomic.Int32        // checks under way, by target
	running sync.WaitGroup
	ctx     context.Context //nolint:containedctx // that of all checks; Close ends it
	cancel  context.CancelFunc
}

// forward hands on what comes in as echoes.
func (c *checks) forward() {
	for {
		a, err := c.icmp.Receive()
		if err != nil {
			c.broken.Store(&err)
			c.cancel()
			return
		}
		c.hand(a)
	}
}

func (c *checks) hand(a Answer) {
	select {
	case c.answers <- a:
	case <-c.ctx.Done():
	}
}

// Send implements Conn.
func (c *checks) Send(target int, seq uint16) error {
	t := &c.spec.Targets[target]
	if t.Kind == ICMP {
		return c.icmp.Send(target, seq)
	}
	if t.Kind != Exec && trackingFull() {
		return errTrackingFull // who asks now waits in vain
	}
	if int(c.busy[target].Add(1)) > t.most() {
		c.busy[target].Add(-1)
		return errBusy
	}
	c.running.Go(func() {
		defer c.busy[target].Add(-1)
		limit := c.spec.Pace.limit()
		if t.Kind == Exec {
			limit = t.Limit
		}
		ctx, cancel := context.WithTimeout(c.ctx, limit)
		defer cancel()
		a := c.check(ctx, t)
		a.Target, a.Seq, a.At = target, seq, time.Now()
		c.hand(a)
	})
	return nil
}

// check makes one check of a service.
func (c *checks) check(ctx context.Context, t *Target) Answer {
	wire := &wire{spec: &c.spec}
	start := time.Now()
	var err error
	var advice Advice
	switch t.Kind {
	case ICMP:
	case TCP:
		err = wire.accepts(ctx, netip.AddrPortFrom(t.IP, t.Port))
	case HTTP:
		err = wire.serves(ctx, t)
	case DNS:
		err = wire.resolves(ctx, t.IP, t.Query)
	case SOCKS5:
		err = wire.connects(ctx, t)
	case Agent:
		advice, err = wire.advises(ctx, t.Server)
	case Exec:
		err = execute(ctx, &c.spec, t.Program)
	}
	a := Answer{RTT: time.Since(start), Advice: advice}
	wire.close()
	a.Bytes = int(wire.bytes.Load())
	if err != nil {
		a.Err, a.Hard = plain.Line(err.Error(), errorMost), hard(err)
		a.Unsent = scarce(err) || wire.lacks.Load() || !a.Hard && trackingFull()
	}
	return a
}

// hard reports whether an error is the network's word that a host cannot be
// reached.
func hard(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH)
}

// Receive implements Conn.
func (c *checks) Receive() (Answer, error) {
	select {
	case a := <-c.answers:
		return a, nil
	case <-c.ctx.Done():
		if err := c.broken.Load(); err != nil {
			return Answer{}, *err
		}
		return Answer{}, net.ErrClosed
	}
}

// Close implements Conn.
func (c *checks) Close() error {
	c.cancel()
	var err error
	if c.icmp != nil {
		err = c.icmp.Close()
	}
	c.running.Wait()
	return err
}

// A wire makes connections that leave and hear by one uplink only, and counts
// what they take.
type wire struct {
	spec  *Spec
	bytes atomic.Int64 // of IP packets, both ways, as far as the kernel tells
	lacks atomic.Bool  // this host could not make a connection; the resolver hides why

	mu      sync.Mutex // guards streams
	streams []*stream
}

// close closes the TCP connections, so that all they took is counted: net/http
// closes its own at some later time.
func (w *wire) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.streams {
		_ = s.Close()
	}
}

// bind binds a socket to the uplink, before it is used.
func (w *wire) bind(_, _ string, c syscall.RawConn) error {
	var err error
	bound := c.Control(func(fd uintptr) {
		// The port is chosen when it connects: of the host's many connections only those to the
		// same place are then in the way, and ports that others have bound by themselves (ip(7)).
		_ = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if !w.spec.Unbound {
			err = sock.Bind(int(fd), w.spec.Index, w.spec.Mark)
		}
	})
	return errors.Join(bound, err)
}

// dial connects by the uplink. Names have been looked up, or are by lookup.
func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if _, notIP := netip.ParseAddr(host); notIP != nil {
		var ips []netip.Addr
		if ips, err = w.resolver().LookupNetIP(ctx, "ip"+w.version(), host); err != nil {
			return nil, err
		}
		address = net.JoinHostPort(ips[0].Unmap().String(), port)
	}
	dialer := net.Dialer{Control: w.bind, KeepAlive: -1}
	switch {
	case w.spec.Unbound:
	case network[:3] == "tcp":
		dialer.LocalAddr = &net.TCPAddr{IP: w.spec.Source.AsSlice()}
	default:
		dialer.LocalAddr = &net.UDPAddr{IP: w.spec.Source.AsSlice()}
	}
	conn, err := dialer.DialContext(ctx, network, address)
	w.lacks.Store(scarce(err))
	if deadline, ok := ctx.Deadline(); ok && err == nil {
		_ = conn.SetDeadline(deadline) // whoever uses it, it ends with the check
	}
	switch c := conn.(type) {
	case *net.TCPConn:
		s := &stream{TCPConn: c, wire: w}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.streams = append(w.streams, s)
		return s, nil
	case *net.UDPConn:
		return &datagrams{UDPConn: c, wire: w}, nil
	}
	return nil, err
}

// version is that of IP, as package net names it.
func (w *wire) version() string {
	if w.spec.isIPv6() {
		return "6"
	}
	return "4"
}

// header is the size of the IP header.
func (w *wire) header() int64 {
	if w.spec.isIPv6() {
		return ipv6Header
	}
	return ipv4Header
}

// resolver looks names up at the lease's servers, or else the system's, by the
// uplink.
func (w *wire) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		sameFamily := func(a netip.Addr) bool {
			return a.Is6() == w.spec.isIPv6() && (a.Is4() || !a.IsLinkLocalUnicast())
		}
		if i := slices.IndexFunc(w.spec.DNS, sameFamily); i >= 0 {
			address = netip.AddrPortFrom(w.spec.DNS[i], 53).String()
		} else if at, err := netip.ParseAddrPort(address); err == nil && at.Addr().IsLoopback() {
			return nil, errors.New("this host's own resolver does not ask by one uplink: " +
				"give an address instead of a name, or take the address by DHCP with its DNS servers")
		}
		return w.dial(ctx, network[:3]+w.version(), address)
	}}
}

// Sizes of the header of UDP, and of TCP with its time stamps.
const (
	udpOverhead = 8
	tcpOverhead = 32
	tcpFarewell = 3 // segments sent and received after the close
)

// A stream is a TCP connection whose segments count when it ends.
type stream struct {
	*net.TCPConn
	wire *wire
	once sync.Once
}

// Close counts and closes.
func (s *stream) Close() error {
	s.once.Do(func() {
		raw, err := s.SyscallConn()
		if err != nil {
			return
		}
		_ = raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			if err == nil {
				segments := int64(info.Segs_in) + int64(info.Segs_out) + tcpFarewell
				data := int64(info.Bytes_sent) + int64(info.Bytes_received)
				s.wire.bytes.Add(segments*(s.wire.header()+tcpOverhead) + data)
			}
		})
	})
	return s.TCPConn.Close()
}

// datagrams is a UDP socket whose datagrams count.
type datagrams struct {
	*net.UDPConn
	wire *wire
}

// Read counts.
func (d *datagrams) Read(b []byte) (int, error) { return d.count(d.UDPConn.Read(b)) }

// Write counts.
func (d *datagrams) Write(b []byte) (int, error) { return d.count(d.UDPConn.Write(b)) }

func (d *datagrams) count(n int, err error) (int, error) {
	if err == nil {
		d.wire.bytes.Add(int64(n) + d.wire.header() + udpOverhead)
	}
	return n, err
}
