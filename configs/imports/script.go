package imports

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// arrays are those of the script, each with an entry an interface.
var arrays = []string{
	"IFACE_TABLES", "IFACE_TABLES_PRIO", "IFACE_DEVICE", "IFACE_IPS", "IFACE_NMS", "IFACE_GWS", "IFACE_WEI",
	"IFACE_MARK",
}

const routeOptions = "ROUTE_OPTIONS"

// assignment is `NAME=value`, `NAME[2]=value` or `NAME+=value`, after declare and the like.
var assignment = regexp.MustCompile(`^(?:(?:declare|typeset|local|export|readonly)\s+(?:-\w+\s+)*)?` +
	`([A-Za-z_][A-Za-z0-9_]*)(\[\d+\])?(\+?)=(.*)$`)

// A script is what its assignments say.
type script struct {
	values map[string][]string
	at     map[string]place
	rest   []line
}

// Script makes a configuration of an if-up script with the arrays IFACE_…, and of
// interfaces(5) and dhclient.conf(5) below root. It does not run the script. tables are the
// names of routing tables that this host knows.
func Script(root fs.FS, name string, tables map[string]uint32) (*Result, error) {
	text, err := read(root, name)
	if err != nil {
		return nil, err
	}
	s := readScript("/"+name, text)
	if len(s.values["IFACE_DEVICE"]) == 0 {
		return nil, fmt.Errorf("%s: no array IFACE_DEVICE with the names of interfaces: "+
			"this is not the known script", name)
	}
	r := &Result{}
	for i := range s.values["IFACE_DEVICE"] {
		s.uplink(r, i, tables)
	}
	r.interfaces(root)
	r.dhclient(root)
	for _, l := range s.rest {
		if why := done(l.text); why != "" {
			r.note(l.place, l.text, why)
		}
	}
	return r, nil
}

// readScript reads the assignments of a script. Arrays may go over several lines.
func readScript(name, text string) *script {
	s := &script{values: map[string][]string{}, at: map[string]place{}}
	lines := linesOf(name, text)
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		found := assignment.FindStringSubmatch(l.text)
		if found == nil {
			s.rest = append(s.rest, l)
			continue
		}
		variable, index, more, value := found[1], found[2], found[3], strings.TrimSpace(found[4])
		if opened, isArray := strings.CutPrefix(value, "("); isArray {
			for !strings.Contains(opened, ")") && i+1 < len(lines) {
				i++
				opened = strings.Join(append(wordsQuoted(opened), lines[i].text), " ")
			}
			value, _, _ = strings.Cut(opened, ")")
		}
		if !slices.Contains(arrays, variable) && variable != routeOptions {
			continue // one of the script's own
		}
		words := wordsOf(value)
		switch {
		case index != "" && variable != routeOptions:
			s.put(variable, index, words)
		case more != "":
			s.values[variable] = append(s.values[variable], words...)
		default:
			s.values[variable] = words
		}
		s.at[variable] = l.place
	}
	return s
}

// wordsQuoted returns the words of a part of an array, without its comment, so that they can be
// put together with the next line's.
func wordsQuoted(s string) (list []string) {
	for _, w := range wordsOf(s) {
		list = append(list, "'"+w+"'")
	}
	return list
}

// put sets one entry of an array, as NAME[2]=value does.
func (s *script) put(variable, index string, words []string) {
	n, ok := number(strings.Trim(index, "[]"), 0, 255)
	if !ok {
		return
	}
	list := s.values[variable]
	for len(list) <= n {
		list = append(list, "")
	}
	list[n] = strings.Join(words, " ")
	s.values[variable] = list
}

// entry returns an entry of an array, "" where there is none.
func (s *script) entry(variable string, i int) string {
	if list := s.values[variable]; i < len(list) {
		return strings.TrimSpace(list[i])
	}
	return ""
}

