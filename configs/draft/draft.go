// Package draft makes a first configuration of what a host looks like, and asks where that does not tell.
package draft

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uplinkd/configs/reference"
)

// A Link is an interface as it was found.
type Link struct {
	Name      string
	Carrier   bool
	PointTo   bool           // point to point, as PPP is
	Member    bool           // of a bridge or a bond
	Carries   bool           // a VLAN or another device rests on it, or it is a bridge
	Addresses []netip.Prefix // of IPv4, with a scope beyond the link
	Leased    bool           // a lease gave it
	Default   bool           // a default route of IPv4 goes by it
	Gateway   netip.Addr     // of that route; not valid: it has none
	Client    string         // who gives the address now; "": nobody knows
	IPv6      bool           // a default route of IPv6 goes by it
	Login     string         // where from somebody is logged in over it, "": nobody is
}

// A Host is what was found on a host.
type Host struct {
	Name     string
	Links    []Link
	Forwards bool // it forwards IPv4
}

// A Question is one that a person is asked. An empty answer is the guess.
type Question struct {
	Text    string
	Choices []string // "": any text will do
	Guess   string
}

// Ask returns the answer to a question. ok is false where nobody can be asked: then what is not known is left out.
type Ask func(q Question) (answer string, ok bool)

// A role is what an interface is taken for.
type role int

const (
	ignored role = iota
	uplink
	inside
	unknown
)

// publicServers are what is probed where there is no gateway: DNS servers of two operators that answer pings.
const publicServers = "1.1.1.1, 9.9.9.9"

// virtual are the beginnings of the names that programs give to interfaces of their own.
var virtual = []string{
	"lo", "docker", "br-", "veth", "virbr", "vnet", "tap", "tun", "wg", "tailscale", "dummy", "vmbr", "fwbr",
	"fwln", "fwpr",
	"ifb", "cni", "flannel", "cali",
}

// roleOf guesses what an interface is.
func roleOf(l *Link) role {
	own := slices.ContainsFunc(virtual, func(p string) bool { return strings.HasPrefix(l.Name, p) })
	switch {
	case l.Default || l.PointTo && strings.HasPrefix(l.Name, "ppp"):
		return uplink
	case own || l.Member || l.PointTo || l.Carries && len(l.Addresses) == 0:
		return ignored
	case len(l.Addresses) == 0 && !l.Carrier:
		return ignored
	case len(l.Addresses) > 0 && !slices.ContainsFunc(l.Addresses, public):
		return inside
	}
	return unknown
}

func public(p netip.Prefix) bool { return !p.Addr().IsPrivate() }

// A chosen is an uplink of the draft.
type chosen struct {
	link             *Link
	address, gateway string
	onlink           bool // the gateway lies outside of all networks
}

// A Draft is a configuration that has been thought of.
type Draft struct {
	host    Host
	uplinks []chosen
	lan     []*Link
	left    []*Link // what may be an uplink, and nobody could be asked
	none    []*Link // without carrier
	nat     bool
}

// Make thinks of a configuration. The host's links stay as they are.
func Make(h Host, ask Ask) *Draft {
	d := &Draft{host: h}
	for i := range h.Links {
		l := &h.Links[i]
		switch roleOf(l) {
		case uplink:
			d.take(l, ask)
		case inside:
			d.within(l, ask)
		case unknown:
			d.unsure(l, ask)
		case ignored:
			if !l.Carrier && !l.Member && !slices.ContainsFunc(virtual,
				func(p string) bool { return strings.HasPrefix(l.Name, p) }) {
				d.none = append(d.none, l)
			}
		}
	}
	if len(d.lan) > 0 && len(d.uplinks) > 0 {
		guess := map[bool]string{true: "y", false: "n"}[h.Forwards]
		answer, ok := ask(Question{
			Text: fmt.Sprintf("Do the hosts behind %s reach the Internet through this one, with its addresses "+
				"(NAT)?", names(d.lan)),
			Choices: []string{"y", "n"}, Guess: guess,
		})
		if !ok {
			answer = guess
		}
		d.nat = answer == "y"
	}
	return d
}

// take makes an uplink of an interface that a default route goes by.
func (d *Draft) take(l *Link, ask Ask) {
	u := chosen{link: l, address: "dhcp", gateway: "lease"}
	switch {
	case l.PointTo:
		u.address, u.gateway = "external", "none"
	case len(l.Addresses) > 0 && !l.Leased:
		router := d.router(l, ask)
		u.address, u.gateway = prefixes(l.Addresses), router.String()
		u.onlink = !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(router) })
	}
	d.uplinks = append(d.uplinks, u)
}

// router returns the gateway of an interface with a fixed address, and asks where no route names it.
func (d *Draft) router(l *Link, ask Ask) netip.Addr {
	if l.Gateway.IsValid() {
		return l.Gateway
	}
	own := l.Addresses[0]
	guess := own.Masked().Addr() // of two addresses (RFC 3021) the other one
	if own.Bits() < 31 || guess == own.Addr() {
		guess = guess.Next()
	}
	if guess == own.Addr() {
		guess = guess.Next()
	}
	q := Question{
		Text:  fmt.Sprintf("%s has %s: which address has the provider's router?", l.Name, own),
		Guess: guess.String(),
	}
	for {
		answer, ok := ask(q)
		if !ok {
			return guess
		}
		if a, err := netip.ParseAddr(answer); err == nil && a.Is4() && a != own.Addr() {
			return a
		}
		q.Text = fmt.Sprintf("%q is no address that a router can have beside %s: which has it?", answer, own)
	}
}

