package uplink

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/routes/firewall"
	"uplinkd/uplink/api"
)

// A LANNet is a /64 on an interface whose hosts make themselves addresses of it.
type LANNet struct {
	Interface string
	Prefix    netip.Prefix
	Subnet    uint32 // its number in the prefix that it is of
	Of        string // the uplink whose provider gave that; "": the configuration, or it is not known
	Preferred time.Time
	Until     time.Time // zero: never ends
	Former    bool      // another has taken its place: it is kept for hosts that have it
}

// formerMost is how long hosts keep addresses of a network that has another in its place: they take
// no shorter lifetime from whom they do not know (RFC 4862 section 5.5.3 e).
const formerMost = 2 * time.Hour

// lanNetsMost bounds how many networks of one interface are kept: a provider may give another each time.
const lanNetsMost = 4

// subnetOf returns the n-th /64 of a prefix, and whether it has so many.
func subnetOf(p netip.Prefix, n uint32) (netip.Prefix, bool) {
	if bits := 64 - p.Bits(); bits < 0 || bits < 32 && uint64(n) >= 1<<bits {
		return netip.Prefix{}, false
	}
	b := p.Masked().Addr().As16()
	binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])|uint64(n))
	return netip.PrefixFrom(netip.AddrFrom16(b), 64), true
}

// hostOf returns the address that this host has in a network of the LAN: the first.
func hostOf(net netip.Prefix) netip.Prefix {
	b := net.Addr().As16()
	b[15] = 1
	return netip.PrefixFrom(netip.AddrFrom16(b), net.Bits())
}

// delegated returns the prefix that a path has for the LAN, and whether it has one: of several the first that
// is preferred.
func (u *Uplink) delegated(now time.Time) (Lent, bool) {
	c := &u.Config.IPv6
	switch {
	case !u.Has(IPv6):
	case c.Delegation == configs.DelegationStatic:
		return Lent{Prefix: c.Routed}, true
	case c.Delegation == configs.DelegationAsk:
		for _, d := range u.Paths[IPv6].Delegations {
			if d.preferred(now) && (d.Until.IsZero() || now.Before(d.Until)) {
				return d, true
			}
		}
	}
	return Lent{}, false
}

// Delegated returns the prefixes that the uplink has for the LAN.
func (u *Uplink) Delegated() []Lent {
	switch {
	case !u.Has(IPv6):
	case u.Config.IPv6.Delegation == configs.DelegationStatic:
		return []Lent{{Prefix: u.Config.IPv6.Routed}}
	case u.Config.IPv6.Delegation == configs.DelegationAsk:
		return u.Paths[IPv6].Delegations
	}
	return nil
}

// wantsPrefix reports whether a provider is asked for a prefix.
func (s *State) wantsPrefix(u *Uplink) bool {
	return len(s.Config.LAN) > 0 && u.Has(IPv6) && u.Config.IPv6.Delegation == configs.DelegationAsk
}

// lanPrefix returns the prefix that numbers the LAN now, and whose it is: the one that it has, for as long as
// that is lent, or else the first there is.
func (s *State) lanPrefix(now time.Time) (prefix Lent, of string, ok bool) {
	if s.Config.OwnPrefix.IsValid() {
		return Lent{Prefix: s.Config.OwnPrefix}, "", true
	}
	for _, name := range s.Config.LANPrefix {
		d, ok := s.delegatedTo(name, now)
		if owner, has := s.numbers(d.Prefix); ok && has && (owner == name || owner == "") {
			return d, name, true
		}
	}
	for _, name := range s.Config.LANPrefix {
		if d, ok := s.delegatedTo(name, now); ok {
			return d, name, true
		}
		if s.mayYetHavePrefix(name, now) {
			break
		}
	}
	return Lent{}, "", false
}

// delegatedTo returns the prefix of the uplink of a name, and whether it has one.
func (s *State) delegatedTo(name string, now time.Time) (Lent, bool) {
	u := s.Named(name)
	if u == nil || u.DisabledIn(IPv6) {
		return Lent{}, false
	}
	return u.delegated(now)
}

// numbers reports whether the LAN has networks of a prefix, and not only such as are on their way out, and of
// which uplink; "" when that is not known.
func (s *State) numbers(prefix netip.Prefix) (owner string, has bool) {
	i := slices.IndexFunc(s.LANNets, func(n LANNet) bool { return !n.Former && prefix.Contains(n.Prefix.Addr()) })
	if i < 0 {
		return "", false
	}
	return s.LANNets[i].Of, true
}

// mayYetHavePrefix reports whether an uplink may be about to get a prefix: at the start the first to answer
// would number the LAN, and the first of the file take its place a moment later.
func (s *State) mayYetHavePrefix(name string, now time.Time) bool {
	u := s.Named(name)
	if u == nil || u.DisabledIn(IPv6) || now.Sub(s.StartedAt) >= startLimit {
		return false
	}
	p := &u.Paths[IPv6]
	return p.OperState != api.Down && (p.Report.Lease == nil || !p.Report.Confirmed)
}

// decideLAN decides which networks the LAN has. While nobody gives a prefix, what there is goes on until
// its time is over.
func (s *State) decideLAN(now time.Time) {
	if len(s.Config.LAN) == 0 {
		s.LANNets = nil
		return
	}
	prefix, of, known := s.lanPrefix(now)
	var nets []LANNet
	for _, lan := range s.Config.LAN {
		var current netip.Prefix
		if known {
			if net, ok := subnetOf(prefix.Prefix, lan.Subnet); ok {
				current = net
				nets = append(nets, LANNet{
					Interface: lan.Interface, Prefix: net, Subnet: lan.Subnet, Of: of,
					Preferred: prefix.Preferred, Until: prefix.Until,
				})
			}
		}
		nets = append(nets, s.formerNets(lan, current, now)...)
	}
	s.LANNets = nets
}

