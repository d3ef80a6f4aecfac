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

	// Preferred is until when a new connection may take the address as its source (RFC 4862
	// section 5.5.4); zero is as long as it is there. The kernel keeps it for IPv6 alone.
	Preferred time.Time

	// NoPrefixRoute keeps the kernel from leading the whole network of the address to
	// the interface (noprefixroute in ip-address(8)). One that is there without it
	// serves as well: the kernel does not change it.
	NoPrefixRoute bool

	// NoDAD has nobody asked whether another host has the address (nodad in ip-address(8)), and so no second
	// or two lost to that.
	NoDAD bool

	Protocol uint8 // who put it there (IFA_PROTO, Linux 5.18)

	Condition Condition // as it was read; of one that is wanted it says nothing
}

// A Condition says whether an IPv6 address serves (ip-address(8), RFC 4862 section 5.4). An
// IPv4 address always does.
type Condition uint8

// The conditions.
const (
	Serves     Condition = iota
	Deprecated           // for what has it already
	Tentative            // others are being asked whether they have it
	Duplicate            // another host has it
)

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

// lifetimesFit reports whether the lifetimes of an address in the kernel may stay as they are.
func (a Address) lifetimesFit(have Address, now time.Time) bool {
	if !lifetimeFits(have.Until, a.Until, now) {
		return false
	}
	if !a.Prefix.Addr().Is6() {
		return true
	}
	if over := !a.Preferred.IsZero() && !now.Before(a.Preferred); over || have.Condition == Deprecated {
		return over && have.Condition == Deprecated
	}
	return lifetimeFits(have.Preferred, a.Preferred, now)
}

// lifetimeText returns the lifetimes as `ip addr` takes them.
func (a Address) lifetimeText(now time.Time) string {
	valid, preferred := a.Lifetimes(now)
	switch {
	case valid == forever && preferred == forever:
		return ""
	case valid == forever:
		return fmt.Sprintf(" valid_lft forever preferred_lft %d", preferred)
	}
	return fmt.Sprintf(" valid_lft %d preferred_lft %d", valid, preferred)
}

// Lifetimes returns the seconds from now that the address is valid and preferred, as the
// kernel takes them: forever is 2^32-1, and a preferred lifetime of 0 makes it deprecated.
func (a Address) Lifetimes(now time.Time) (valid, preferred int64) {
	valid = forever
	if !a.Until.IsZero() {
		valid = LifetimeSeconds(a.Until, now)
	}
	switch {
	case a.Preferred.IsZero():
		return valid, valid
	case !now.Before(a.Preferred):
		return valid, 0
	}
	return valid, min(LifetimeSeconds(a.Preferred, now), valid)
}

// forever is the lifetime of an address that has none (INFINITY_LIFE_TIME).
const forever = 1<<32 - 1

// LifetimeSeconds returns the seconds from now to until as the kernel takes them:
// whole ones, rounded up so that it does not take the address away before we do;
// at least 1, for it refuses 0, and below the 2^32-1 that means forever.
func LifetimeSeconds(until, now time.Time) int64 {
	return min(max(int64((until.Sub(now)+time.Second-1)/time.Second), 1), forever-1)
}
