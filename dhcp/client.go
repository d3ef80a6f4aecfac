package dhcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/internal/latest"
)

// A Spec says on what interface a lease is to be kept.
type Spec struct {
	Uplink    string // for logs
	Interface string
	Index     int
	MAC       string // of the interface
	Carrier   bool   // without it nothing is sent, and the lease runs on
	Mark      uint32 // the uplink's fwmark, so that renewals take its table
	Options   Options
	Router    bool  // ask for the router and tell it
	Check     Check // of an address before it is used

	// Doubts counts the reasons there have been to doubt the lease though it is
	// in force: nothing answers over it, or a person asks. Each further one makes
	// the client ask, the first the server that gave it, the second any server,
	// from the third on for a lease as if it had none. Whatever comes of it, a
	// lease in force stays in force until it ends or is refused.
	Doubts int

	// Slept is how long the machine has been suspended in all. The clock that
	// leases are counted by stands still meanwhile, the lease does not.
	Slept time.Duration
}

// sameBut reports whether nothing differs but what has happened to the lease, and
// the name.
func (s *Spec) sameBut(other *Spec) bool {
	without := *s
	without.Doubts, without.Slept, without.Uplink = other.Doubts, other.Slept, other.Uplink
	return without == *other
}

// A Conn carries messages and ARP on one interface. Receive is called by one
// goroutine, ReceiveARP by another, the rest by a third.
type Conn interface {
	// Broadcast sends to all servers on the link, from 0.0.0.0 when from is not valid.
	Broadcast(message []byte, from netip.Addr) error
	// Unicast sends to a server, by this interface whatever the routing says.
	Unicast(message []byte, from, to netip.Addr) error
	// Receive blocks until a message comes, or the Conn is closed or broken.
	Receive(buffer []byte) (int, error)
	// SendARP sends to all on the link.
	SendARP(ARP) error
	// Watch says which address ReceiveARP is to be about; not valid: none.
	Watch(netip.Addr) error
	// ReceiveARP blocks until another host claims the address that is watched, or
	// probes for it, or the Conn is closed or broken.
	ReceiveARP() (ARP, error)
	// Close ends Receive and ReceiveARP.
	Close() error
}

// Opener opens the Conn of a Spec. It also takes UDP port 68 of the interface,
// lest the kernel answer a server's unicast with "port unreachable".
type Opener func(Spec) (Conn, error)

// A Change is what is new about the lease or the client's state.
type Change struct {
	State  State
	Reason string
	Lease  *Lease // nil: none is in force

	// Confirmed is whether a server has given or confirmed the lease to this
	// process. One that an earlier process left is not, until then.
	Confirmed bool

	// Conflict is another host that claims the lease's address; zero: none does.
	Conflict Conflict
}

// reopenAfter is the pause after a Conn could not be opened or broke.
const reopenAfter = time.Second

// A Client keeps one lease. Its methods may be called from any goroutine.
type Client struct {
	out     Outside
	changed func(Change)

	wishes *latest.Box[wish]

	// Owned by Run.
	current *Spec
	last    *Spec  // the one before
	uplink  string // the last one's
	machine *Machine
	conn    Conn
	watched netip.Addr // by conn
	told    Change
	moved   bool   // the link may be another than when the lease was last confirmed
	kept    *Lease // what the store has
	keepErr string
	retry   time.Time // when to try to open again
}

// A wish is what Set was called with.
type wish struct {
	spec    *Spec
	release bool
}

// Outside is what clients need of the world.
type Outside struct {
	Store  Store // where leases are kept
	Open   Opener
	Random func() uint32
	DUID   []byte // of this host; empty: made of the MAC
	Log    *slog.Logger
}

// New returns a Client that starts nothing. changed is called from Run's
// goroutine on each change and must not block.
func New(out Outside, changed func(Change)) *Client {
	return &Client{out: out, changed: changed, wishes: latest.New[wish]()}
}

// Set says on what interface to keep a lease from now on. nil means on none:
// with release the lease is given back, without it is forgotten. It does not
// block. An equal call changes nothing.
func (c *Client) Set(spec *Spec, release bool) { c.wishes.Put(wish{spec, release}) }

type received struct {
	conn    Conn
	message *dhcpv4.DHCPv4 // or else arp
	arp     ARP
	err     error
}

