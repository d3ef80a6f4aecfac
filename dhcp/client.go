package dhcp

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/internal/converse"
	"uplinkd/internal/latest"
)

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
	moved   bool // the link may be another than when the lease was last confirmed
	kept    Keeper[Spec, Lease]
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
	return &Client{
		out: out, changed: changed, wishes: latest.New[wish](), kept: Keeper[Spec, Lease]{Store: out.Store},
	}
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
	client := converse.Client[wish, received]{
		Wanted: c.wishes, Adopt: c.adopt, Receive: c.receive, Tick: c.tick, Open: c.reopen, Close: c.close,
		Readers: []converse.Reader[received]{c.messages, c.claims},
		Settled: func() { c.watch(); c.tell() },
		Wake:    c.wake,
	}
	return client.Run(ctx)
}

func (c *Client) tick() {
	if c.machine != nil {
		c.send(c.machine.Tick(time.Now()))
	}
}

func (c *Client) wake() time.Time {
	if c.machine == nil {
		return c.retry
	}
	return converse.Sooner(c.retry, c.machine.Wake())
}

// adopt takes the newest Spec over.
func (c *Client) adopt(w wish) {
	spec, old := w.spec, c.current
	if spec != nil && old != nil && c.machine != nil && spec.SuspendedFor > old.SuspendedFor {
		c.send(c.machine.Suspended(time.Now(), spec.SuspendedFor-old.SuspendedFor))
	}
	c.current = spec
	if old != nil {
		c.last = old
	}
	switch {
	case spec == nil:
		c.leave(w.release)
	case old == nil || !old.sameBut(spec):
		c.move(spec)
	case spec.ConfirmRequests > old.ConfirmRequests && c.machine != nil && c.conn != nil:
		c.send(c.machine.Confirm(time.Now(), spec.ConfirmRequests))
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
	identity := Identity{MAC: mac, IAID: IAID(spec.Interface), DUID: c.out.DUID, Options: spec.Options}
	if c.machine == nil {
		c.machine = NewMachine(c.out.Random)
		c.kept.Has(nil)
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
		c.kept.Has(lease)
	}
}

// keep writes the lease down when it has changed. One that ended with the
// interface's absence or a new configuration is not forgotten: it is confirmed
// or refused when there is a server to ask.
func (c *Client) keep(spec *Spec, lease *Lease) {
	if err := c.kept.Keep(spec, lease); err != nil {
		c.out.Log.Error("the lease cannot be kept; after a restart it has to be asked for anew",
			"uplink", c.name(), "err", err)
	}
}

// reopen opens the Conn where one is needed and missing, and reports whether there is a new one.
func (c *Client) reopen() bool {
	if c.current == nil || c.machine == nil || c.conn != nil || !c.current.Carrier {
		return false
	}
	if time.Now().Before(c.retry) {
		return false
	}
	conn, err := c.out.Open(*c.current)
	if err != nil {
		if c.retry.IsZero() {
			c.out.Log.Error("no DHCP connection", "uplink", c.name(), "interface", c.current.Interface, "err", err)
		}
		c.machine.Stop(err.Error())
		c.retry = time.Now().Add(converse.ReopenAfter)
		return false
	}
	c.conn, c.watched, c.retry = conn, netip.Addr{}, time.Time{}
	c.send(c.machine.Start(time.Now(), c.moved))
	c.moved = false
	return true
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
		c.retry = time.Now().Add(converse.ReopenAfter)
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
