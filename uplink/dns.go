package uplink

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// nameserversMost is how many DNS servers of a lease are used: as many as a resolver looks
// at (MAXNS, resolv.conf(5)).
const nameserversMost = 3

// DNS is what the host's resolver is to be given.
type DNS struct {
	Mode  configs.DNS
	Links []DNSLink // those that are to be asked first come first
}

// A DNSLink is an uplink whose DNS servers are known.
type DNSLink struct {
	Uplink, Interface string
	Index             int // of the interface
	Servers           []netip.Addr
	Offered           bool // they are to be asked: the uplink works, or none does
	Carries           bool // new connections

	rank int // how good its path is for DNS
}

// Equal reports whether two are the same.
func (d DNS) Equal(other DNS) bool {
	return d.Mode == other.Mode && slices.EqualFunc(d.Links, other.Links, func(a, b DNSLink) bool {
		return a.Uplink == b.Uplink && a.Interface == b.Interface && a.Index == b.Index &&
			slices.Equal(a.Servers, b.Servers) && a.Offered == b.Offered && a.Carries == b.Carries
	})
}

// Servers returns the servers that are to be asked, in that order: the first of each uplink,
// then the second of each, for a resolver looks at three. What two uplinks name is there once.
func (d DNS) Servers() []api.DNSServer {
	list := []api.DNSServer{}
	for n := range nameserversMost {
		for _, l := range d.Links {
			if !l.Offered || n >= len(l.Servers) {
				continue
			}
			server := l.Servers[n]
			if !slices.ContainsFunc(list, func(s api.DNSServer) bool { return s.Address == server }) {
				list = append(list, api.DNSServer{Address: server, Uplink: l.Uplink})
			}
		}
	}
	return list
}

// nameservers returns the DNS servers of a path: those of the configuration, or else of the
// lease, as far as another host can have such an address.
func (u *Uplink) nameservers(p *Path) []netip.Addr {
	var list []netip.Addr
	if len(u.Config.Nameservers) > 0 {
		for _, a := range u.Config.Nameservers {
			if FamilyOf(a) == p.Family {
				list = append(list, a)
			}
		}
		return list
	}
	if p.Lease == nil {
		return nil
	}
	for _, a := range p.Lease.DNS {
		if !slices.Contains(list, a) && len(list) < nameserversMost && usableServer(a, p.Family) {
			list = append(list, a)
		}
	}
	return list
}

// usableServer reports whether a resolver can ask an address over a path. One of the link alone
// (fe80::/10) needs the link's name, which resolv.conf(5) and our rules have no place for.
func usableServer(a netip.Addr, f Family) bool {
	return FamilyOf(a) == f && (a.IsGlobalUnicast() || a.Is4() && a.IsLinkLocalUnicast())
}

// toNameservers leads what this host asks an uplink's DNS servers out by it, while it works.
func (d *desired) toNameservers(i int, u *Uplink, p *Path) {
	if d.state.Config.DNS == configs.DNSNone || p.OperState != api.Up && !p.Carries {
		return
	}
	for _, server := range u.nameservers(p) {
		d.rule(p.Family, routes.Rule{Priority: ruleDNS + uint32(i), To: hostPrefix(server), Table: u.Config.Table})
	}
}

// DNS returns what the host's resolver is to be given: the servers of the uplinks that are up,
// those first that carry new connections. Where none is up, of those that carry all the same,
// and where none does, of all: a resolver without servers cannot even try. It is pure.
func (s *State) DNS() DNS {
	d := DNS{Mode: s.Config.DNS}
	if d.Mode == configs.DNSNone {
		return d
	}
	best := dnsOut
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if l := u.dnsLink(); len(l.Servers) > 0 {
			best = max(best, l.rank)
			d.Links = append(d.Links, l)
		}
	}
	for i := range d.Links {
		d.Links[i].Offered = d.Links[i].rank >= min(best, dnsUp)
	}
	slices.SortStableFunc(d.Links, func(a, b DNSLink) int { return cmp.Compare(b.rank, a.rank) })
	return d
}

// dnsLink returns the DNS servers of an uplink, in the family, or both, that is best for them.
func (u *Uplink) dnsLink() DNSLink {
	l := DNSLink{Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Device.Link.Index}
	for p := range u.Present() {
		servers, rank := u.nameservers(p), p.dnsRank()
		if len(servers) == 0 || len(l.Servers) > 0 && rank < l.rank {
			continue
		}
		if rank > l.rank {
			l.Servers = nil
		}
		l.rank, l.Carries = rank, p.Carries
		l.Servers = append(l.Servers, servers...)
	}
	return l
}

// How good a path is for DNS: what is dnsUp and better is asked.
const (
	dnsOut     = iota // not at all, unless there is nothing else
	dnsCarries        // it carries as the last resort, or is the best of those in doubt
	dnsUp             // up, and of a worse tier or with all the connections it may have
	dnsFirst          // up, and carries
)

func (p *Path) dnsRank() int {
	switch {
	case p.OperState == api.Up && p.Carries:
		return dnsFirst
	case p.OperState == api.Up:
		return dnsUp
	case p.Carries:
		return dnsCarries
	}
	return dnsOut
}

// dnsChanges returns the event that other servers are to be asked. The first is told when
// every uplink has been judged.
func dnsChanges(before, after *State, now time.Time) []api.Event {
	from, to := before.DNS(), after.DNS()
	if !before.Settled || from.Mode <= configs.DNSRoute {
		from = DNS{}
	}
	if !after.Settled || to.Mode <= configs.DNSRoute || from.Equal(to) {
		return nil
	}
	was, is := dnsText(from.Servers()), dnsText(to.Servers())
	if was == is {
		return nil
	}
	e := api.Event{Time: now, Kind: api.EventDNS, From: was, To: is, Evidence: []string{}}
	for _, s := range to.Servers() {
		e.DNS = append(e.DNS, s.Address)
	}
	return []api.Event{e}
}

// dnsText names servers and their uplinks.
func dnsText(servers []api.DNSServer) string {
	list := make([]string, len(servers))
	for i, s := range servers {
		list[i] = fmt.Sprintf("%s (%s)", s.Address, s.Uplink)
	}
	return strings.Join(list, ", ")
}
