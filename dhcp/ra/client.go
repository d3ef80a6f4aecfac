package ra

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"

	"uplinkd/internal/converse"
	"uplinkd/internal/latest"
)

// A Spec says on what interface routers are to be heard.
type Spec struct {
	Uplink    string // for logs
	Interface string
	Index     int
	MAC       string
	Carrier   bool       // without it nothing is sent
	Only      netip.Addr // the one router that is read; not valid: all are

	// SuspendedFor is how long the machine has been suspended in all: the link may be another.
	SuspendedFor time.Duration
}

// A Received is an advertisement as it came in.
type Received struct {
	From     netip.Addr
	HopLimit int
	Message  []byte // of ICMPv6
}

// A Conn sends and hears on one interface. Receive is called by one goroutine, the rest by another.
type Conn interface {
	// Solicit sends a router solicitation to all routers (RFC 4861 section 4.1).
	Solicit(message []byte) error
	// Receive blocks until an advertisement comes, or the Conn is closed or broken. What it
	// returns is good until it is called again.
	Receive() (Received, error)
	// Close ends Receive.
	Close() error
}

// Outside is what clients need of the world.
type Outside struct {
	Open   func(Spec) (Conn, error)
	Random func() uint32
	Log    *slog.Logger
}

const (
	// resendAfter is the pause after a solicitation could not be sent: an interface that has just
	// come up has no address to send from for a second.
	resendAfter = 200 * time.Millisecond
	// tellEvery bounds how often changes are told: whoever is on the link may send thousands of
	// advertisements a second, each another.
	tellEvery = 100 * time.Millisecond
)

// A Client hears the routers of one link. Its methods may be called from any goroutine.
type Client struct {
	out     Outside
	changed func(Change)
	specs   *latest.Box[*Spec]

	// Owned by Run.
	spec    *Spec
	machine *Machine
	conn    Conn
	told    Change
	tellAt  time.Time // not before
	untold  bool
	retry   time.Time // when to try to open again
}

// New returns a Client that starts nothing. changed is called from Run's goroutine on each change
// and must not block.
func New(out Outside, changed func(Change)) *Client {
	return &Client{out: out, changed: changed, specs: latest.New[*Spec]()}
}

// Set says where routers are to be heard from now on; nil: nowhere. It does not block. An equal
// call changes nothing.
func (c *Client) Set(spec *Spec) { c.specs.Put(spec) }

type received struct {
	conn    Conn
	from    netip.Addr
	hops    int
	message *ndp.RouterAdvertisement
	err     error
}

// Run hears until ctx ends, and returns when the goroutines it started have ended.
func (c *Client) Run(ctx context.Context) error {
	client := converse.Client[*Spec, received]{
		Wanted: c.specs, Adopt: c.adopt, Receive: c.receive, Tick: c.tick, Open: c.reopen, Close: c.close,
		Readers: []converse.Reader[received]{c.messages},
		Settled: c.tell,
		Wake:    c.wake,
	}
	return client.Run(ctx)
}

// messages reads advertisements from the Conn. What cannot be parsed is none.
func (c *Client) messages() func() (received, bool, bool) {
	conn := c.conn
	return func() (r received, use, more bool) {
		in, err := conn.Receive()
		if err != nil {
			return received{conn: conn, err: err}, true, false
		}
		message, err := ndp.ParseMessage(in.Message)
		a, ok := message.(*ndp.RouterAdvertisement)
		return received{conn: conn, from: in.From, hops: in.HopLimit, message: a}, err == nil && ok, true
	}
}

// adopt takes the newest Spec over.
func (c *Client) adopt(spec *Spec) {
	old := c.spec
	c.spec = spec
	if spec == nil {
		c.close()
		c.machine, c.retry = nil, time.Time{}
		return
	}
	if c.machine == nil || old != nil && old.Interface != spec.Interface {
		c.machine = NewMachine(c.out.Random)
	}
	if old != nil && old.Only != spec.Only {
		c.machine = NewMachine(c.out.Random)
	}
	c.machine.Only = spec.Only
	if old != nil && spec.SuspendedFor > old.SuspendedFor {
		c.machine.Suspended(spec.SuspendedFor - old.SuspendedFor)
	}
	if old == nil || *old != *spec {
		c.close()
		c.retry = time.Time{}
	}
	if !spec.Carrier {
		c.machine.Stop()
	}
}

