package uplink

import (
	"iter"
	"net/netip"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/api"
	"uplinkd/uplink/cgroups"
)

// startLimit is how long after the start an uplink that says nothing holds the
// rest up: by then what is wanted is taken as whole.
const startLimit = 10 * time.Second

// A State is all that is known and decided. It is a value: Step makes a new one of
// it and leaves it as it is.
type State struct {
	Config       configs.Config
	StartedAt    time.Time
	Read         bool // the kernel has been read once
	Settled      bool // every uplink has been decided on once, or startLimit has passed
	Uplinks      []Uplink
	LAN          []routes.Address // what this host has on interfaces that are no uplinks
	LANNets      []LANNet         // what we have put there
	At           time.Time        // of the last step
	ClockSince   time.Time        // since when the clock has not been set
	Site         []netip.Prefix   // what this host routes to its site, not to an uplink
	NoMainRule   [families]bool   // the kernel's own rule that leads to main is gone
	OthersLead   [families]bool   // main has a default route of others, not by an uplink
	OthersRules6 bool             // rules of others after ours lead somewhere in IPv6
	OthersMarks  uint32           // bits of marks that rules of others look at before ours
	Conflicts    []routes.Conflict
	Fights       []routes.Fight
	SuspendedFor time.Duration       // in all
	WeighedAt    [families]time.Time // when a weight last changed by the balance
	BalancedAt   time.Time           // when the factors were last brought up to date

	// FoundFirewall is whether our nft table was there at the start. It stands until it is known what
	// the LAN has.
	FoundFirewall bool

	Groups map[cgroups.Name]cgroups.Group // that there are, of those that policies name; nil: nobody has looked yet

	// OnTrial is whether the configuration goes back unless it is confirmed.
	OnTrial bool

	held     []Disconnect // what is to end once the configuration on trial is confirmed
	tried    []string     // the uplinks that it has changed, by their interfaces
	told     []toldConflict
	series   uint64                // the last one given to a path
	switches uint64                // how many there have been
	sets     [families][]policySet // of Config.Policies
	named    []cgroups.Name        // by Config.Policies
	leads    [families][]int       // to which uplink each of Config.Policies leads
}

// An Uplink is one way to the Internet: an interface, what the operator wants of it,
// what it carries, and its path in each address family.
type Uplink struct {
	Config configs.Uplink
	Device Device
	Admin  Admin
	Load   Load
	Usage  Usage // of its quota
	Paths  [families]Path
}

// A Family is an address family.
type Family uint8

// The families that an uplink has a path in.
const (
	IPv4 Family = iota
	IPv6
	families
)

// Families is how many there are.
const Families = families

// String returns the word used in status, events and hooks.
func (f Family) String() string { return [...]string{"ipv4", "ipv6", "none"}[f] }

// A Device is the interface of an uplink, as it was last seen.
type Device struct {
	Read      bool        // it has been looked at once
	Link      routes.Link // zero: there is no such interface
	LinkLocal netip.Addr  // its IPv6 address on the link, once nobody else has it; not valid: none
	MAC       string      // kept while the interface is away
	LinkUpAt  time.Time   // when it was seen to be set up; zero: it was so from the first
	UpIndex   int         // the index under which it was seen up

	CarrierLostAt time.Time // when the kernel last said so; what was read before is older
}

// Load is what an uplink carries.
type Load struct {
	Sample    Sample
	Capped    bool      // it has all the connections it may have
	Full      bool      // its bandwidth is used up
	BusySince time.Time // it has used most of it since then; zero: it does not
	Stalled   bool      // connections over it get no answer
}

// A Path is an uplink in one address family: the way from an address of this host to
// a next hop, and what is known of it.
type Path struct {
	Family Family

	// What was told.
	Assigned       []netip.Prefix // the addresses on the interface
	Preferred      []netip.Prefix // of these, what new connections may take
	Tentative      []netip.Prefix // others there are being asked whether they have it
	Duplicate      []netip.Prefix // another host there has it
	Refused        Refused        // the last one that another host there had, and that the kernel took away
	EverAssigned   []netip.Prefix // of what it should have: on the interface since that appeared
	Had            []netip.Prefix // the last that were on the interface: resets of ended connections still have them
	Report         LeaseReport    // what the DHCP client said last
	Unheard        Unheard        // what went out unanswered by the interface when ProbeReport came
	Advert         Advert         // what routers advertise; of IPv6
	OperatorRenews int            // how often the operator has asked for a renewal
	ProbeReport    probe.Change   // what the prober said last; of Series, or void
	Adopted        Adopted        // what a process before us left, until we know better

	Quality Quality // as it was measured last

	// What was decided. Each is decided in one place, once a step.
	Clash           string // why the lease is not used beside other networks
	Delegations     []Lent // of the lease, those that may be used; of IPv6
	PrefixClash     string // why others may not
	GatewayIsOurs   bool   // the next hop is an address of this host
	Lease           *Lease // in force; nil: none
	Health          Health
	OperState       api.OperState
	Reason          string
	Since           time.Time
	Switch          uint64       // the number of the last switch, 0 before the first
	EverDecided     bool         // it has been something else than starting
	Carries         bool         // it is in the shared default route
	Weight          int          // there
	Ousted          bool         // nothing goes by it, for its quota
	Factor          float64      // of the configured weight, by the balance
	Advice          probe.Advice // of agents: the least that any wants
	AdvisedAt       time.Time    // when Advice last changed
	ConfirmRequests int          // how often there was reason to have the lease confirmed

	// Probe is what is probed now; nil: nothing can be. Series names what proves
	// the path as it is now, which may be about to be probed; 0: nothing does.
	Probe       *probe.Spec
	Series      uint64
	SeriesStart time.Time
	subject     subject

	levels []level // how it keeps the service level of each policy; short: as far as is known
}

