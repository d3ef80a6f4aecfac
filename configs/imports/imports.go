// Package imports makes a configuration of what other programs are configured with, and names
// what has no counterpart. It reads files and runs nothing.
package imports

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"uplinkd/internal/plain"
)

// most is how much of a file is read, in bytes, and how many lines have a comment of their own.
const (
	most      = 1 << 20
	notesMost = 500
	lineMost  = 160
)

// A Result is what was made of the files.
type Result struct {
	uplinks  []uplink
	policies []string
	lans     []lan
	notes    []note
}

// An uplink is one as the file has it: keys with the texts of their values.
type uplink struct {
	name, iface string
	address     []string // CIDRs; none: by DHCP, or of another program's
	external    bool
	without4    bool // it has no path in IPv4
	gateway     string
	keys        []key // in their order
	six         path6
	servers     []string // those of DNS
	remarks     []string
}

// A key is a key with the text of its value.
type key struct{ name, value string }

func (u *uplink) set(name, value string) { setKey(&u.keys, name, value) }

func setKey(keys *[]key, name, value string) {
	if i := slices.IndexFunc(*keys, func(k key) bool { return k.name == name }); i >= 0 {
		(*keys)[i].value = value
		return
	}
	*keys = append(*keys, key{name, value})
}

func (u *uplink) remark(format string, args ...any) {
	u.remarks = append(u.remarks, fmt.Sprintf(format, args...))
}

// A note is a line of a file that has no counterpart, or one that has to be looked at.
type note struct {
	at   place
	text string // of the line
	why  string
}

// A place is a line of a file.
type place struct {
	file string
	line int // from 1 on; 0: the file as a whole
}

func (r *Result) note(at place, text, why string) {
	r.notes = append(r.notes, note{at, plain.Line(strings.TrimSpace(text), lineMost), plain.Line(why, lineMost)})
}

// named returns the uplink of a name, nil when there is none.
func (r *Result) named(name string) *uplink {
	for i := range r.uplinks {
		if r.uplinks[i].name == name {
			return &r.uplinks[i]
		}
	}
	return nil
}

// String returns the configuration, with a comment for each line that has no counterpart.
func (r *Result) String() string {
	var b strings.Builder
	b.WriteString("uplinks:\n")
	for i := range r.uplinks {
		r.uplinks[i].write(&b)
	}
	b.WriteString(r.lanText())
	if len(r.policies) > 0 {
		b.WriteString("policies:\n")
		for _, p := range r.policies {
			b.WriteString("  - {" + p + "}\n")
		}
	}
	if len(r.notes) > 0 {
		b.WriteString("\n# What has no counterpart, or is uplinkd's own to do:\n")
	}
	for i, n := range r.notes {
		if i == notesMost {
			fmt.Fprintf(&b, "# and %d lines more\n", len(r.notes)-i)
			break
		}
		fmt.Fprintf(&b, "#   %s:%d: %s: %s\n", plain.Line(n.at.file, lineMost), n.at.line, n.text, n.why)
	}
	return b.String()
}

func (u *uplink) write(b *strings.Builder) {
	fmt.Fprintf(b, "  - name: %s\n    interface: %s\n", quoted(u.name), quoted(u.iface))
	if u.without4 {
		b.WriteString("    address: none\n")
	} else {
		u.write4(b)
	}
	for _, k := range u.keys {
		fmt.Fprintf(b, "    %s: %s\n", k.name, k.value)
	}
	if u.six.present() {
		fmt.Fprintf(b, "    ipv6: %s\n", &u.six)
	}
	for _, text := range u.remarks {
		fmt.Fprintf(b, "    # look at this: %s\n", plain.Line(text, lineMost))
	}
}