// formerNets returns the networks that an interface of the LAN had before, as far as hosts may still have
// them. current is what it has now; not valid: that is not known.
func (s *State) formerNets(lan configs.LAN, current netip.Prefix, now time.Time) []LANNet {
	var nets []LANNet
	for _, n := range s.LANNets {
		if n.Interface != lan.Interface || n.Prefix == current {
			continue
		}
		if current.IsValid() && !n.Former {
			n.Former, n.Preferred = true, now
			if latest := now.Add(formerMost); n.Until.IsZero() || n.Until.After(latest) {
				n.Until = latest
			}
		}
		if (n.Until.IsZero() || now.Before(n.Until)) && len(nets) < lanNetsMost {
			nets = append(nets, n)
		}
	}
	return nets
}

// adoptLAN looks for what a process before us put on the LAN's interfaces.
func (s *State) adoptLAN(have routes.State) {
	owner := Owner(s.Config)
	for _, lan := range s.Config.LAN {
		for _, a := range have.Addresses {
			network := a.Prefix.Addr().Is6() && a.Prefix.Bits() == 64
			if !owner.OwnsAddress(a) || a.Interface != lan.Interface || !network {
				continue
			}
			s.LANNets = append(s.LANNets, LANNet{
				Interface: lan.Interface, Prefix: a.Prefix.Masked(), Subnet: lan.Subnet, Preferred: a.Preferred,
				Until: a.Until,
			})
			if last := &s.LANNets[len(s.LANNets)-1]; a.Condition == routes.Deprecated {
				last.Former, last.Preferred = true, have.At
			}
		}
	}
}

// lan adds what the LAN needs of the kernel: an address of each network, which router advertisers take
// their prefixes from, and a route against loops for what is delegated and not used (RFC 7084 L-14, WPD-5).
func (d *desired) lan() {
	if len(d.state.Config.LAN) == 0 {
		return
	}
	for _, lan := range d.state.Config.LAN {
		d.set.Observe = append(d.set.Observe, lan.Interface)
		d.set.Inside = append(d.set.Inside, lan.Interface)
	}
	for _, n := range d.state.LANNets {
		d.set.Addresses = append(d.set.Addresses, routes.Address{
			Interface: n.Interface, Prefix: hostOf(n.Prefix), Preferred: n.Preferred, Until: n.Until,
			Protocol: d.set.Owner.Protocol,
			NoDAD:    true, // the prefix is ours, and router advertisers wait until that is over
		})
	}
	for i := range d.state.Uplinks {
		u := &d.state.Uplinks[i]
		if lent, ok := u.delegated(d.state.At); ok {
			d.set.Tables = append(d.set.Tables, routes.Route{
				RouteKey: routes.RouteKey{Table: routes.TableMain, Dst: lent.Prefix.Masked(), Metric: prohibitMetric},
				Type:     routes.Unreachable, Protocol: d.set.Owner.Protocol,
			})
		}
	}
}

// translations says what becomes of the LAN's addresses where they leave by an uplink: those of the prefix
// that its provider gave stay, others get that prefix, or where there is none the uplink's address. Without
// an address of its own they would get another uplink's.
func (s *State) translations(u *Uplink, p *Path) []firewall.Translation {
	if !u.Config.IPv6.Translate {
		return nil
	}
	own, has := u.delegated(s.At)
	var list []firewall.Translation
	for _, n := range s.LANNets {
		if has && own.Prefix.Contains(n.Prefix.Addr()) {
			continue
		}
		to, fits := subnetOf(own.Prefix, n.Subnet)
		switch {
		case has && fits:
			list = append(list, firewall.Translation{From: n.Prefix, To: to})
		case len(p.Preferred) > 0:
			list = append(list, firewall.Translation{From: n.Prefix})
		}
	}
	return list
}

// foreignTo returns the IPv6 addresses that are another uplink's, or were given for the LAN by another
// provider; nil: there are none.
func (s *State) foreignTo(u *Uplink) *firewall.Prefixes {
	own := slices.Clone(u.Addresses(&u.Paths[IPv6]))
	for _, d := range u.Delegated() {
		own = append(own, d.Prefix)
	}
	var list []netip.Prefix
	add := func(p netip.Prefix) {
		within := func(o netip.Prefix) bool { return o.Overlaps(p) }
		if !slices.ContainsFunc(own, within) {
			list = append(list, p)
		}
	}
	for i := range s.Uplinks {
		other := &s.Uplinks[i]
		if other.Config.Interface == u.Config.Interface || !other.Has(IPv6) {
			continue
		}
		for _, a := range other.Addresses(&other.Paths[IPv6]) {
			add(hostPrefix(a.Addr()))
		}
		for _, a := range other.Paths[IPv6].Had {
			if !slices.Contains(list, hostPrefix(a.Addr())) {
				add(hostPrefix(a.Addr()))
			}
		}
		for _, d := range other.Delegated() {
			add(d.Prefix)
		}
	}
	for _, n := range s.LANNets {
		if u.Config.IPv6.Translate && n.Of != u.Config.Name {
			add(n.Prefix)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return firewall.NewPrefixes(list)
}

// inLAN reports whether an address lies in a network of the LAN that is ours.
func (s *State) inLAN(p netip.Prefix) (LANNet, bool) {
	i := slices.IndexFunc(s.LANNets, func(n LANNet) bool { return n.Prefix.Overlaps(p) })
	if i < 0 {
		return LANNet{}, false
	}
	return s.LANNets[i], true
}
