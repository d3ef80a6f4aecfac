package dhcp

import (
	"net/netip"
	"time"
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
	Router    bool         // ask for the router and tell it
	Check     AddressCheck // of an address before it is used

	// ConfirmRequests counts the reasons there have been to have the lease confirmed
	// though it is in force: nothing answers over it, or a person asks. Each further
	// one makes the client ask, the first the server that gave it, the second any
	// server, from the third on for a lease as if it had none. Whatever comes of it, a
	// lease in force stays in force until it ends or is refused.
	ConfirmRequests int

	// SuspendedFor is how long the machine has been suspended in all. The clock that
	// leases are counted by stands still meanwhile, the lease does not.
	SuspendedFor time.Duration
}

// sameBut reports whether nothing differs but what has happened to the lease, and
// the name.
func (s *Spec) sameBut(other *Spec) bool {
	without := *s
	without.Uplink = other.Uplink
	without.ConfirmRequests, without.SuspendedFor = other.ConfirmRequests, other.SuspendedFor
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
