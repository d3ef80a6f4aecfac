package ra

import (
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
)

// twoHours is what an unauthenticated advertisement can shorten the valid lifetime of an address
// to, and no further (RFC 4862 section 5.5.3 e).
const twoHours = 2 * time.Hour

// A network is a Prefix, and who advertises it.
type network struct {
	Prefix
	router netip.Addr
	gone   bool // the router has withdrawn itself, or has been silent for as long as it was to be one
	missed int  // so many of its advertisements in a row named others, and not this one
}

// missedMost is how many advertisements of a router in a row may name other networks and not one that
// it named before. One that has been restarted names what its provider gives it now, and the old
// network is dead long before its lifetimes end (RFC 9096 section 1). Some routers name their
// networks in turn.
const missedMost = 3

// endOf returns when a lifetime ends; zero is never.
func endOf(now time.Time, lifetime time.Duration) time.Time {
	if lifetime >= ndp.Infinity {
		return time.Time{}
	}
	return now.Add(lifetime)
}

// receivePrefix takes in a network that addresses are to be made of (RFC 4862 section 5.5.3). One that
// is only on the link is of no use to us: it would be a route.
func (m *Machine) receivePrefix(now time.Time, from netip.Addr, o *ndp.PrefixInformation) (netip.Prefix, bool) {
	prefix, err := o.Prefix.Prefix(int(o.PrefixLength))
	if err != nil || !o.AutonomousAddressConfiguration || o.PrefixLength != 64 ||
		o.PreferredLifetime > o.ValidLifetime ||
		!prefix.Addr().IsGlobalUnicast() || prefix.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	valid := endOf(now, o.ValidLifetime)
	i := slices.IndexFunc(m.list, func(p network) bool { return p.Prefix.Prefix == prefix })
	if i < 0 {
		if o.ValidLifetime == 0 || len(m.list) == prefixesMost {
			return netip.Prefix{}, false
		}
		i = len(m.list)
		m.list = append(m.list, network{Prefix: Prefix{Prefix: prefix, Valid: now}})
	}
	p := &m.list[i]
	p.OnLink, p.router, p.gone = o.OnLink, from, false
	p.Preferred = endOf(now, o.PreferredLifetime)
	left := p.Valid.Sub(now)
	switch longer := p.Valid.IsZero() || left > twoHours; {
	case valid.IsZero(), o.ValidLifetime > twoHours, !p.Valid.IsZero() && o.ValidLifetime > left:
		p.Valid = valid
	case longer:
		p.Valid = now.Add(twoHours)
	}
	return prefix, true
}

// retire has nothing new begin from what a router named that is gone, once another names networks: a router
// that was replaced has another address, and its networks may be dead long before their lifetimes end.
func (m *Machine) retire(now time.Time) {
	isGone := func(n network) bool {
		stale := func(r router) bool { return r.address == n.router && r.stale }
		return n.gone || now.Sub(m.started) >= staleFor && slices.ContainsFunc(m.routers, stale)
	}
	lives := func(n network) bool { return !isGone(n) && (n.Preferred.IsZero() || now.Before(n.Preferred)) }
	if m.started.IsZero() || !slices.ContainsFunc(m.list, lives) {
		return
	}
	for i := range m.list {
		if n := &m.list[i]; isGone(*n) && (n.Preferred.IsZero() || now.Before(n.Preferred)) {
			n.Preferred = now
		}
	}
}

// staleFor is how long after a start a router that was there before may take to say that it still is.
const staleFor = 5 * time.Second

// miss counts the networks that a router has named before, and does not now, though it names others.
func (m *Machine) miss(now time.Time, from netip.Addr, named map[netip.Prefix]bool) {
	for i := range m.list {
		n := &m.list[i]
		switch {
		case named[n.Prefix.Prefix]:
			n.missed = 0
		case n.router == from && len(named) > 0 && n.missed < missedMost:
			n.missed++
			if n.missed == missedMost {
				n.Preferred = now
			} else if !m.started.IsZero() {
				m.ask = now.Add(time.Second) // to know soon
			}
		}
	}
}
