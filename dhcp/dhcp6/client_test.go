package dhcp6_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"uplinkd/dhcp/dhcp6"
	"uplinkd/internal/bubble"
)

// A fakeServer answers what a client sends on the Conns that it opens.
type fakeServer struct {
	mu     sync.Mutex
	sent   []dhcpv6.MessageType
	silent bool
}

type fakeConn struct {
	server  *fakeServer
	answers chan []byte
	gone    chan struct{}
	goneNow sync.Once
}

func (s *fakeServer) open(dhcp6.Spec) (dhcp6.Conn, error) {
	return &fakeConn{server: s, answers: make(chan []byte, 8), gone: make(chan struct{})}, nil
}

func (c *fakeConn) Send(b []byte) error {
	m, err := dhcpv6.MessageFromBytes(b)
	if err != nil {
		return err
	}
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.sent = append(c.server.sent, m.MessageType)
	switch {
	case c.server.silent || m.MessageType == dhcpv6.MessageTypeRelease:
	case m.MessageType == dhcpv6.MessageTypeSolicit:
		c.answers <- offer.to(m).ToBytes()
	default:
		c.answers <- given.to(m).ToBytes()
	}
	return nil
}

func (c *fakeConn) Receive(b []byte) (int, error) {
	select {
	case a := <-c.answers:
		return copy(b, a), nil
	case <-c.gone:
		return 0, errors.New("gone")
	}
}

func (c *fakeConn) Close() error {
	c.goneNow.Do(func() { close(c.gone) })
	return nil
}

// silence has it answer nothing from now on.
func (s *fakeServer) silence() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = true
}

func (s *fakeServer) takeSent() []dhcpv6.MessageType {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.sent
	s.sent = nil
	return sent
}

// A process is one life of a client.
type process struct {
	client *dhcp6.Client
	last   dhcp6.Change
	end    func()
}

func (p *process) told() dhcp6.Change {
	synctest.Wait()
	return p.last
}

func (p *process) set(spec dhcp6.Spec) { p.client.Set(&spec, false) }

func live(t *testing.T, s *fakeServer, dir string, spec dhcp6.Spec) *process {
	t.Helper()
	p := &process{}
	p.client = dhcp6.New(dhcp6.Outside{
		Store: dhcp6.Files{Dir: dir, Clock: clock{}}, Open: s.open, Random: func() uint32 { return 1000 },
		DUID: identity.DUID, Log: slog.New(slog.DiscardHandler),
	}, func(c dhcp6.Change) { p.last = c })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.client.Run(ctx) }()
	p.end = func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	p.set(spec)
	return p
}

// wholeSpec asks for an address and a prefix.
var wholeSpec = dhcp6.Spec{
	Uplink: "a", Interface: "eth1", Index: 2, MAC: "02:00:00:00:00:01", LinkLocal: netip.MustParseAddr("fe80::5"),
	Carrier: true, Address: true, Prefix: true,
}

// A lease outlives the process: the next one has it at once and asks whether it is still in force. Released, it is
// given back, and nothing is kept.
func TestClientOutlivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	bubble.Test(t, func(t *testing.T) {
		s := &fakeServer{}
		spec := wholeSpec
		p := live(t, s, dir, spec)
		time.Sleep(5 * time.Second)
		if c := p.told(); c.State != dhcp6.Bound || c.Lease == nil || !c.Confirmed {
			t.Fatalf("after 5 s it tells %+v", c)
		}
		p.end()
		if sent := s.takeSent(); len(sent) != 2 {
			t.Errorf("for a lease it has sent %v", sent)
		}
		s.silence()
		p = live(t, s, dir, spec)
		time.Sleep(time.Second)
		if c := p.told(); c.Lease == nil || c.Confirmed {
			t.Errorf("started again beside a silent server, it tells %+v", c)
		}
		p.client.Set(nil, true)
		synctest.Wait()
		p.end()
		if sent := s.takeSent(); len(sent) == 0 || sent[0] != dhcpv6.MessageTypeRebind || sent[len(sent)-1] != dhcpv6.MessageTypeRelease {
			t.Errorf("started again and released, it has sent %v", sent)
		}
		if left, err := (dhcp6.Files{Dir: dir, Clock: clock{}}).Load(spec); left != nil || err != nil {
			t.Errorf("released, and still kept: %+v, %v", left, err)
		}
	})
}

// That another host has the address is heard also when the link changes in the same moment: it was forgotten then,
// and the address asked for again and again.
func TestClientDeclinesWhileItMoves(t *testing.T) {
	dir := t.TempDir()
	bubble.Test(t, func(t *testing.T) {
		s := &fakeServer{}
		spec := wholeSpec
		p := live(t, s, dir, spec)
		defer p.end()
		time.Sleep(5 * time.Second)
		s.silence()
		spec.Duplicate, spec.Index = address, 3
		p.set(spec)
		if c := p.told(); c.Lease == nil || len(c.Lease.Addresses) != 0 || len(c.Lease.Prefixes) != 1 {
			t.Errorf("it has %+v, want the prefix alone", c.Lease)
		}
	})
}

// The link has no address yet: nothing is sent, and the lease runs on.
func TestClientWaitsForItsAddress(t *testing.T) {
	dir := t.TempDir()
	bubble.Test(t, func(t *testing.T) {
		s := &fakeServer{}
		spec := dhcp6.Spec{Uplink: "a", Interface: "eth1", Index: 2, MAC: "02:00:00:00:00:01", Carrier: true, Prefix: true}
		p := live(t, s, dir, spec)
		defer p.end()
		time.Sleep(time.Minute)
		if sent := s.takeSent(); len(sent) != 0 || p.told().State != dhcp6.Off {
			t.Errorf("without an address on the link it has sent %v and tells %+v", sent, p.told())
		}
		spec.LinkLocal = netip.MustParseAddr("fe80::5")
		p.set(spec)
		time.Sleep(5 * time.Second)
		if c := p.told(); c.State != dhcp6.Bound {
			t.Errorf("with one it tells %+v", c)
		}
		spec.Carrier = false
		p.set(spec)
		if c := p.told(); c.Lease == nil {
			t.Error("without a carrier it has no lease")
		}
	})
}