// Health is what the probes have shown of a path, and how often it has fallen.
type Health struct {
	Verdict     probe.Verdict
	Reason      string
	Doubt       string // why there is doubt, though the verdict is up; "": there is none
	Series      uint64 // that Verdict is about
	Hold        Hold
	HasFallen   bool      // it has been up, and then down
	RecoveredAt time.Time // when it came back from its last fall
	ProvenIndex int       // the interface index under which it was last up
}

// New returns the state at the start, before anything is known.
func New(c configs.Config, now time.Time) State {
	s := State{Config: c, StartedAt: now, sets: policySets(c), named: groupNames(c)}
	for _, u := range c.Uplinks {
		s.Uplinks = append(s.Uplinks, newUplink(u, now))
	}
	return s
}

func newUplink(c configs.Uplink, now time.Time) Uplink {
	u := Uplink{Config: c}
	for f := range families {
		u.Paths[f] = newPath(f, u.In(f).Weight, now)
	}
	return u
}

func newPath(f Family, weight int, now time.Time) Path {
	return Path{
		Family: f, OperState: api.Starting, Reason: "not judged yet", Since: now, Factor: 1, Weight: weight,
	}
}

// In returns what the configuration says of the uplink in a family.
func (u *Uplink) In(f Family) *configs.Path {
	if f == IPv6 {
		return &u.Config.IPv6.Path
	}
	return &u.Config.Path
}

// Has reports whether the uplink has a path in a family.
func (u *Uplink) Has(f Family) bool { return u.In(f).Present() }

// Present returns the paths that the uplink has.
func (u *Uplink) Present() iter.Seq[*Path] {
	return func(yield func(*Path) bool) {
		for f := range families {
			if u.Has(f) && !yield(&u.Paths[f]) {
				return
			}
		}
	}
}

// First returns the path that speaks for the uplink: that of IPv4, if it has one.
func (u *Uplink) First() *Path {
	if u.Has(IPv4) {
		return &u.Paths[IPv4]
	}
	return &u.Paths[IPv6]
}

// Has reports whether any uplink has a path in a family.
func (s *State) Has(f Family) bool {
	return s.any(func(u *Uplink) bool { return u.Has(f) })
}

// On returns the uplink on that interface, nil when there is none. An interface
// is one uplink, and tells it better than its name does, which a person may
// change while everything goes on.
func (s *State) On(name string) *Uplink {
	for i := range s.Uplinks {
		if s.Uplinks[i].Config.Interface == name {
			return &s.Uplinks[i]
		}
	}
	return nil
}

// at returns the uplink on that interface, which is most often the i-th.
func (s *State) at(i int, name string) *Uplink {
	if i < len(s.Uplinks) && s.Uplinks[i].Config.Interface == name {
		return &s.Uplinks[i]
	}
	return s.On(name)
}

// Named returns the uplink of that name, nil when there is none.
func (s *State) Named(name string) *Uplink {
	for i := range s.Uplinks {
		if s.Uplinks[i].Config.Name == name {
			return &s.Uplinks[i]
		}
	}
	return nil
}

// paths returns every path with its uplink, as long as its interface has been
// looked at: before that there is nothing to decide.
func (s *State) paths() iter.Seq2[*Uplink, *Path] {
	return func(yield func(*Uplink, *Path) bool) {
		for i := range s.Uplinks {
			u := &s.Uplinks[i]
			if !u.Device.Read {
				continue
			}
			for p := range u.Present() {
				if !yield(u, p) {
					return
				}
			}
		}
	}
}

// OperState returns how the uplink is, in its first family.
func (u *Uplink) OperState() api.OperState { return u.First().OperState }

// Owner returns the tag of what is ours under a configuration.
func Owner(c configs.Config) routes.Owner {
	return routes.Owner{Protocol: c.Routes.Protocol, RulePriority: c.Routes.RulePriority}
}

// any reports whether it is so of an uplink.
func (s *State) any(is func(u *Uplink) bool) bool { return s.index(is) >= 0 }

// index returns the first uplink of which it is so, -1 when it is of none. An Uplink is some kilobytes, which no look
// at it is to copy.
func (s *State) index(is func(u *Uplink) bool) int {
	for i := range s.Uplinks {
		if is(&s.Uplinks[i]) {
			return i
		}
	}
	return -1
}

// HasLink reports whether the interface of that index is an uplink's.
func (s *State) HasLink(index int) bool {
	return s.any(func(u *Uplink) bool { return u.Device.Link.Index == index })
}
