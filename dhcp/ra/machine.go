package ra

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

// Solicitation (RFC 7559): the first pause, which doubles up to the last, each longer or
// shorter by up to a tenth. It never ends while no router is there.
const (
	firstPause = 4 * time.Second
	mostPause  = time.Hour
)

// silentAfter is how long routers have to answer before this link is taken to have none that
// says anything.
const silentAfter = 5 * time.Second

// Bounds on what is kept: whoever is on the link may say anything.
const (
	routersMost  = 8
	prefixesMost = 16
	serversMost  = 6
)

// A Prefix is a /64 that this host makes itself an address of.
type Prefix struct {
	Prefix    netip.Prefix
	OnLink    bool      // its addresses are on the link itself
	Preferred time.Time // zero: never ends
	Valid     time.Time // zero: never ends
}

// A Change is what the routers say by now.
type Change struct {
	Heard    bool       // one has been heard since the link came up
	Silent   bool       // none has answered for 5 s
	Reason   string     // how it stands, for people
	Router   netip.Addr // the next hop; not valid: none
	Prefixes []Prefix   // those that are valid
	DNS      []netip.Addr
	MTU      int  // bytes; 0: not told
	Managed  bool // addresses are to be had by DHCPv6
}

// A router is one that has advertised itself.
type router struct {
	address    netip.Addr
	preference int       // -1 low, 0 medium, 1 high (RFC 4191 section 2.1)
	until      time.Time // zero: it is none (any more)
	stale      bool      // it has said nothing since the link came up
}

// A server is a DNS server, and until when it is one (RFC 8106).
type server struct {
	address netip.Addr
	until   time.Time // zero: for good
}

// A Machine is what is known of a link's routers. It is pure: what it says follows from what it is
// given, the time included. Its zero value has heard nothing, and is not started.
type Machine struct {
	// Only is the one router that is read; not valid: all are.
	Only netip.Addr

	random  func() uint32
	started time.Time // zero: it is stopped
	heard   bool
	silent  bool      // nobody has answered for silentAfter
	asks    int       // solicitations since there was a router
	ask     time.Time // when to solicit next; zero: not
	routers []router  // in the order they were first heard
	used    netip.Addr
	last    string // of the router that was lost
	list    []network
	servers []server
	mtu     int
	managed bool
}

// NewMachine returns a Machine. random gives numbers for the pauses.
func NewMachine(random func() uint32) *Machine { return &Machine{random: random} }

// Start begins to solicit on a link that is up. Routers may be others than before: what they said
// stays until they are heard anew, or its time is over.
func (m *Machine) Start(now time.Time) {
	m.started, m.asks, m.ask, m.heard, m.silent = now, 0, now, false, false
	for i := range m.routers {
		m.routers[i].stale = true
	}
}

// Suspended says that the machine was suspended for d: all ends are that much nearer.
func (m *Machine) Suspended(d time.Duration) {
	sooner := func(t *time.Time) {
		if !t.IsZero() {
			*t = t.Add(-d)
		}
	}
	for i := range m.routers {
		sooner(&m.routers[i].until)
	}
	for i := range m.list {
		sooner(&m.list[i].Valid)
		sooner(&m.list[i].Preferred)
	}
	for i := range m.servers {
		sooner(&m.servers[i].until)
	}
}

// Stop ends soliciting, as on a link that is down.
func (m *Machine) Stop() { m.started, m.ask = time.Time{}, time.Time{} }

// Wake returns when Tick is to be called; zero: never.
func (m *Machine) Wake() time.Time {
	wake := m.ask
	sooner := func(t time.Time) {
		if !t.IsZero() && (wake.IsZero() || t.Before(wake)) {
			wake = t
		}
	}
	if !m.started.IsZero() && !m.heard && !m.silent {
		sooner(m.started.Add(silentAfter))
	}
	for _, r := range m.routers {
		sooner(r.until)
	}
	for _, p := range m.list {
		sooner(p.Valid)
	}
	for _, s := range m.servers {
		sooner(s.until)
	}
	return wake
}

// Tick lets time pass, and reports whether a solicitation is to be sent.
func (m *Machine) Tick(now time.Time) (solicit bool) {
	over := func(until time.Time) bool { return !until.IsZero() && !now.Before(until) }
	for i := range m.routers {
		if r := &m.routers[i]; over(r.until) {
			r.until = time.Time{}
			m.lose(now, r.address, "has said nothing for as long as it was to be one")
		}
	}
	m.routers = slices.DeleteFunc(m.routers, func(r router) bool { return r.until.IsZero() })
	m.choose()
	m.retire(now)
	m.list = slices.DeleteFunc(m.list, func(p network) bool { return over(p.Valid) })
	m.servers = slices.DeleteFunc(m.servers, func(s server) bool { return over(s.until) })
	m.silent = !m.heard && !m.started.IsZero() && now.Sub(m.started) >= silentAfter
	if m.ask.IsZero() || now.Before(m.ask) {
		return false
	}
	pause := min(firstPause<<min(m.asks, 10), mostPause)
	tenth := pause / 10
	m.asks++
	m.ask = now.Add(pause - tenth + time.Duration(m.random()%2001)*tenth/1000)
	return true
}

