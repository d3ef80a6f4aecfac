package configs

import (
	"net/netip"
	"slices"
)

// DNS says what is done with the DNS servers of the uplinks. All but DNSNone have queries
// leave by the uplink whose server they go to.
type DNS uint8

// What is done with them.
const (
	DNSNone     DNS = iota
	DNSRoute        // no more than that
	DNSResolved     // they are given to systemd-resolved
	DNSFile         // they are written to a file as resolv.conf(5) has it
	DNSHook         // hooks are told
)

// String returns the word used in the file.
func (d DNS) String() string { return dnsWords[d] }

var dnsWords = []string{"none", "route", "resolved", "file", "hook"}

// nameserversMost is how many DNS servers an uplink may be given: as many as a resolver
// looks at (MAXNS, resolv.conf(5)).
const nameserversMost = 3

func (p *parser) readNameserver(v value, to *[]netip.Addr) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	switch server, ok := p.address(v, s, "the IP address of a DNS server"); {
	case !ok:
	case slices.Contains(*to, server):
		p.fail(v, "%s: named twice: keep one", server)
	case len(*to) == nameserversMost:
		p.fail(v, "%s: more than %d: keep those that are to be asked", server, nameserversMost)
	default:
		*to = append(*to, server)
	}
}
