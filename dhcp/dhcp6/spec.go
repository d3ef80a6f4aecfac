package dhcp6

import (
	"net/netip"
	"time"
)

// A Spec says on what interface a lease is to be kept, and what it is to be of.
type Spec struct {
	Uplink    string // for logs
	Interface string
	Index     int
	MAC       string     // of the interface
	LinkLocal netip.Addr // its address on the link, which messages are sent from; not valid: none yet
	Carrier   bool       // without it nothing is sent, and the lease runs on

	Address      bool // an address for this host is wanted (IA_NA)
	Prefix       bool // a prefix for its LAN is wanted (IA_PD)
	PrefixLength int  // the wish; 0: none

	// Duplicate is an address that another host on the link has: it is declined.
	Duplicate netip.Addr

	// ConfirmRequests counts the reasons there have been to have the lease confirmed though it is
	// in force: nothing answers over it, or a person asks.
	ConfirmRequests int

	// SuspendedFor is how long the machine has been suspended in all.
	SuspendedFor time.Duration
}

// usable reports whether anything can be sent.
func (s *Spec) usable() bool { return s.Carrier && s.LinkLocal.IsValid() }

// sameBut reports whether nothing differs but what has happened to the lease, and the name.
func (s *Spec) sameBut(other *Spec) bool {
	without := *s
	without.Uplink, without.Duplicate = other.Uplink, other.Duplicate
	without.ConfirmRequests, without.SuspendedFor = other.ConfirmRequests, other.SuspendedFor
	return without == *other
}

// A Lent is an address, as a prefix of 128 bits, or a prefix, that serves for a time.
type Lent struct {
	Prefix    netip.Prefix
	Preferred time.Time // new connections take it until then; zero: never ends
	Valid     time.Time // zero: never ends
}

// A Lease is what a server has lent. It is never changed once made.
type Lease struct {
	Addresses []Lent
	Prefixes  []Lent
	Server    []byte // its DUID
	DNS       []netip.Addr
	Domain    string

	Renew, Rebind time.Time // zero: never
}

// Expire returns when nothing of the lease is left; zero: never.
func (l *Lease) Expire() time.Time {
	var last time.Time
	for _, list := range [][]Lent{l.Addresses, l.Prefixes} {
		for _, x := range list {
			if x.Valid.IsZero() {
				return time.Time{}
			}
			if x.Valid.After(last) {
				last = x.Valid
			}
		}
	}
	return last
}

// A Change is what is new about the lease or the client's state.
type Change struct {
	State  State
	Reason string
	Lease  *Lease // nil: none is in force

	// Confirmed is whether a server has given or confirmed the lease to this process. One that an
	// earlier process left is not, until then.
	Confirmed bool
}

// A State is a state of the client.
type State uint8

// The states, by the message that they wait for an answer to (RFC 8415 section 18.2).
const (
	Off State = iota
	Soliciting
	Requesting
	Confirming
	Bound
	Renewing
	Rebinding
)

// String returns the state as it stands in status and logs.
func (s State) String() string {
	return [...]string{"off", "soliciting", "requesting", "confirming", "bound", "renewing", "rebinding"}[s]
}