// write4 writes where the address and the gateway of IPv4 come from.
func (u *uplink) write4(b *strings.Builder) {
	address, gateway := "dhcp", u.gateway
	switch {
	case u.external:
		address = "external"
	case len(u.address) > 0:
		address = addressText(u.address)
	case gateway == "":
		gateway = "lease"
	}
	if gateway, err := netip.ParseAddr(u.gateway); err == nil && len(u.address) > 0 && !u.reaches(gateway) {
		u.set("onlink", "true")
	}
	if gateway == "" {
		gateway = "none"
		// There is no gateway to probe: somebody on the Internet has to answer.
		if !slices.ContainsFunc(u.keys, func(k key) bool { return k.name == "probe" }) {
			u.set("probe", "{targets: [198.51.100.1]}")
			u.remark("there is no gateway to probe: name addresses on the Internet that answer")
		}
	}
	fmt.Fprintf(b, "    address: %s\n    gateway: %s\n", address, gateway)
}

// reaches reports whether an address is in one of the uplink's networks.
func (u *uplink) reaches(a netip.Addr) bool {
	return slices.ContainsFunc(u.address, func(text string) bool {
		p, err := netip.ParsePrefix(text)
		return err == nil && p.Contains(a)
	})
}

var simple = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]*$`)

// quoted returns a text as YAML takes it for a text.
func quoted(s string) string {
	other := []string{"yes", "no", "on", "off", "true", "false", "null"} // what YAML takes for something else
	if simple.MatchString(s) && !slices.Contains(other, strings.ToLower(s)) {
		return s
	}
	return "'" + strings.ReplaceAll(plain.Line(s, lineMost), "'", "''") + "'"
}

var notOfAName = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// nameOf makes a name of an uplink or a policy of any text, one that nobody has yet.
func (r *Result) nameOf(text string) string {
	name := strings.Trim(notOfAName.ReplaceAllString(text, "-"), "-")
	if name == "" {
		name = "uplink"
	}
	name = name[:min(len(name), 28)]
	fresh := name
	for n := 2; r.named(fresh) != nil; n++ {
		fresh = fmt.Sprintf("%s-%d", name, n)
	}
	return fresh
}

// prefixOf returns an address with its prefix length, of which the mask may be told apart: as
// 255.255.255.0, 24 or /24.
func prefixOf(address, mask string) (netip.Prefix, bool) {
	if strings.Contains(address, "/") {
		p, err := netip.ParsePrefix(address)
		return p, err == nil && p.Addr().Is4()
	}
	addr, err := netip.ParseAddr(address)
	if err != nil || !addr.Is4() {
		return netip.Prefix{}, false
	}
	bits, ok := bitsOf(strings.TrimPrefix(mask, "/"))
	if !ok {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr, bits), true
}

func bitsOf(mask string) (int, bool) {
	if m, err := netip.ParseAddr(mask); err == nil && m.Is4() {
		bits := 0
		for _, b := range m.As4() {
			for ; b&0x80 != 0; b <<= 1 {
				bits++
			}
		}
		p, err := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(bits)
		return bits, err == nil && p.Addr() == m
	}
	n, ok := number(mask, 1, 32)
	return n, ok
}

// number returns a whole number within bounds.
func number(s string, least, largest int) (int, bool) {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' || n > 1<<24 {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, s != "" && n >= least && n <= largest
}

// isAddress reports whether a text is an IPv4 address of one host.
func isAddress(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast()
}

// addServers adds those texts that are addresses of a family that the uplink has, up to three in all.
func (u *uplink) addServers(list []string) {
	for _, s := range list {
		fits := isAddress(s) && !u.without4 || isAddress6(s) && u.six.present()
		if text := quotedAddress(s); fits && !slices.Contains(u.servers, text) && len(u.servers) < 3 {
			u.servers = append(u.servers, text)
		}
	}
	if len(u.servers) > 0 {
		u.set("nameservers", "["+strings.Join(u.servers, ", ")+"]")
	}
}

// addressesOfAny returns all texts that are IPv4 addresses.
func addressesOfAny(list []string) (found []string) {
	for _, s := range list {
		if isAddress(s) && !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	return found
}

// isInterface reports whether a text can be the name of an interface that is an uplink.
func isInterface(s string) bool {
	reserved := []string{"lo", "all", "default", ".", ".."}
	return s != "" && len(s) <= 15 && !strings.ContainsAny(s, "/: \t@") && !slices.Contains(reserved, s)
}
