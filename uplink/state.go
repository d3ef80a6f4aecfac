package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/status"
)

// Phase is the state of an uplink as users see it.
type Phase string

// The phases.
const (
	Starting Phase = "starting" // not judged yet
	Up       Phase = "up"       // may carry new connections
	Down     Phase = "down"     // cannot
	Drained  Phase = "drained"  // could, and keeps what it has, by the operator's word
	Disabled Phase = "disabled" // taken out by the operator
)

// startLimit is how long after the start an uplink that says nothing holds the
// rest up: by then what is wanted is taken as whole.
const startLimit = 10 * time.Second

// carrierTime is what an Ethernet link may take from being set up to its
// carrier: negotiation of the speed, spanning tree not counted.
const carrierTime = 4 * time.Second

// A State is all that is known and decided. It is a value; the Engine has the
// one that counts.
type State struct {
	Config  configs.Config
	Started time.Time
	Read    bool // the kernel has been read once
	Settled bool // every uplink has been judged once, or startLimit has passed
	Uplinks []Uplink
	LAN     []routes.Address // what this host has on interfaces that are no uplinks
	Slept   time.Duration    // suspended, in all

	Balanced time.Time   // when the factors were last brought up to date
	series   uint64      // the last one given to a probe
	sets     []policySet // of Config.Policies
}

// An Uplink is what is known and decided of one uplink.
type Uplink struct {
	Config configs.Uplink

	// What was told.
	Link     routes.Link    // zero: no such interface
	MAC      string         // the interface's, kept while it is away
	Present  []netip.Prefix // what the interface has
	Seen     []netip.Prefix // of what it should have: seen on it since the interface appeared
	Read     bool           // the interface has been looked at once
	Rose     time.Time      // when the interface was seen to come up; zero: it was up from the first
	Raised   int            // the index under which the interface was seen up
	Proved   int            // the index under which the uplink was up
	DHCP     dhcp.Change
	Clash    string       // why its lease is not used beside the other uplinks
	Asked    int          // how often the operator has asked for a renewal
	Evidence probe.Change // the last there was; of the present series, or void
	Order    status.Order // the operator's; zero: none
	Sample   Sample

	// What a process before us left in the kernel, until we know better.
	Adopted Adopted

	// What was decided.
	Phase  Phase
	Reason string
	Since  time.Time
	Judged bool // it has been something else than starting
	Doubts int  // how often there was reason to doubt the lease in this phase

	// Verdict is what the probes say, and why. It is on VerdictSeries.
	Verdict       probe.Verdict
	VerdictReason string
	VerdictSeries uint64

	Hold    Hold
	Fell    bool      // it has been up, and then down
	Rising  time.Time // when it came back from its last fall
	Capped  bool      // it has all the connections it may have
	Stalled bool      // connections over it get no answer
	Factor  float64   // of its weight, by the balance
	Weight  int       // in the shared default route

	// Probe is what is probed now; nil: nothing can be. Series names what proves
	// the uplink as it is now, which may be about to be probed; 0: nothing does.
	Probe   *probe.Spec
	Series  uint64
	Began   time.Time // when Series did
	subject subject   // of Series
}

// A subject is what a series of probes proves: these targets, by this interface.
type subject struct {
	index   int
	targets string
}

// Adopted is what was found of ours in the kernel at the start. It keeps
// traffic on the same routes until the uplink has been judged anew.
type Adopted struct {
	Carried bool         // it was in the shared default route
	Prefix  netip.Prefix // its address, of a lease that we know no more of
	Until   time.Time    // when the kernel takes that address away; zero: never
	Gateway netip.Addr   // the next hop in its table
	OnLink  bool
}

// newState returns the state at the start, before anything is known.
func newState(c configs.Config, now time.Time) State {
	s := State{Config: c, Started: now, sets: policySets(c)}
	for _, u := range c.Uplinks {
		s.Uplinks = append(s.Uplinks, newUplink(u, now))
	}
	return s
}

func newUplink(c configs.Uplink, now time.Time) Uplink {
	return Uplink{Config: c, Phase: Starting, Reason: "not judged yet", Since: now, Factor: 1, Weight: c.Weight}
}

// on returns the uplink on that interface, nil when there is none. An interface
// is one uplink, and tells it better than its name does, which a person may
// change while everything goes on.
func (s *State) on(name string) *Uplink {
	for i := range s.Uplinks {
		if s.Uplinks[i].Config.Interface == name {
			return &s.Uplinks[i]
		}
	}
	return nil
}

// Addresses returns the addresses the uplink is to have now, each with when it
// ends (zero: never). Those of an external uplink are what the interface has.
func (u *Uplink) Addresses() []routes.Address {
	var list []netip.Prefix
	var until time.Time
	switch u.Config.Address {
	case configs.AddressStatic:
		list = u.Config.Prefixes
	case configs.AddressExternal:
		list = u.Present
	case configs.AddressDHCP:
		lease := u.lease()
		switch {
		case lease != nil:
			list, until = []netip.Prefix{lease.Prefix}, lease.Expire
		case u.Adopted.Prefix.IsValid():
			list, until = []netip.Prefix{u.Adopted.Prefix}, u.Adopted.Until
		}
	}
	addresses := make([]routes.Address, len(list))
	for i, p := range list {
		addresses[i] = routes.Address{Interface: u.Config.Interface, Prefix: p, Until: until}
	}
	return addresses
}

// lease returns the lease that the uplink goes by, nil when there is none. One
// that no server has confirmed to this process does not take the place of an
// address found in use; and while nobody can be asked, or the answer is still to
// come, the server's or another host's, an address that is not on the interface
// is not put there (RFC 2131 section 3.2).
func (u *Uplink) lease() *dhcp.Lease {
	lease := u.DHCP.Lease
	if u.Clash != "" {
		return nil
	}
	if lease == nil || slices.Contains(u.Present, lease.Prefix) && lease.Prefix == u.Adopted.Prefix {
		return lease
	}
	asking := u.DHCP.State == dhcp.Off || u.DHCP.State == dhcp.InitReboot || u.DHCP.State == dhcp.Probing
	if asking && !slices.Contains(u.Present, lease.Prefix) || !u.DHCP.Confirmed && u.Adopted.Prefix.IsValid() {
		return nil
	}
	return lease
}

// NextHop returns the way out of the uplink, and whether it is known.
func (u *Uplink) NextHop() (routes.NextHop, bool) {
	hop := routes.NextHop{Interface: u.Config.Interface, OnLink: u.Config.OnLink, Weight: max(u.Weight, 1)}
	switch u.Config.Gateway {
	case configs.GatewayFixed:
		hop.Gateway = u.Config.GatewayIP
	case configs.GatewayNone:
		return hop, true
	case configs.GatewayLease:
		if lease := u.lease(); lease != nil {
			hop.Gateway = lease.Router
			// A router outside the leased network is reached on the link all the same.
			hop.OnLink = hop.Gateway.IsValid() && !lease.Prefix.Contains(hop.Gateway)
		} else {
			hop.Gateway, hop.OnLink = u.Adopted.Gateway, u.Adopted.OnLink
		}
	}
	return hop, hop.Gateway.IsValid()
}

// seen reports whether every address the uplink is to have is on its interface.
func (u *Uplink) seen() bool {
	addresses := u.Addresses()
	for _, a := range addresses {
		if !slices.Contains(u.Present, a.Prefix) {
			return false
		}
	}
	return len(addresses) > 0
}
