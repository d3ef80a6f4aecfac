package imports

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A path6 is an uplink's path in IPv6, as the file has it. Its zero value says that there is none.
type path6 struct {
	auto, external bool
	address        []string // CIDRs, in place of auto
	gateway        string   // "": whoever advertises itself
	keys           []key    // in their order
}

func (p *path6) present() bool { return p.auto || p.external || len(p.address) > 0 }

// take takes an address with its prefix length over, if it is one that the Internet can answer to.
func (p *path6) take(text string) {
	prefix, err := netip.ParsePrefix(text)
	if err == nil && isAddress6(prefix.Addr().String()) && !prefix.Addr().IsLinkLocalUnicast() {
		p.address = append(p.address, prefix.String())
	}
}

// takeGateway takes a router over, and reports whether it is one of IPv6.
func (p *path6) takeGateway(u *uplink, text string) bool {
	switch {
	case !isAddress6(text):
		return false
	case p.gateway == "" || p.gateway == text:
		p.gateway = text
	default:
		u.remark("a second gateway, %s: an uplink has one, on an interface of its own", text)
	}
	return true
}

func (p *path6) set(name, value string) { setKey(&p.keys, name, value) }

// String returns the value of the key ipv6.
func (p *path6) String() string {
	address := "auto"
	switch {
	case p.external:
		address = "external"
	case len(p.address) > 0:
		address = addressText(p.address)
	}
	var more strings.Builder
	if p.gateway != "" {
		more.WriteString(", gateway: '" + p.gateway + "'")
	}
	for _, k := range p.keys {
		more.WriteString(", " + k.name + ": " + k.value)
	}
	if more.Len() == 0 && address == "auto" {
		return address
	}
	return "{address: " + address + more.String() + "}"
}

// addressText returns the value of the key address: one, or a list.
func addressText(list []string) string {
	if len(list) == 1 {
		return quotedAddress(list[0])
	}
	quoted := make([]string, len(list))
	for i, a := range list {
		quoted[i] = quotedAddress(a)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// quotedAddress returns an address as a flow mapping of YAML takes it: with its colons in quotes.
func quotedAddress(s string) string {
	if !strings.Contains(s, ":") {
		return s
	}
	return "'" + s + "'"
}

// isAddress6 reports whether a text is an IPv6 address of one host.
func isAddress6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && !a.Is4In6() && a.Zone() == "" &&
		!a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// addressesOfAny6 returns all texts that are IPv6 addresses, in quotes.
func addressesOfAny6(list []string) (found []string) {
	for _, s := range list {
		if text := quotedAddress(s); isAddress6(s) && !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	return found
}

// lan has the hosts on an interface get a /64. subnet is which of a prefix, negative: the next.
func (r *Result) lan(iface string, subnet int) {
	taken := func(n int) bool { return slices.ContainsFunc(r.lans, func(l lan) bool { return l.subnet == n }) }
	if len(r.lans) == lansMost || slices.ContainsFunc(r.lans, func(l lan) bool { return l.iface == iface }) {
		return
	}
	if subnet < 0 || taken(subnet) {
		for subnet = 1; taken(subnet); subnet++ {
		}
	}
	r.lans = append(r.lans, lan{iface, subnet})
}

// lansMost bounds how many interfaces get a network of their own.
const lansMost = 64

// A lan is an interface whose hosts get IPv6.
type lan struct {
	iface  string
	subnet int
}

// lanText returns the key lan: without an uplink that has IPv6 nothing could number it.
func (r *Result) lanText() string {
	if len(r.lans) == 0 || !slices.ContainsFunc(r.uplinks, func(u uplink) bool { return u.six.present() }) {
		return ""
	}
	var b strings.Builder
	for _, l := range r.lans {
		if !slices.ContainsFunc(r.uplinks, func(u uplink) bool { return u.iface == l.iface }) {
			fmt.Fprintf(&b, "  - {interface: %s, subnet: %d}\n", quoted(l.iface), l.subnet)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "lan:\n" + b.String()
}