// uplink makes an uplink of the i-th entries.
func (s *script) uplink(r *Result, i int, tables map[string]uint32) {
	device := s.entry("IFACE_DEVICE", i)
	if device == "" {
		return
	}
	table := s.entry("IFACE_TABLES", i)
	u := uplink{name: r.nameOf(cmp.Or(table, device)), iface: device}
	look := func(variable, value, what string) {
		u.remark("%s:%d: %s: %q is not %s", s.at[variable].file, s.at[variable].line, variable, value, what)
	}
	if ip := s.entry("IFACE_IPS", i); ip != "" && ip != "dhcp" && ip != "0.0.0.0" {
		if p, ok := prefixOf(ip, cmp.Or(s.entry("IFACE_NMS", i), "24")); ok {
			u.address = []string{p.String()}
		} else {
			look("IFACE_IPS", ip, "an address with a mask: it is taken by DHCP here")
		}
	}
	if gateway := s.entry("IFACE_GWS", i); isAddress(gateway) {
		u.gateway = gateway
	} else if gateway != "" {
		look("IFACE_GWS", gateway, "the address of a router")
	}
	if weight := s.entry("IFACE_WEI", i); weight != "" {
		if _, ok := number(weight, 1, 256); ok {
			u.set("weight", weight)
		} else {
			look("IFACE_WEI", weight, "a weight of 1 to 256")
		}
	}
	s.tableAndMark(&u, i, table, tables, look)
	if options := optionsOf(s.values[routeOptions]); options != "" {
		u.set("options", options)
	}
	r.uplinks = append(r.uplinks, u)
	if prio := s.entry("IFACE_TABLES_PRIO", i); prio != "" {
		r.note(s.at["IFACE_TABLES_PRIO"], "IFACE_TABLES_PRIO: "+prio,
			"priorities of rules are uplinkd's own (routes.rule_priority)")
	}
}

var markText = regexp.MustCompile(`^(0x[0-9a-fA-F]{1,8}|[0-9]{1,10})$`)

func (s *script) tableAndMark(
	u *uplink, i int, table string, tables map[string]uint32, look func(variable, value, what string),
) {
	_, known := tables[table]
	if _, isNumber := number(table, 1, 1<<23); known || isNumber {
		u.set("table", quotedNumber(table))
	} else if table != "" {
		look("IFACE_TABLES", table, "a table that this host knows: see /etc/iproute2/rt_tables")
	}
	mark, _, _ := strings.Cut(s.entry("IFACE_MARK", i), "/")
	if markText.MatchString(mark) && strings.Trim(mark, "0x") != "" {
		u.set("fwmark", mark)
	} else if mark != "" {
		look("IFACE_MARK", mark, "a mark")
	}
}

func quotedNumber(s string) string {
	if _, ok := number(s, 0, 1<<30); ok {
		return s
	}
	return quoted(s)
}

// optionsOf makes the options of a route, as ip-route(8) has them, a mapping.
func optionsOf(values []string) string {
	words := strings.Fields(strings.Join(values, " "))
	var list []string
	for i := 0; i+1 < len(words); i += 2 {
		name, value := words[i], words[i+1]
		if name == "window" && i > 0 {
			continue
		}
		_, isNumber := number(value, 1, 1<<20)
		switch {
		case name == "quickack":
			list = append(list, fmt.Sprintf("quickack: %t", value == "1"))
		case slices.Contains([]string{"initcwnd", "initrwnd", "mtu", "advmss"}, name) && isNumber:
			list = append(list, name+": "+value)
		case name == "rto_min":
			if _, ok := number(strings.TrimSuffix(value, "ms"), 1, 60_000); ok {
				list = append(list, name+": "+strings.TrimSuffix(value, "ms")+"ms")
			}
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "{" + strings.Join(list, ", ") + "}"
}

// done says of a line of a script that changes the network why it is not taken over, "" of
// any other.
func done(text string) string {
	words := strings.Fields(text)
	if len(words) == 0 {
		return ""
	}
	switch path.Base(words[0]) {
	case "ip", "route", "ifconfig":
		return "uplinkd sets routes, rules and addresses"
	case "iptables", "ip6tables", "nft", "tc", "ipset":
		return "stays yours; masquerade and policies may take its place (docs/flows.md)"
	case "sysctl":
		return "uplinkd sets those of its uplinks"
	case "ping", "fping", "arping":
		return "uplinkd probes"
	case "ifup", "ifdown", "dhclient", "udhcpc":
		return "uplinkd keeps leases, and sets no interface down"
	}
	if strings.Contains(text, ">/proc/sys/") || strings.Contains(text, "> /proc/sys/") {
		return "uplinkd sets those of its uplinks"
	}
	return ""
}
