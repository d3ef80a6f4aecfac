package imports

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// everything reports whether a rule is about all that others are not.
func everything(s *section) bool {
	dest := cmp.Or(s.option("dest_ip"), "::/0")
	if s.option("ipset")+s.option("src_iface") != "" {
		return false
	}
	return isAll(dest) && s.option("src_ip")+s.option("dest_port")+s.option("src_port") == "" &&
		cmp.Or(s.option("proto"), "all") == "all"
}

// isAll reports whether a text stands for every address of a family.
func isAll(network string) bool { return network == "0.0.0.0/0" || network == "::/0" }

// rule makes a policy of a rule that is not about everything.
func (m *mwan3) rule(s *section, sections []section) {
	via := m.via(s.option("use_policy"), sections)
	switch {
	case s.option("enabled") == "0":
		m.r.note(s.place, "config rule "+s.name, "not enabled")
		return
	case everything(s):
		m.r.note(s.place, "config rule "+s.name, "what no policy is about goes by the weights and tiers of "+
			"the uplinks, which are those of "+m.main+" in both families")
		return
	case via == "":
		m.r.note(s.place, "config rule "+s.name, "its policy "+s.option("use_policy")+" names no uplink that is here")
		return
	}
	entries := append([]string{"name: " + policyName(s.name, len(m.r.policies))}, m.matches(s)...)
	entries = append(entries, "via: "+via)
	if s.option("sticky") == "1" && via == "balance" {
		entries = append(entries, "sticky: source")
		if n, ok := number(s.option("timeout"), 1, 86400); ok {
			entries = append(entries, fmt.Sprintf("sticky_for: %ds", n))
		}
	}
	if slices.Contains(entries, "") { // without that match it would be about more
		m.r.note(s.place, "config rule "+s.name, "a match of it is not understood")
		return
	}
	m.r.policies = append(m.r.policies, strings.Join(entries, ", "))
	m.leftover(s, "enabled", "family", "src_ip", "dest_ip", "proto", "src_port", "dest_port", "sticky", "timeout",
		"use_policy")
}

// matches returns what a policy matches that is made of a rule; "" stands for what is not
// understood.
func (m *mwan3) matches(s *section) []string {
	var entries []string
	for _, e := range []struct{ option, key string }{{"src_ip", "from"}, {"dest_ip", "to"}} {
		value := s.option(e.option)
		if whole := isAll(value); value != "" && (!whole || m.hasIPv6()) { // all of a family is not all of both
			entries = append(entries, m.list(s, e.option, e.key, value, isNetwork))
		}
	}
	if whole := wholeOf[s.option("family")]; whole != "" && len(entries) == 0 && m.hasIPv6() {
		entries = append(entries, "to: ['"+whole+"']") // it is about one family
	}
	proto := cmp.Or(s.option("proto"), "all")
	switch {
	case slices.Contains([]string{"tcp", "udp", "icmp", "esp", "gre", "sctp"}, proto):
		entries = append(entries, "protocol: "+proto)
	case proto != "all":
		entries = append(entries, "")
	}
	if s.option("ipset")+s.option("src_iface") != "" {
		entries = append(entries, "")
	}
	for _, e := range []struct{ option, key string }{{"src_port", "sport"}, {"dest_port", "dport"}} {
		if value := s.option(e.option); value != "" {
			value = strings.ReplaceAll(value, ":", "-")
			entries = append(entries, m.list(s, e.option, e.key, value, portText.MatchString))
		}
	}
	return entries
}

// wholeOf returns all addresses of a family.
var wholeOf = map[string]string{"ipv4": "0.0.0.0/0", "ipv6": "::/0"}

func (m *mwan3) hasIPv6() bool {
	return slices.ContainsFunc(m.r.uplinks, func(u uplink) bool { return u.six.present() })
}

// portText is what ports look like.
var portText = regexp.MustCompile(`^[0-9]{1,5}(-[0-9]{1,5})?$`)

// isNetwork reports whether a text is an address or a network of either family.
func isNetwork(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == ""
}

// list makes a key of those parts of an option that are as they must be, and notes the others.
func (m *mwan3) list(s *section, option, key, value string, fits func(string) bool) string {
	var good []string
	for _, part := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
		if fits(part) {
			good = append(good, quotedAddress(part))
		} else {
			m.r.note(s.lines[option].place, part, "not understood")
		}
	}
	if len(good) == 0 {
		return ""
	}
	return key + ": [" + strings.Join(good, ", ") + "]"
}

// via returns what leads where a policy of mwan3 does: by weight where its best members are
// several, and else by one uplink after the other.
func (m *mwan3) via(policy string, sections []section) string {
	if policy == "default" {
		return "balance"
	}
	i := slices.IndexFunc(sections, func(s section) bool { return s.kind == "policy" && s.name == policy })
	if i < 0 {
		return ""
	}
	var members []*section // the best of each uplink, which may be there in both families
	for _, name := range sections[i].values["use_member"] {
		member := m.members[name]
		if member == nil || m.r.named(m.uplinkOf(member)) == nil {
			continue
		}
		same := func(other *section) bool { return m.uplinkOf(other) == m.uplinkOf(member) }
		switch at := slices.IndexFunc(members, same); {
		case at < 0:
			members = append(members, member)
		case metricOf(member) < metricOf(members[at]):
			members[at] = member
		}
	}
	slices.SortStableFunc(members, func(a, b *section) int { return metricOf(a) - metricOf(b) })
	switch {
	case len(members) == 0:
		return ""
	case len(members) > 1 && metricOf(members[0]) == metricOf(members[1]):
		return "balance"
	}
	var names []string
	for _, member := range members {
		names = append(names, m.uplinkOf(member))
	}
	return "[" + strings.Join(names, ", ") + "]"
}

func policyName(name string, n int) string {
	name = strings.Trim(notOfAName.ReplaceAllString(name, "-"), "-")
	if name == "" {
		name = fmt.Sprint("rule-", n+1)
	}
	return name[:min(len(name), 32)]
}
