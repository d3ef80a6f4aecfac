package dhcp6

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"

	"uplinkd/dhcp"
	"uplinkd/internal/converse"
	"uplinkd/internal/latest"
)

// A Conn carries messages on one interface. Receive is called by one goroutine, the rest by another.
type Conn interface {
	// Send sends to all servers and relays on the link.
	Send(message []byte) error
	// Receive blocks until a message of a server comes, or the Conn is closed or broken.
	Receive(buffer []byte) (int, error)
	// Close ends Receive.
	Close() error
}

// Outside is what clients need of the world.
type Outside struct {
	Store  Store
	Open   func(Spec) (Conn, error)
	Random func() uint32
	DUID   []byte // of this host; empty: made of the MAC
	Log    *slog.Logger
}

// A Client keeps one lease. Its methods may be called from any goroutine.
type Client struct {
	out     Outside
	changed func(Change)
	wishes  *latest.Box[wish]

	// Owned by Run.
	spec    *Spec
	last    *Spec // the one before
	machine *Machine
	conn    Conn
	told    Change
	kept    dhcp.Keeper[Spec, Lease]
	retry   time.Time
}

// A wish is what Set was called with.
type wish struct {
	spec    *Spec
	release bool
}

// New returns a Client that starts nothing. changed is called from Run's goroutine on each change
// and must not block.
func New(out Outside, changed func(Change)) *Client {
	return &Client{
		out: out, changed: changed, wishes: latest.New[wish](), kept: dhcp.Keeper[Spec, Lease]{Store: out.Store},
	}
}

// Set says on what interface to keep a lease from now on. nil means on none: with release the lease is
// given back, without it is forgotten. It does not block. An equal call changes nothing.
func (c *Client) Set(spec *Spec, release bool) { c.wishes.Put(wish{spec, release}) }

type received struct {
	conn    Conn
	message *dhcpv6.Message
	err     error
}

// Run keeps the lease until ctx ends, and returns when the goroutines it started have ended. It does not
// release: a lease outlives the process.
func (c *Client) Run(ctx context.Context) error {
	client := converse.Client[wish, received]{
		Wanted: c.wishes, Adopt: c.adopt, Receive: c.receive, Tick: c.tick, Open: c.reopen, Close: c.close,
		Readers: []converse.Reader[received]{c.messages},
		Settled: c.tell,
		Wake:    c.wake,
	}
	return client.Run(ctx)
}

