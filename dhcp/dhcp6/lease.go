package dhcp6

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// leaseOf reads what a message lends, on top of what was lent before: what it does not name stays
// as it was, what it names with a valid lifetime of 0 is gone (RFC 8415 section 18.2.10.1). nil: it lends
// nothing. lacks says what a server does not have of what was wanted.
func (m *Machine) leaseOf(now time.Time, r *dhcpv6.Message, before *Lease) (lease *Lease, lacks string) {
	l := Lease{Server: slices.Clone(option(r, dhcpv6.OptionServerID))}
	var t1, t2 time.Duration
	var missing []string
	if before != nil {
		l.Addresses, l.Prefixes = slices.Clone(before.Addresses), slices.Clone(before.Prefixes)
	}
	for _, ia := range r.Options.IANA() {
		if ia.IaId != m.identity.IAID {
			continue
		}
		t1, t2 = shorter(t1, ia.T1), shorter(t2, ia.T2)
		missing = append(missing, lacking(ia.Options.Status(), "no address")...)
		for _, a := range ia.Options.Addresses() {
			if addr, ok := netip.AddrFromSlice(a.IPv6Addr); ok && hostAddress(addr) {
				l.Addresses = lend(now, l.Addresses, netip.PrefixFrom(addr, 128), a.PreferredLifetime, a.ValidLifetime)
			}
		}
	}
	for _, ia := range r.Options.IAPD() {
		if ia.IaId != m.identity.IAID {
			continue
		}
		t1, t2 = shorter(t1, ia.T1), shorter(t2, ia.T2)
		missing = append(missing, lacking(ia.Options.Status(), "no prefix")...)
		for _, p := range ia.Options.Prefixes() {
			if prefix, ok := prefixOf(p.Prefix); ok {
				l.Prefixes = lend(now, l.Prefixes, prefix, p.PreferredLifetime, p.ValidLifetime)
			}
		}
	}
	lacks = strings.Join(missing, "; ")
	if len(l.Addresses)+len(l.Prefixes) == 0 {
		if lacks == "" {
			lacks = "nothing that can be used"
		}
		return nil, lacks
	}
	l.DNS, l.Domain = serversOf(r), domainOf(r)
	l.setTimes(now, t1, t2)
	return &l, lacks
}

// lacking says what a status refuses.
func lacking(status *dhcpv6.OptStatusCode, what string) []string {
	if status == nil || status.StatusCode == iana.StatusSuccess {
		return nil
	}
	return []string{what + " (" + text(status.StatusCode.String()) + ")"}
}

// shorter returns the shorter of two times, of which 0 leaves the choice to the other.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// lend adds what is lent, in the place of what there is of it. One that is preferred for longer than it is
// valid is of no use (RFC 8415 section 21.6).
func lend(now time.Time, list []Lent, p netip.Prefix, preferred, valid time.Duration) []Lent {
	if preferred > valid {
		return list
	}
	list = slices.DeleteFunc(list, func(x Lent) bool { return x.Prefix == p })
	if valid == 0 || len(list) >= lentMost {
		return list
	}
	return append(list, Lent{p, endOf(now, preferred), endOf(now, valid)})
}

// endOf returns when a lifetime ends; zero is never.
func endOf(now time.Time, lifetime time.Duration) time.Time {
	if lifetime >= infinity {
		return time.Time{}
	}
	return now.Add(lifetime)
}

// setTimes sets when the lease is to be renewed and rebound. Where the server leaves it to us, or gives
// what makes no sense, that is after half and four fifths of the shortest preferred lifetime.
func (l *Lease) setTimes(now time.Time, t1, t2 time.Duration) {
	shortest := infinity
	for _, x := range slices.Concat(l.Addresses, l.Prefixes) {
		if left := x.Preferred.Sub(now); !x.Preferred.IsZero() && left > 0 && left < shortest {
			shortest = left
		}
	}
	if t1 == 0 || t2 != 0 && t1 > t2 || t1 > shortest {
		t1 = shortest / 2
	}
	if t2 == 0 || t2 < t1 || t2 > shortest {
		t2 = shortest / 5 * 4
	}
	if t1 >= infinity/2 {
		return
	}
	l.Renew, l.Rebind = now.Add(max(t1, leastRenewal)), now.Add(max(t2, leastRenewal))
}

// leastRenewal keeps a server from having us ask without a pause.
const leastRenewal = 10 * time.Second

// hostAddress reports whether a host can have an address, beyond its link.
func hostAddress(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() }

// shortestPrefix is the shortest that a provider gives one customer: it has that much itself. What is
// delegated leads nowhere else.
const shortestPrefix = 32

// prefixOf returns a prefix that a LAN can be numbered by.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(n.IP.To16())
	bits, size := n.Mask.Size()
	if !ok || size != 128 || bits < shortestPrefix || bits > 64 || !hostAddress(addr) {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, bits).Masked(), true
}

func serversOf(r *dhcpv6.Message) []netip.Addr {
	var list []netip.Addr
	for _, ip := range r.Options.DNS() {
		a, ok := netip.AddrFromSlice(ip)
		if ok && a.Is6() && !a.Is4In6() && len(list) < serversMost && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

func domainOf(r *dhcpv6.Message) string {
	labels := r.Options.DomainSearchList()
	if labels == nil || len(labels.Labels) == 0 || len(labels.Labels[0]) > 253 {
		return ""
	}
	return text(labels.Labels[0])
}

// earlier returns the lease with all its ends nearer.
func (l *Lease) earlier(d time.Duration) *Lease {
	at := func(t time.Time) time.Time {
		if t.IsZero() {
			return t
		}
		return t.Add(-d)
	}
	shift := func(list []Lent) []Lent {
		list = slices.Clone(list)
		for i := range list {
			list[i].Preferred, list[i].Valid = at(list[i].Preferred), at(list[i].Valid)
		}
		return list
	}
	next := *l
	next.Addresses, next.Prefixes = shift(l.Addresses), shift(l.Prefixes)
	next.Renew, next.Rebind = at(l.Renew), at(l.Rebind)
	return &next
}

// at returns what is left of the lease, itself where that is all, nil where it is nothing.
func (l *Lease) at(now time.Time) *Lease {
	over := func(x Lent) bool { return !x.Valid.IsZero() && !now.Before(x.Valid) }
	if !slices.ContainsFunc(l.Addresses, over) && !slices.ContainsFunc(l.Prefixes, over) {
		return l
	}
	next := *l
	next.Addresses = slices.DeleteFunc(slices.Clone(l.Addresses), over)
	next.Prefixes = slices.DeleteFunc(slices.Clone(l.Prefixes), over)
	if len(next.Addresses)+len(next.Prefixes) == 0 {
		return nil
	}
	return &next
}