// Run keeps the lease until ctx ends, and returns when the goroutines it
// started have ended. It does not release: a lease outlives the process.
func (c *Client) Run(ctx context.Context) error {
	messages := make(chan received, 16)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer func() { c.close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wishes.Ready():
			if w, ok := c.wishes.Take(); ok {
				c.adopt(w.spec, w.release)
			}
		case r := <-messages:
			c.receive(r)
		case <-timer.C:
			if c.machine != nil {
				c.send(c.machine.Tick(time.Now()))
			}
		}
		if conn := c.reopen(); conn != nil {
			readers.Go(func() { pump(ctx, conn, messages) })
			readers.Go(func() { pumpARP(ctx, conn, messages) })
		}
		c.watch()
		c.tell()
		timer.Reset(c.untilWake())
	}
}

func pump(ctx context.Context, conn Conn, to chan<- received) {
	buffer := make([]byte, messageMost)
	for {
		n, err := conn.Receive(buffer)
		r := received{conn: conn, err: err}
		if err == nil {
			// What cannot be parsed is none of ours; the codec copies what it keeps.
			if r.message, err = dhcpv4.FromBytes(buffer[:n]); err != nil {
				continue
			}
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return
		}
		if r.err != nil {
			return
		}
	}
}

// claimPause bounds what a flood of claims can make us do.
const claimPause = 10 * time.Millisecond