// messages reads from the Conn. What cannot be parsed is none of ours.
func (c *Client) messages() func() (received, bool, bool) {
	conn, buffer := c.conn, make([]byte, messageMost)
	return func() (r received, use, more bool) {
		n, err := conn.Receive(buffer)
		if err != nil {
			return received{conn: conn, err: err}, true, false
		}
		// The codec copies what it keeps, or may not: the buffer is not used again for it.
		message, err := dhcpv6.MessageFromBytes(slices.Clone(buffer[:n]))
		return received{conn: conn, message: message}, err == nil, true
	}
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
	spec, old := w.spec, c.spec
	if spec != nil && old != nil && c.machine != nil && spec.SuspendedFor > old.SuspendedFor {
		c.send(c.machine.Suspended(time.Now(), spec.SuspendedFor-old.SuspendedFor))
	}
	c.spec = spec
	if old != nil {
		c.last = old
	}
	if spec == nil {
		c.leave(w.release)
		return
	}
	if old == nil || !old.sameBut(spec) {
		c.move(old, spec)
	}
	switch {
	case spec.Duplicate.IsValid() && (old == nil || spec.Duplicate != old.Duplicate):
		c.send(c.machine.Decline(time.Now(), spec.Duplicate))
	case old == nil:
	case spec.ConfirmRequests > old.ConfirmRequests && c.conn != nil:
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

// move goes on with another Spec. A lease in force stays so, and is confirmed when the Conn is open
// again; where only the wish is another, in the same conversation.
func (c *Client) move(old, spec *Spec) {
	wish := Wish{spec.Address, spec.Prefix, spec.PrefixLength}
	if old != nil && c.machine != nil {
		same := *spec
		same.Address, same.Prefix, same.PrefixLength = old.Address, old.Prefix, old.PrefixLength
		if old.sameBut(&same) {
			c.send(c.machine.Wishes(time.Now(), wish))
			return
		}
	}
	c.close()
	c.retry = time.Time{}
	if c.machine == nil {
		c.machine = NewMachine(c.out.Random)
		c.kept.Has(nil)
		c.restore(spec)
	}
	c.machine.Adapt(Identity{DUID: c.duid(spec), IAID: dhcp.IAID(spec.Interface)}, wish)
	if !spec.usable() {
		c.machine.Stop("no carrier, or no address on the link")
	}
}

// duid returns who the client is: this host, or else its interface (RFC 8415 section 11.4).
func (c *Client) duid(spec *Spec) []byte {
	if len(c.out.DUID) > 0 {
		return c.out.DUID
	}
	mac, err := net.ParseMAC(spec.MAC)
	if err != nil {
		mac = spec.LinkLocal.AsSlice()
	}
	return append([]byte{0, 3, 0, 1}, mac...)
}

// restore takes up the lease that an earlier process left, if there is one.
func (c *Client) restore(spec *Spec) {
	lease, err := c.out.Store.Load(*spec)
	if err != nil {
		c.out.Log.Warn("the kept DHCPv6 lease is not used", "uplink", spec.Uplink, "err", err)
	}
	if lease != nil {
		c.machine.Restore(lease)
		c.kept.Has(lease)
	}
}

// keep writes the lease down when it has changed.
func (c *Client) keep(spec *Spec, lease *Lease) {
	if err := c.kept.Keep(spec, lease); err != nil {
		c.out.Log.Error("the DHCPv6 lease cannot be kept; after a restart it has to be asked for anew",
			"uplink", spec.Uplink, "err", err)
	}
}

// reopen opens the Conn where one is needed and missing, and reports whether there is a new one.
func (c *Client) reopen() bool {
	if c.spec == nil || c.machine == nil || c.conn != nil || !c.spec.usable() || time.Now().Before(c.retry) {
		return false
	}
	conn, err := c.out.Open(*c.spec)
	if err != nil {
		if c.retry.IsZero() {
			c.out.Log.Error("no DHCPv6 connection", "uplink", c.spec.Uplink, "interface", c.spec.Interface, "err", err)
		}
		c.machine.Stop(err.Error())
		c.retry = time.Now().Add(converse.ReopenAfter)
		return false
	}
	c.conn, c.retry = conn, time.Time{}
	c.send(c.machine.Start(time.Now()))
	return true
}

func (c *Client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // it holds nothing
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
	messages, err := c.machine.Receive(time.Now(), r.message)
	if err != nil {
		c.out.Log.Warn("DHCPv6 message not taken", "uplink", c.spec.Uplink, "err", err)
	}
	c.send(messages)
}

// send sends. What fails is as if lost on the way: the machine repeats it.
func (c *Client) send(messages []*dhcpv6.Message) {
	for _, m := range messages {
		if c.conn == nil {
			return
		}
		if err := c.conn.Send(m.ToBytes()); err != nil {
			c.out.Log.Warn("DHCPv6 message not sent", "type", m.MessageType.String(), "err", err)
		}
	}
}

// tell reports what has changed since it was last told.
func (c *Client) tell() {
	now := Change{State: Off, Reason: "not needed"}
	if c.machine != nil {
		now.State, now.Reason = c.machine.State()
		now.Lease, now.Confirmed = c.machine.Lease(), c.machine.Confirmed()
	}
	if now == c.told {
		return
	}
	if c.machine != nil && c.spec != nil {
		c.keep(c.spec, now.Lease)
		if now.State != c.told.State {
			c.out.Log.Info("DHCPv6 state", "uplink", c.spec.Uplink, "from", c.told.State.String(),
				"to", now.State.String(), "reason", now.Reason)
		}
	}
	c.told = now
	c.changed(now)
}
