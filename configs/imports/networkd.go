package imports

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A unitSection is one of a systemd.network(5) file.
type unitSection struct {
	name    string
	entries []unitEntry
}

// A unitEntry is a line KEY=VALUE of one.
type unitEntry struct {
	line
	key, value string
}

func (s *unitSection) value(key string) string {
	value := ""
	for _, e := range s.entries {
		if e.key == key {
			value = e.value
		}
	}
	return value
}

func unitSections(name, text string) (list []unitSection) {
	for _, l := range linesOf(name, text) {
		if strings.HasPrefix(l.text, "[") {
			list = append(list, unitSection{name: strings.Trim(l.text, "[]")})
			continue
		}
		if key, value, ok := strings.Cut(l.text, "="); ok && len(list) > 0 {
			s := &list[len(list)-1]
			s.entries = append(s.entries, unitEntry{l, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return list
}

var errNoUplink = errors.New("no interface there has a default route, or asks for one by DHCP")

// Networkd makes a configuration of the .network files in a directory. Those are uplinks that
// have a gateway or ask for a lease.
func Networkd(root fs.FS, dir string) (*Result, error) {
	r := &Result{}
	err := eachFile(root, dir, "*.network", func(name, text string) error {
		r.networkFile(name, unitSections(name, text))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(r.uplinks) == 0 {
		return nil, fmt.Errorf("%s: %w", dir, errNoUplink)
	}
	return r, nil
}

// A networkFile is what of a .network file matters to an uplink.
type networkFile struct {
	r           *Result
	u           uplink
	match, dhcp string
	subnet      int  // of a LAN's, negative: the next
	delegated   bool // a LAN gets a part of a prefix
	self        bool // it is the prefix of this very interface
	told        bool // whether routers are heard
	servers     []string
	rest        []unitEntry // has no counterpart
}

// networkFile makes an uplink of one file, if it is about one.
func (r *Result) networkFile(name string, sections []unitSection) {
	base := strings.TrimLeft(strings.TrimSuffix(path.Base(name), ".network"), "0123456789-")
	f := networkFile{r: r, u: uplink{name: r.nameOf(base)}, subnet: -1}
	for i := range sections {
		s := &sections[i]
		if s.name == "Route" {
			f.rest = append(f.rest, r.route(&f.u, s)...)
			continue
		}
		for _, e := range s.entries {
			f.take(s.name, e)
		}
	}
	byDHCP := slices.Contains([]string{"yes", "ipv4", "true"}, f.dhcp)
	f.u.six.auto = f.u.six.auto || slices.Contains([]string{"yes", "ipv6", "true"}, f.dhcp)
	if f.delegated && !f.self && !byDHCP && f.u.gateway == "" && isInterface(f.match) {
		r.lan(f.match, f.subnet)
		r.note(place{name, 0}, "[Match] Name="+f.match, "DHCPPrefixDelegation: take it out there, uplinkd puts the "+
			"network onto the interface")
		return
	}
	if !r.isUplink(&f.u, byDHCP) {
		r.note(place{name, 0}, "[Match] Name="+f.match, "no gateway and no lease: this is no uplink")
		return
	}
	if byDHCP {
		f.u.address = nil
	}
	r.finish(&f.u, f.match, f.servers)
	if !f.told && !f.u.six.present() {
		f.u.remark(hearsRouters)
	}
	f.u.remark("%s: put [Match] Name=%s and [Link] Unmanaged=yes in its place: two would look after %[2]s",
		name, f.u.iface)
	for _, e := range f.rest {
		r.note(e.place, e.text, networkdReason(e.key))
	}
	r.uplinks = append(r.uplinks, f.u)
}

// take takes an assignment over.
func (f *networkFile) take(section string, e unitEntry) {
	switch section + "." + e.key {
	case "Match.Name":
		f.match = e.value
	case "Network.DHCP":
		f.dhcp = e.value
	case "Network.Address", "Address.Address":
		if p, ok := prefixOf(e.value, ""); ok {
			f.u.address = append(f.u.address, p.String())
		} else {
			f.u.six.take(e.value)
		}
	case "DHCPPrefixDelegation.UplinkInterface":
		f.self = e.value == ":self"
	case "Network.IPv6AcceptRA":
		f.told = true
		f.u.six.auto = f.u.six.auto || isYes(e.value)
	case "Network.DHCPPrefixDelegation":
		f.delegated = isYes(e.value)
	case "DHCPPrefixDelegation.SubnetId":
		if n, err := strconv.ParseUint(strings.TrimPrefix(e.value, "0x"), 16, 16); err == nil {
			f.subnet = int(n)
		}
	case "Network.Gateway":
		f.r.gateway(&f.u, e.value)
	case "Network.DNS":
		f.servers = append(f.servers, strings.Fields(e.value)...)
	default:
		f.rest = append(f.rest, e)
	}
}

// route takes a section [Route] over, and returns what of it is not.
func (r *Result) route(u *uplink, s *unitSection) []unitEntry {
	isDefault := slices.Contains([]string{"", "0.0.0.0/0", "::/0"}, s.value("Destination"))
	if isDefault && s.value("Gateway") != "" {
		r.gateway(u, s.value("Gateway"))
		if table := s.value("Table"); table != "" {
			if _, ok := number(table, 1, 1<<30); ok {
				u.set("table", table)
			}
		}
		return slices.DeleteFunc(slices.Clone(s.entries), func(e unitEntry) bool { return e.key != "Metric" })
	}
	return s.entries
}

func (r *Result) gateway(u *uplink, value string) {
	switch {
	case u.six.takeGateway(u, value), !isAddress(value), value == u.gateway:
	case u.gateway == "":
		u.gateway = value
	default:
		u.remark("a second gateway, %s: an uplink has one, on an interface of its own", value)
	}
}

// isUplink reports whether what was read has a way out in either family. Addresses of a family in
// which it has none stay another program's.
func (r *Result) isUplink(u *uplink, byDHCP bool) bool {
	u.without4 = !byDHCP && u.gateway == ""
	if u.six.gateway == "" && !u.six.auto && len(u.six.address) > 0 {
		if !u.without4 {
			u.remark("its addresses of IPv6 %s have no gateway: they stay where they are, unless you add "+
				"`ipv6:`", strings.Join(u.six.address, ", "))
		}
		u.six.address = nil
	}
	if u.without4 && u.six.present() && len(u.address) > 0 {
		u.remark("its addresses of IPv4 have no gateway: they stay where they are")
	}
	return !u.without4 || u.six.present()
}

// hearsRouters is said where nothing tells that an uplink has no IPv6: then routers are heard.
const hearsRouters = "whether it has IPv6 is not said there, and routers are heard: if so, `ipv6: auto`"

func isYes(s string) bool {
	return slices.Contains([]string{"yes", "true", "on", "1", "y", "t"}, strings.ToLower(s))
}

func networkdReason(key string) string {
	switch key {
	case "From", "To", "FirewallMark", "Priority", "Table":
		return "uplinkd sets the rules of its uplinks; others stay where they are"
	case "UseRoutes", "UseGateway", "RouteMetric", "Metric", "DefaultRouteOnDevice":
		return "uplinkd's default route is one for all uplinks: `weight` and `tier`"
	case "IPMasquerade":
		return "`masquerade: true` of each uplink"
	}
	if strings.HasPrefix(key, "IPv6") || key == "PrefixDelegationHint" || key == "SubnetId" {
		return "uplinkd hears the routers and asks for a prefix itself (docs/ipv6.md)"
	}
	return "no counterpart"
}

// finish makes an uplink whole whose interface is matched by a pattern.
func (r *Result) finish(u *uplink, match string, servers []string) {
	u.iface = strings.Trim(firstWord(match), `"`)
	if !isInterface(u.iface) || strings.ContainsAny(u.iface, "*?[!") {
		u.remark("the name of its interface: %q is a pattern, or there is none", match)
		u.iface = strings.Trim(notOfAName.ReplaceAllString(u.name, "-"), "-")[:min(len(u.name), 15)]
	}
	u.addServers(servers)
}

func firstWord(s string) string {
	if words := strings.Fields(s); len(words) > 0 {
		return words[0]
	}
	return ""
}