// within asks about an interface with a private address and no default route: it is the LAN's, or a provider's whose
// router translates.
func (d *Draft) within(l *Link, ask Ask) {
	answer, ok := ask(Question{
		Text: fmt.Sprintf("%s has %s and no default route: is it the LAN, or is a provider on it?", l.Name,
			prefixes(l.Addresses)),
		Choices: []string{"lan", "provider", "neither"}, Guess: "lan",
	})
	switch {
	case !ok || answer == "lan":
		d.lan = append(d.lan, l)
	case answer == "provider":
		d.take(l, ask)
	}
}

// unsure asks about an interface that may be anything.
func (d *Draft) unsure(l *Link, ask Ask) {
	if len(l.Addresses) > 0 {
		answer, ok := ask(Question{
			Text:    fmt.Sprintf("%s has %s and no default route: is a provider on it?", l.Name, prefixes(l.Addresses)),
			Choices: []string{"y", "n"}, Guess: "y",
		})
		switch {
		case !ok:
			d.left = append(d.left, l)
		case answer == "y":
			d.take(l, ask)
		}
		return
	}
	answer, ok := ask(Question{
		Text: l.Name + " has a carrier and no address: does a provider on it give one by DHCP, does another " +
			"program set one, or is no provider there?",
		Choices: []string{"dhcp", "external", "none"}, Guess: "dhcp",
	})
	switch {
	case !ok:
		d.left = append(d.left, l)
	case answer == "dhcp":
		d.uplinks = append(d.uplinks, chosen{link: l, address: "dhcp", gateway: "lease"})
	case answer == "external":
		d.uplinks = append(d.uplinks, chosen{link: l, address: "external", gateway: "none"})
	}
}

// Uplinks returns how many it has.
func (d *Draft) Uplinks() int { return len(d.uplinks) }

// Login returns the uplink that somebody is logged in over, and where from; "" when none is.
func (d *Draft) Login() (iface, from string) {
	for _, u := range d.uplinks {
		if u.link.Login != "" {
			return u.link.Name, u.link.Login
		}
	}
	return "", ""
}

// String returns the file.
func (d *Draft) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n# Made by `uplinkd init` of what %s looked like. Every key: uplinkd.yaml(5); a change: "+
		"uplinkd check, uplinkd plan.\n\nuplinks:\n",
		reference.ModelLine, d.host.Name)
	for i, u := range d.uplinks {
		fmt.Fprintf(&b, "  # %s\n  - {name: isp%d, interface: %s, address: %s, gateway: %s, weight: 1%s}\n",
			why(u.link), i+1, scalar(u.link.Name), u.address, u.gateway, d.more(&u))
	}
	for i, l := range slices.Concat(d.left, d.none) {
		reason := "has no carrier"
		if l.Carrier {
			reason = "may be an uplink: nobody could be asked"
		}
		fmt.Fprintf(&b, "  # %s %s:\n  # - {name: isp%d, interface: %s, address: dhcp, gateway: lease, weight: 1}\n",
			l.Name, reason, len(d.uplinks)+i+1, scalar(l.Name))
	}
	if len(d.lan) > 0 {
		fmt.Fprintf(&b, "\n# %s has no default route, and counts as the LAN.\n", names(d.lan))
	}
	b.WriteString("\n# Beside pings of the gateways, what lies behind them tells whether a provider works, such " +
		"as its DNS servers:\n" +
		"# probe: {targets: [gateway, 192.0.2.53]}\n")
	return b.String()
}

// more returns the keys that not every uplink has.
func (d *Draft) more(u *chosen) string {
	text := ""
	if u.onlink {
		text += ", onlink: true"
	}
	if u.gateway == "none" { // there is none to ping
		text += ", probe: {targets: [" + publicServers + "]}"
	}
	if d.nat {
		text += ", masquerade: true"
	}
	if u.link.IPv6 {
		text += ", ipv6: auto"
	}
	return text
}

// why says what an interface was taken for an uplink by.
func why(l *Link) string {
	parts := []string{l.Name + ":"}
	switch {
	case l.Default && l.Gateway.IsValid():
		parts = append(parts, "a default route goes by "+l.Gateway.String())
	case l.Default:
		parts = append(parts, "a default route goes by it")
	case len(l.Addresses) > 0:
		parts = append(parts, "it has "+prefixes(l.Addresses))
	default:
		parts = append(parts, "it has a carrier")
	}
	text := strings.Join(parts, " ")
	if l.Leased && len(l.Addresses) > 1 {
		text += "; it has " + prefixes(l.Addresses) + ", and those that no lease gives are not here"
	}
	if l.Client != "" {
		text += "; " + l.Client + " has its address now, and must leave it: uplinkd check"
	}
	if l.Login != "" {
		text += "; somebody is logged in over it, from " + l.Login
	}
	return text
}

func prefixes(list []netip.Prefix) string {
	words := make([]string, len(list))
	for i, p := range list {
		words[i] = p.String()
	}
	if len(words) == 1 {
		return words[0]
	}
	return "[" + strings.Join(words, ", ") + "]"
}

func names(links []*Link) string {
	words := make([]string, len(links))
	for i, l := range links {
		words[i] = l.Name
	}
	return strings.Join(words, ", ")
}

// scalar has a name stand in a mapping of one line as it is.
func scalar(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("-_.@", r)
	}) {
		return "'" + strings.ReplaceAll(name, "'", "''") + "'"
	}
	return name
}