func pumpARP(ctx context.Context, conn Conn, to chan<- received) {
	for {
		a, err := conn.ReceiveARP()
		select {
		case to <- received{conn: conn, arp: a, err: err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
		time.Sleep(claimPause)
	}
}

func (c *Client) untilWake() time.Duration {
	next := time.Time{}
	if c.machine != nil {
		next = c.machine.Wake()
	}
	if !c.retry.IsZero() && (next.IsZero() || c.retry.Before(next)) {
		next = c.retry
	}
	if next.IsZero() {
		return time.Hour
	}
	return time.Until(next)
}

// adopt takes the newest Spec over.
func (c *Client) adopt(spec *Spec, release bool) {
	old := c.current
	if spec != nil && old != nil && c.machine != nil && spec.Slept > old.Slept {
		c.send(c.machine.Slept(time.Now(), spec.Slept-old.Slept))
	}
	c.current = spec
	if old != nil {
		c.last = old
	}
	switch {
	case spec == nil:
		c.leave(release)
	case old == nil || !old.sameBut(spec):
		c.move(spec)
	case spec.Doubts > old.Doubts && c.machine != nil && c.conn != nil:
		c.send(c.machine.Doubt(time.Now(), spec.Doubts))
	}
}

func (c *Client) leave(release bool) {
	c.retry = time.Time{}
	if c.machine == nil {
		return
	}
	if release {
		c.send(c.machine.Release(time.Now()))
		c.keep(c.last, nil)
	}
	c.close()
	c.machine = nil
}

// move goes on with another Spec. Whatever has changed, a lease in force stays
// so, and is confirmed when the Conn is open again.
func (c *Client) move(spec *Spec) {
	c.close()
	c.retry = time.Time{}
	mac, err := net.ParseMAC(spec.MAC)
	if err != nil || len(mac) != 6 {
		c.out.Log.Error("no DHCP on an interface without an Ethernet address",
			"uplink", c.name(), "interface", spec.Interface)
		c.machine = nil
		return
	}
	was := c.last
	c.moved = c.moved || was == nil || !was.Carrier || !spec.Carrier || was.Index != spec.Index || was.MAC != spec.MAC
	identity := Identity{MAC: mac, IAID: iaid(spec.Interface), DUID: c.out.DUID, Options: spec.Options}
	if c.machine == nil {
		c.machine, c.kept = NewMachine(c.out.Random), nil
		c.restore(spec)
	}
	c.machine.Adapt(identity, spec.Router, spec.Check)
	if !spec.Carrier {
		c.machine.Stop("no carrier")
	}
}

// restore takes up the lease that an earlier process left, if there is one.
func (c *Client) restore(spec *Spec) {
	lease, err := c.out.Store.Load(*spec)
	if err != nil {
		c.out.Log.Warn("the kept lease is not used", "uplink", c.name(), "err", err)
	}
	if lease != nil {
		c.machine.Restore(lease)
		c.kept = lease
	}
}

// keep writes the lease down when it has changed. One that ended with the
// interface's absence or a new configuration is not forgotten: it is confirmed
// or refused when there is a server to ask.
func (c *Client) keep(spec *Spec, lease *Lease) {
	if spec == nil || lease == c.kept {
		return
	}
	err := c.out.Store.Save(*spec, lease)
	if err == nil {
		c.kept = lease
	} else {
		// Rather none than an old one, which would be taken up after a restart.
		err = errors.Join(err, c.out.Store.Save(*spec, nil))
	}
	if err != nil && c.keepErr == "" {
		c.out.Log.Error("the lease cannot be kept; after a restart it has to be asked for anew",
			"uplink", c.name(), "err", err)
	}
	c.keepErr = ""
	if err != nil {
		c.keepErr = err.Error()
	}
}

// reopen opens the Conn where one is needed and missing, and returns a new one.
func (c *Client) reopen() Conn {
	if c.current == nil || c.machine == nil || c.conn != nil || !c.current.Carrier {
		return nil
	}
	if time.Now().Before(c.retry) {
		return nil
	}
	conn, err := c.out.Open(*c.current)
	if err != nil {
		if c.retry.IsZero() {
			c.out.Log.Error("no DHCP connection", "uplink", c.name(), "interface", c.current.Interface, "err", err)
		}
		c.machine.Stop(err.Error())
		c.retry = time.Now().Add(reopenAfter)
		return nil
	}
	c.conn, c.watched, c.retry = conn, netip.Addr{}, time.Time{}
	c.send(c.machine.Start(time.Now(), c.moved))
	c.moved = false
	return conn
}

func (c *Client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *Client) receive(r received) {
	if r.conn != c.conn || c.machine == nil {
		return
	}
	if r.err != nil {
		c.close()
		c.machine.Stop(r.err.Error())
		c.retry = time.Now().Add(reopenAfter)
		return
	}
	if r.message == nil {
		actions, err := c.machine.ReceiveARP(time.Now(), r.arp)
		if err != nil {
			c.out.Log.Warn("address conflict", "uplink", c.name(), "err", err)
		}
		c.send(actions)
		return
	}
	actions, err := c.machine.Receive(time.Now(), r.message)
	if err != nil {
		c.out.Log.Warn("DHCP message not taken", "uplink", c.name(), "err", err)
	}
	c.send(actions)
}

// watch has the Conn listen for ARP about the address that matters now.
func (c *Client) watch() {
	if c.conn == nil || c.machine == nil || c.machine.Watches() == c.watched {
		return
	}
	c.watched = c.machine.Watches()
	if err := c.conn.Watch(c.watched); err != nil {
		c.out.Log.Warn("conflicts over the address cannot be seen",
			"uplink", c.name(), "address", c.watched, "err", err)
	}
}

// send sends. What fails is as if lost on the way: the machine repeats it.
func (c *Client) send(actions []Action) {
	c.watch() // before the question, lest the answer go unheard
	for _, a := range actions {
		if c.conn == nil {
			return
		}
		if what, err := transmit(c.conn, a); err != nil {
			c.out.Log.Warn("DHCP message not sent", "uplink", c.name(), "type", what, "err", err)
		}
	}
}

// transmit carries one action out, and names what it sent.
func transmit(conn Conn, a Action) (string, error) {
	switch {
	case a.ARP != nil:
		return "ARP", conn.SendARP(*a.ARP)
	case a.To.IsValid():
		return a.Message.MessageType().String(), conn.Unicast(a.Message.ToBytes(), a.From, a.To)
	}
	return a.Message.MessageType().String(), conn.Broadcast(a.Message.ToBytes(), a.From)
}

// tell reports what has changed since it was last told.
func (c *Client) tell() {
	now := Change{State: Off, Reason: "not needed"}
	if c.machine != nil {
		now.State, now.Reason = c.machine.State()
		now.Lease, now.Confirmed = c.machine.Lease(), c.machine.Confirmed()
		now.Conflict = c.machine.Conflict()
	}
	if now == c.told {
		return
	}
	if c.machine != nil {
		c.keep(c.current, now.Lease)
	}
	if now.State != c.told.State {
		c.out.Log.Info("DHCP state", "uplink", c.name(), "from", c.told.State.String(), "to", now.State.String(),
			"reason", now.Reason, "address", addressOf(now.Lease))
	}
	c.told = now
	c.changed(now)
}

// name is the uplink's, for logs.
func (c *Client) name() string {
	if c.current != nil {
		c.uplink = c.current.Uplink
	}
	return c.uplink
}

func addressOf(l *Lease) string {
	if l == nil {
		return ""
	}
	return fmt.Sprint(l.Prefix)
}
