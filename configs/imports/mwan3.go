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
}

// MWAN3 makes a configuration of OpenWrt's mwan3, and of the file network beside its own.
func MWAN3(root fs.FS, name string) (*Result, error) {
	text, err := read(root, name)
	if err != nil {
		return nil, err
	}
	sections, strange := uci("/"+name, text)
	m := mwan3{r: &Result{}, network: map[string]*section{}, members: map[string]*section{}}
	if beside, err := read(root, path.Join(path.Dir(name), "network")); err == nil {
		interfaces, _ := uci("network", beside)
		for i := range interfaces {
			if interfaces[i].kind == "interface" {
				m.network[interfaces[i].name] = &interfaces[i]
			}
		}
	}
	for i := range sections {
		switch s := &sections[i]; s.kind {
		case "interface":
			m.uplink(s)
		case "member":
			m.members[s.name] = s
		}
	}
	if len(m.r.uplinks) == 0 {
		return nil, fmt.Errorf("%s: no section `config interface` that is enabled and of IPv4: "+
			"this is no configuration of mwan3", name)
	}
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

// leftover notes all options of a section but those that are named.
func (m *mwan3) leftover(s *section, taken ...string) {
	for _, name := range slices.Sorted(maps.Keys(s.lines)) {
		if !slices.Contains(taken, name) {
			m.r.note(s.lines[name].place, s.lines[name].text, "no counterpart")
		}
	}
}

// uplink makes one of a section `config interface`.
func (m *mwan3) uplink(s *section) {
	switch {
	case s.name == "":
		m.r.note(s.place, "config interface", "it has no name")
		return
	case s.option("enabled") == "0":
		m.r.note(s.place, "config interface "+s.name, "not enabled")
		return
	case s.option("family") == "ipv6":
		m.r.note(s.place, "config interface "+s.name, "IPv6 is for a later version")
		return
	}
	u := uplink{name: m.r.nameOf(s.name), iface: s.name}
	if net := m.network[s.name]; net != nil {
		m.fromNetwork(&u, net)
	} else {
		u.remark("the name of its device and how it gets its address: %s is what OpenWrt calls it, and "+
			"the file network was not beside this one", s.name)
	}
	m.probe(&u, s)
	m.r.uplinks = append(m.r.uplinks, u)
	m.leftover(s, "enabled", "family", "track_ip", "reliability", "timeout", "interval", "failure_interval", "down",
		"up", "track_method")
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
	if list := addressesOf(strings.Fields(strings.Join(net.values["dns"], " "))); len(list) > 0 {
		u.set("nameservers", "["+strings.Join(list, ", ")+"]")
	}
}

// probe takes over what is asked, and how often.
func (m *mwan3) probe(u *uplink, s *section) {
	var entries []string
	targets := addressesOfAny(s.values["track_ip"])
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
	if len(entries) > 0 {
		u.set("probe", "{"+strings.Join(entries, ", ")+"}")
	}
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
		if tier := slices.Index(tiers, metricOf(member)) + 1; tier > 1 {
			u.set("tier", fmt.Sprint(min(tier, 100)))
		}
		if weight, ok := number(cmp.Or(member.option("weight"), "1"), 1, 256); ok && weight > 1 {
			u.set("weight", fmt.Sprint(weight))
		}
	}
}

// metricOf returns the metric of a member: a lower one is used first.
func metricOf(member *section) int {
	n, _ := number(cmp.Or(member.option("metric"), "1"), 1, 256)
	return n
}

// uplinkOf returns the name of a member's uplink.
func (m *mwan3) uplinkOf(member *section) string {
	return strings.Trim(notOfAName.ReplaceAllString(member.option("interface"), "-"), "-")
}
