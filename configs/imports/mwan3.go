package imports

import (
	"cmp"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// A mwan3 is the sections of its file, and those of the file network beside it.
type mwan3 struct {
	r       *Result
	network map[string]*section
	members map[string]*section
	uplinks map[string]string // the uplink that an interface is, or is the path in IPv6 of
	sixes   map[string]bool   // the interfaces of IPv6
	main    string            // the policy that weights and tiers are of
}

// MWAN3 makes a configuration of OpenWrt's mwan3, and of the file network beside its own.
func MWAN3(root fs.FS, name string) (*Result, error) {
	text, err := read(root, name)
	if err != nil {
		return nil, err
	}
	sections, strange := uci("/"+name, text)
	m := mwan3{
		r: &Result{}, network: map[string]*section{}, members: map[string]*section{},
		uplinks: map[string]string{}, sixes: map[string]bool{},
	}
	if beside, err := read(root, path.Join(path.Dir(name), "network")); err == nil {
		interfaces, _ := uci("network", beside)
		for i := range interfaces {
			if interfaces[i].kind == "interface" {
				m.network[interfaces[i].name] = &interfaces[i]
			}
		}
	}
	m.interfaces(sections)
	if len(m.r.uplinks) == 0 {
		return nil, fmt.Errorf("%s: no section `config interface` that is enabled: "+
			"this is no configuration of mwan3", name)
	}
	m.lans()
	m.policies(sections)
	for i := range sections {
		switch s := &sections[i]; s.kind {
		case "rule":
			m.rule(s, sections)
		case "interface", "member", "policy":
		default:
			m.leftover(s)
		}
	}
	for _, l := range strange {
		m.r.note(l.place, l.text, "not understood")
	}
	return m.r, nil
}

// interfaces reads the sections of interfaces, and of members. A path in IPv6 goes to the uplink
// on its device, which has to be known.
func (m *mwan3) interfaces(sections []section) {
	var sixes []*section
	for i := range sections {
		switch s := &sections[i]; {
		case s.kind == "member":
			m.members[s.name] = s
		case s.kind == "interface" && s.option("family") == "ipv6":
			sixes = append(sixes, s)
		case s.kind == "interface":
			m.interfaceOf(s, m.uplink)
		}
	}
	for _, s := range sixes {
		m.interfaceOf(s, m.path6)
	}
}

// leftover notes all options of a section but those that are named.
func (m *mwan3) leftover(s *section, taken ...string) {
	for _, name := range slices.Sorted(maps.Keys(s.lines)) {
		if !slices.Contains(taken, name) {
			m.r.note(s.lines[name].place, s.lines[name].text, "no counterpart")
		}
	}
}

// interfaceOf takes over a section `config interface` that is one.
func (m *mwan3) interfaceOf(s *section, take func(*section)) {
	switch {
	case s.name == "":
		m.r.note(s.place, "config interface", "it has no name")
	case s.option("enabled") == "0":
		m.r.note(s.place, "config interface "+s.name, "not enabled")
	default:
		take(s)
	}
}

// uplink makes one of a section of IPv4.
func (m *mwan3) uplink(s *section) {
	u := uplink{name: m.r.nameOf(s.name), iface: s.name}
	if net := m.network[s.name]; net != nil {
		m.fromNetwork(&u, net)
	} else {
		u.remark("the name of its device and how it gets its address: %s is what OpenWrt calls it, and "+
			"the file network was not beside this one", s.name)
	}
	if entries := m.probe(&u, s, addressesOfAny(s.values["track_ip"])); entries != "" {
		u.set("probe", entries)
	}
	m.uplinks[s.name] = u.name
	m.r.uplinks = append(m.r.uplinks, u)
}

// fromNetwork takes over how an interface gets its address.
func (m *mwan3) fromNetwork(u *uplink, net *section) {
	if device := cmp.Or(net.option("device"), net.option("ifname")); device != "" {
		u.iface = device
	}
	if !isInterface(u.iface) {
		u.remark("%s is no name of an interface: name the device", u.iface)
		u.iface = strings.Trim(notOfAName.ReplaceAllString(u.iface, "-"), "-")
		u.iface = u.iface[:min(len(u.iface), 15)]
	}
	switch proto := net.option("proto"); proto {
	case "static":
		for _, address := range net.values["ipaddr"] {
			if p, ok := prefixOf(address, cmp.Or(net.option("netmask"), "24")); ok {
				u.address = append(u.address, p.String())
			}
		}
		if gateway := net.option("gateway"); isAddress(gateway) {
			u.gateway = gateway
		}
		if len(u.address) == 0 {
			u.external = true
			u.remark("its address: none was found in the file network")
		}
	case "dhcp", "":
	default: // pppoe, qmi, mbim, 3g, wireguard: another program's
		u.external = true
		if proto == "pppoe" || proto == "pppoa" || proto == "3g" {
			u.iface = (proto + "-" + net.name)[:min(len(proto)+1+len(net.name), 15)]
			u.remark("its interface: OpenWrt calls it %s", u.iface)
		}
	}
	u.addServers(strings.Fields(strings.Join(net.values["dns"], " ")))
}

// probe takes over what is asked, and how often, and notes the rest of a section.
func (m *mwan3) probe(u *uplink, s *section, targets []string) string {
	var entries []string
	if method := cmp.Or(s.option("track_method"), "ping"); method != "ping" && len(targets) > 0 {
		u.remark("it asked by %s: uplinkd asks addresses by ICMP, and tcp://, http:// and dns:// by name", method)
	}
	if len(targets) > 0 {
		entries = append(entries, "targets: ["+strings.Join(targets, ", ")+"]")
	}
	if n, ok := number(s.option("reliability"), 1, len(targets)); ok && n > 1 {
		entries = append(entries, fmt.Sprintf("quorum: %d", n))
	}
	if n, ok := number(s.option("up"), 1, 100); ok && n != 5 {
		entries = append(entries, fmt.Sprintf("up_after: %d", n))
	}
	for _, name := range []string{"interval", "timeout", "down", "failure_interval"} {
		if l, ok := s.lines[name]; ok {
			m.r.note(l.place, l.text, "uplinkd learns when a silence means down (docs/verdict.md)")
		}
	}
	m.leftover(s, "enabled", "family", "track_ip", "reliability", "timeout", "interval", "failure_interval", "down",
		"up", "track_method")
	if len(entries) == 0 {
		return ""
	}
	return "{" + strings.Join(entries, ", ") + "}"
}

// policies takes weights and tiers over from the policy that is for all that no other is about,
// or that most rules use, or the first.
func (m *mwan3) policies(sections []section) {
	uses := map[string]int{}
	for i := range sections {
		if s := &sections[i]; s.kind == "rule" {
			uses[s.option("use_policy")]++
			if everything(s) {
				uses[s.option("use_policy")] += len(sections)
			}
		}
	}
	var main *section
	for i := range sections {
		if s := &sections[i]; s.kind == "policy" && (main == nil || uses[s.name] > uses[main.name]) {
			main = s
		}
	}
	if main == nil {
		return
	}
	m.main = main.name
	m.shares(main.values["use_member"])
	if l, ok := main.lines["last_resort"]; ok {
		m.r.note(l.place, l.text, "routes.last_resort: keep, or none")
	}
}

// shares gives the uplinks of members their weights, and tiers in the order of the metrics.
func (m *mwan3) shares(names []string) {
	metrics := map[int]bool{}
	for _, name := range names {
		if member := m.members[name]; member != nil {
			metrics[metricOf(member)] = true
		}
	}
	tiers := slices.Sorted(maps.Keys(metrics))
	for _, name := range names {
		member := m.members[name]
		if member == nil || m.r.named(m.uplinkOf(member)) == nil {
			continue
		}
		u := m.r.named(m.uplinkOf(member))
		set, least := u.set, 2 // 1 is the default
		if m.sixes[member.option("interface")] && !u.without4 {
			set, least = u.six.set, 1
		}
		if tier := slices.Index(tiers, metricOf(member)) + 1; tier >= least {
			set("tier", fmt.Sprint(min(tier, 100)))
		}
		if weight, ok := number(cmp.Or(member.option("weight"), "1"), least, 256); ok {
			set("weight", fmt.Sprint(weight))
		}
	}
	for i := range m.r.uplinks {
		m.r.uplinks[i].sameShares()
	}
}

// metricOf returns the metric of a member: a lower one is used first.
func metricOf(member *section) int {
	n, _ := number(cmp.Or(member.option("metric"), "1"), 1, 256)
	return n
}

// uplinkOf returns the name of a member's uplink, "" for none.
func (m *mwan3) uplinkOf(member *section) string { return m.uplinks[member.option("interface")] }