// Retry has the next solicitation made sooner: the last one could not be sent.
func (m *Machine) Retry(at time.Time) {
	if !m.ask.IsZero() {
		m.ask, m.asks = at, 0
	}
}

// lose notes that a router is one no longer.
func (m *Machine) lose(now time.Time, address netip.Addr, why string) {
	if address == m.used {
		m.used = netip.Addr{}
	}
	m.last = fmt.Sprintf("the router %s %s", address, why)
	for i := range m.list {
		m.list[i].gone = m.list[i].gone || m.list[i].router == address
	}
	others := slices.ContainsFunc(m.routers, func(r router) bool { return r.address != address && !r.until.IsZero() })
	if !others && !m.started.IsZero() {
		m.asks, m.ask = 0, now // it may be back (RFC 7559 section 2.1)
	}
}

// Receive takes an advertisement in. One that is not valid (RFC 4861 section 6.1.2), or of a router
// that is not to be read, changes nothing.
func (m *Machine) Receive(now time.Time, from netip.Addr, hopLimit int, a *ndp.RouterAdvertisement) {
	from = from.WithZone("")
	if m.started.IsZero() || hopLimit != 255 || !from.IsLinkLocalUnicast() || m.Only.IsValid() && from != m.Only {
		return
	}
	m.heard = true
	m.managed = a.ManagedConfiguration
	m.receiveRouter(now, from, a)
	named := map[netip.Prefix]bool{}
	for _, option := range a.Options {
		switch o := option.(type) {
		case *ndp.PrefixInformation:
			if prefix, ok := m.receivePrefix(now, from, o); ok {
				named[prefix] = true
			}
		case *ndp.RecursiveDNSServer:
			m.receiveServers(now, o)
		case *ndp.MTU:
			m.mtu = mtuOf(o.MTU)
		}
	}
	m.miss(now, from, named)
	m.choose()
	m.retire(now)
}

// Bounds on an MTU (RFC 8200 section 5; and Ethernet's): what is beyond them says nothing.
const (
	mtuLeast = 1280
	mtuMost  = 1500
)

func mtuOf(n uint32) int {
	if n < mtuLeast || n > mtuMost {
		return 0
	}
	return int(n)
}

var preferences = map[ndp.Preference]int{ndp.Low: -1, ndp.Medium: 0, ndp.High: 1}

func (m *Machine) receiveRouter(now time.Time, from netip.Addr, a *ndp.RouterAdvertisement) {
	i := slices.IndexFunc(m.routers, func(r router) bool { return r.address == from })
	if a.RouterLifetime <= 0 {
		if i >= 0 {
			m.routers = slices.Delete(m.routers, i, i+1)
			m.lose(now, from, "has withdrawn itself")
		}
		return
	}
	if i < 0 {
		if len(m.routers) == routersMost {
			return
		}
		i = len(m.routers)
		m.routers = append(m.routers, router{address: from})
	}
	m.routers[i].preference = preferences[a.RouterSelectionPreference] // a reserved one is medium
	m.routers[i].until, m.routers[i].stale = now.Add(a.RouterLifetime), false
	m.ask = time.Time{}
}

// choose settles on a router: the most preferred, of these the one in use, or else the first that
// was heard.
func (m *Machine) choose() {
	better := func(a, b router) bool {
		if a.stale != b.stale {
			return b.stale
		}
		return a.preference > b.preference || a.preference == b.preference && a.address == m.used
	}
	best := -1
	for i, r := range m.routers {
		if best < 0 || better(r, m.routers[best]) {
			best = i
		}
	}
	if best >= 0 {
		m.used = m.routers[best].address
	}
}

func (m *Machine) receiveServers(now time.Time, o *ndp.RecursiveDNSServer) {
	for _, address := range o.Servers {
		i := slices.IndexFunc(m.servers, func(s server) bool { return s.address == address })
		switch {
		case o.Lifetime == 0 && i >= 0:
			m.servers = slices.Delete(m.servers, i, i+1)
		case o.Lifetime == 0:
		case i >= 0:
			m.servers[i].until = endOf(now, o.Lifetime)
		case len(m.servers) < serversMost && (address.IsGlobalUnicast() || address.IsLinkLocalUnicast()):
			m.servers = append(m.servers, server{address, endOf(now, o.Lifetime)})
		}
	}
}

// Change returns what the routers say by now.
func (m *Machine) Change() Change {
	c := Change{
		Heard: m.heard, Router: m.used, MTU: m.mtu, Managed: m.managed,
		Silent: m.silent && !m.heard,
	}
	for _, n := range m.list {
		c.Prefixes = append(c.Prefixes, n.Prefix)
	}
	for _, s := range m.servers {
		c.DNS = append(c.DNS, s.address)
	}
	switch {
	case m.used.IsValid():
		c.Reason = fmt.Sprintf("the router is %s", m.used)
	case m.last != "":
		c.Reason = m.last
	case m.started.IsZero():
		c.Reason = "no carrier"
	case m.heard:
		c.Reason = "who advertises here is no router"
	case c.Silent:
		c.Reason = "no router answers"
	default:
		c.Reason = "routers are asked for"
	}
	return c
}
