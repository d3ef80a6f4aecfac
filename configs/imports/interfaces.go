package imports

import (
	"cmp"
	"io/fs"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// interfaces takes over what interfaces(5) below root says of uplinks that are there already.
func (r *Result) interfaces(root fs.FS) {
	more, _ := fs.Glob(root, "etc/network/interfaces.d/*") // the pattern is well-formed
	for _, name := range append([]string{"etc/network/interfaces"}, more...) {
		text, err := read(root, name)
		if err != nil {
			continue
		}
		var u *uplink
		var mask string
		var six bool // the stanza is one of IPv6
		for _, l := range linesOf("/"+name, text) {
			words := strings.Fields(l.text)
			switch words[0] {
			case "iface":
				u, mask = r.stanza(l, words), ""
				six = u != nil && words[2] == "inet6"
			case "auto", "mapping", "source", "source-directory", "rename", "no-auto-down", "no-scripts":
				u = nil
			default:
				if strings.HasPrefix(words[0], "allow-") {
					u = nil
				}
				switch {
				case u == nil || len(words) < 2:
				case six:
					r.option6(u, l, words, &mask)
				default:
					r.option(u, l, words, &mask)
				}
			}
		}
	}
}

// stanza returns the uplink that a line `iface NAME inet METHOD` is about, or inet6, nil for none.
func (r *Result) stanza(l line, words []string) *uplink {
	if len(words) < 4 || words[2] != "inet" && words[2] != "inet6" {
		return nil
	}
	i := slices.IndexFunc(r.uplinks, func(u uplink) bool { return u.iface == words[1] })
	if i < 0 {
		return nil
	}
	u := &r.uplinks[i]
	if words[2] == "inet6" {
		r.stanza6(u, l, words[3])
		return u
	}
	switch words[3] {
	case "dhcp":
		u.address = nil
		u.remark("%s:%d: make it `iface %s inet manual`: two would ask for a lease", l.file, l.line, u.iface)
	case "static":
		u.remark("%s:%d: make it `iface %s inet manual`, without a gateway: uplinkd sets the address",
			l.file, l.line, u.iface)
	case "ppp", "wvdial":
		u.external, u.address = true, nil
	}
	return u
}

// stanza6 takes over how an uplink gets its address in IPv6.
func (r *Result) stanza6(u *uplink, l line, method string) {
	switch method {
	case "auto", "dhcp":
		u.six.auto = true
	case "ppp":
		u.six.external = true
	case "static":
	default: // manual, loopback, tunnels
		return
	}
	u.remark("%s:%d: make it `iface %s inet6 manual`: uplinkd sets the address", l.file, l.line, u.iface)
}

// option6 takes over a line of a stanza of IPv6.
func (r *Result) option6(u *uplink, l line, words []string, bits *string) {
	switch value := words[1]; words[0] {
	case "address":
		if !strings.Contains(value, "/") {
			value += "/" + cmp.Or(*bits, "64")
		}
		if !u.six.auto {
			u.six.take(value)
		}
	case "netmask":
		*bits = value
		for i, a := range u.six.address {
			address, _, _ := strings.Cut(a, "/")
			if p, err := netip.ParsePrefix(address + "/" + value); err == nil {
				u.six.address[i] = p.String()
			}
		}
	case "gateway":
		u.six.takeGateway(u, value)
	case "dns-nameservers", "dns-nameserver":
		u.addServers(words[1:])
	case "request_prefix", "accept_ra", "autoconf", "privext", "dad-attempts":
		r.note(l.place, l.text, "uplinkd hears the routers and asks for a prefix itself (docs/ipv6.md)")
	default:
		r.note(l.place, l.text, "stays where it is")
	}
}

// option takes over a line of a stanza.
func (r *Result) option(u *uplink, l line, words []string, mask *string) {
	value := words[1]
	switch words[0] {
	case "address":
		if p, ok := prefixOf(value, cmp.Or(*mask, "24")); ok && len(u.address) == 0 && !u.external {
			u.address = []string{p.String()}
		}
	case "netmask":
		*mask = value
		if len(u.address) == 1 {
			address, _, _ := strings.Cut(u.address[0], "/")
			if p, ok := prefixOf(address, value); ok {
				u.address[0] = p.String()
			}
		}
	case "gateway":
		if u.gateway == "" && isAddress(value) {
			u.gateway = value
		}
	case "dns-nameservers", "dns-nameserver":
		u.addServers(words[1:])
	case "up", "post-up", "pre-up", "down", "post-down", "pre-down":
		r.note(l.place, l.text, cmp.Or(done(strings.Join(words[1:], " ")), "stays where it is"))
	default:
		r.note(l.place, l.text, "stays where it is")
	}
}

var sendOption = regexp.MustCompile(`^send\s+([a-z0-9-]+)\s+(.*?);?$`)

// dhclient takes over what dhclient.conf(5) below root has sent to servers.
func (r *Result) dhclient(root fs.FS) {
	for _, name := range []string{"etc/dhcp/dhclient.conf", "etc/dhclient.conf", "etc/dhcp3/dhclient.conf"} {
		text, err := read(root, name)
		if err != nil {
			continue
		}
		iface, inRequest := "", false
		for _, l := range linesOf("/"+name, text) {
			switch words := strings.Fields(l.text); {
			case inRequest:
				inRequest = !strings.HasSuffix(l.text, ";")
			case words[0] == "interface" && len(words) > 1:
				iface = strings.Trim(words[1], `"{`)
			case l.text == "}":
				iface = ""
			case words[0] == "request" || words[0] == "require":
				inRequest = !strings.HasSuffix(l.text, ";")
				r.note(l.place, l.text, "uplinkd asks for what it uses, and for no routes")
			default:
				r.sent(l, iface)
			}
		}
	}
}

// sent takes over a line `send OPTION VALUE;`.
func (r *Result) sent(l line, iface string) {
	found := sendOption.FindStringSubmatch(l.text)
	names := map[string]string{
		"host-name": "host_name", "dhcp-client-identifier": "client_id", "vendor-class-identifier": "vendor_class",
		"user-class": "user_class",
	}
	if found == nil || names[found[1]] == "" {
		r.note(l.place, l.text, "look whether `dhcp:` of an uplink has it")
		return
	}
	value := strings.Trim(found[2], `"`)
	if strings.ContainsAny(value, "(=\"") {
		r.note(l.place, l.text, "its value is worked out by dhclient: give `"+names[found[1]]+"` a text")
		return
	}
	if found[1] == "dhcp-client-identifier" && strings.Contains(value, ":") {
		value = "hex:" + value
	}
	for i := range r.uplinks {
		u := &r.uplinks[i]
		if len(u.address) == 0 && !u.external && (iface == "" || u.iface == iface) {
			u.addTo("dhcp", names[found[1]]+": "+quoted(value))
		}
	}
}

// addTo adds to a key whose value is a mapping.
func (u *uplink) addTo(name, entry string) {
	for i := range u.keys {
		if u.keys[i].name == name {
			u.keys[i].value = strings.TrimSuffix(u.keys[i].value, "}") + ", " + entry + "}"
			return
		}
	}
	u.set(name, "{"+entry+"}")
}