func (c *Client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // it holds nothing
		c.conn = nil
	}
}

// reopen opens the Conn where one is needed and missing, and reports whether there is a new one.
func (c *Client) reopen() bool {
	if c.spec == nil || c.conn != nil || !c.spec.Carrier || time.Now().Before(c.retry) {
		return false
	}
	conn, err := c.out.Open(*c.spec)
	if err != nil {
		if c.retry.IsZero() {
			c.out.Log.Error("routers cannot be heard",
				"uplink", c.spec.Uplink, "interface", c.spec.Interface, "err", err)
		}
		c.retry = time.Now().Add(converse.ReopenAfter)
		return false
	}
	c.conn, c.retry = conn, time.Time{}
	c.machine.Start(time.Now())
	return true
}

func (c *Client) receive(r received) {
	if r.conn != c.conn || c.machine == nil {
		return
	}
	if r.err != nil {
		c.close()
		c.machine.Stop()
		c.retry = time.Now().Add(converse.ReopenAfter)
		return
	}
	c.machine.Receive(time.Now(), r.from, r.hops, r.message)
	c.untold = true
}

// tick does what is due.
func (c *Client) tick() {
	if c.machine == nil {
		return
	}
	now := time.Now()
	wake := c.machine.Wake()
	if wake.IsZero() || now.Before(wake) {
		return
	}
	c.untold = true
	if !c.machine.Tick(now) || c.conn == nil {
		return
	}
	message, err := solicitation(c.spec.MAC)
	if err == nil {
		err = c.conn.Solicit(message)
	}
	if err != nil {
		c.machine.Retry(now.Add(resendAfter))
	}
}

// tell reports what has changed since it was last told.
func (c *Client) tell() {
	now := time.Now()
	if c.machine == nil {
		c.untold = false
		if !c.told.equal(&Change{}, now) {
			c.told = Change{}
			c.changed(c.told)
		}
		return
	}
	if now.Before(c.tellAt) {
		return
	}
	c.untold = false
	next := c.machine.Change()
	if c.told.equal(&next, now) {
		return
	}
	if next.Reason != c.told.Reason {
		c.out.Log.Info("router", "uplink", c.spec.Uplink, "reason", next.Reason)
	}
	c.told, c.tellAt = next, now.Add(tellEvery)
	c.changed(next)
}

func (c *Client) wake() time.Time {
	next := c.retry
	if c.machine != nil {
		next = converse.Sooner(next, c.machine.Wake())
	}
	if c.untold {
		next = converse.Sooner(next, c.tellAt)
	}
	return next
}

// equal reports whether two changes mean the same: times may differ by what does not matter
// for as long as is left of them.
func (c *Change) equal(other *Change, now time.Time) bool {
	return c.Heard == other.Heard && c.Silent == other.Silent && c.Reason == other.Reason && c.Router == other.Router &&
		c.MTU == other.MTU && c.Managed == other.Managed && slices.Equal(c.DNS, other.DNS) &&
		slices.EqualFunc(c.Prefixes, other.Prefixes, func(a, b Prefix) bool {
			return a.Prefix == b.Prefix && a.OnLink == b.OnLink && near(a.Preferred, b.Preferred, now) &&
				near(a.Valid, b.Valid, now)
		})
}

// near reports whether two ends differ by no more than a fortieth of what is left, or a second.
func near(a, b, now time.Time) bool {
	if a.IsZero() || b.IsZero() {
		return a.IsZero() == b.IsZero()
	}
	return b.Sub(a).Abs() <= max(time.Second, min(a.Sub(now), b.Sub(now))/40)
}

// solicitation returns a router solicitation, with the sender's address on the link where it is
// known (RFC 4861 section 4.1).
func solicitation(mac string) ([]byte, error) {
	message := &ndp.RouterSolicitation{}
	if hardware, err := net.ParseMAC(mac); err == nil && len(hardware) == 6 {
		message.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: hardware}}
	}
	return ndp.MarshalMessage(message)
}
