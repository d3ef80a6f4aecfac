package routes

import (
	"fmt"
	"net/netip"
	"time"
)

// An Address is an address with its prefix on an interface.
type Address struct {
	Interface string
	Prefix    netip.Prefix // the address itself, not the network: 203.0.113.5/24

	// Until is when the kernel takes the address away by itself; zero is never.
	// A lease's address carries its lease time so that it ends with the lease
	// even if this daemon is dead.
	Until time.Time

	// NoPrefixRoute keeps the kernel from leading the whole network of the address to
	// the interface (noprefixroute in ip-address(8)). One that is there without it
	// serves as well: the kernel does not change it.
	NoPrefixRoute bool

	Protocol uint8 // who put it there (IFA_PROTO, Linux 5.18)
}

// same reports whether two addresses are one in the kernel, which tells them
// apart by interface, address and prefix length.
func (a Address) same(other Address) bool {
	return a.Interface == other.Interface && a.Prefix == other.Prefix
}

// Lifetimes in the kernel are whole seconds, counted from when it got them.
const lifetimeGrain = 2 * time.Second

// lifetimeFits reports whether an address whose kernel lifetime ends at have may
// stay as it is when it should end at want. Longer than wanted never fits: an
// address must not outlive its lease. A little shorter does, and since the
// slack is a twentieth of what REMAINS it closes as the end comes nearer; a
// daemon that starts again with the same lease so has nothing to change.
func lifetimeFits(have, want, now time.Time) bool {
	if have.IsZero() || want.IsZero() {
		return have.IsZero() == want.IsZero()
	}
	slack := max(lifetimeGrain, want.Sub(now)/20)
	return !have.After(want.Add(lifetimeGrain)) && !have.Before(want.Add(-slack))
}

// lifetimeText returns the lifetime as `ip addr` takes it.
func (a Address) lifetimeText(now time.Time) string {
	if a.Until.IsZero() {
		return ""
	}
	seconds := LifetimeSeconds(a.Until, now)
	return fmt.Sprintf(" valid_lft %d preferred_lft %d", seconds, seconds)
}

// LifetimeSeconds returns the seconds from now to until as the kernel takes them:
// whole ones, rounded up so that it does not take the address away before we do;
// at least 1, for it refuses 0, and below the 2^32-1 that means forever.
func LifetimeSeconds(until, now time.Time) int64 {
	const forever = 1<<32 - 1
	return min(max(int64((until.Sub(now)+time.Second-1)/time.Second), 1), forever-1)
}
