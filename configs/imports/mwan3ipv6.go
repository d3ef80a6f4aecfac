package imports

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// path6 makes a path in IPv6 of a section: of the uplink that is on the same device, or of one that
// has no other.
func (m *mwan3) path6(s *section) {
	device := m.device(s.name)
	if !isInterface(device) {
		m.r.note(s.place, "config interface "+s.name, "the file network names no device of it")
		return
	}
	i := slices.IndexFunc(m.r.uplinks, func(u uplink) bool { return u.iface == device })
	if i < 0 {
		m.r.uplinks = append(m.r.uplinks, uplink{name: m.r.nameOf(s.name), iface: device, without4: true})
		i = len(m.r.uplinks) - 1
	}
	u := &m.r.uplinks[i]
	m.uplinks[s.name], m.sixes[s.name] = u.name, true
	m.address6(u, m.network[s.name])
	if entries := m.probe(u, s, addressesOfAny6(s.values["track_ip"])); entries != "" {
		u.six.set("probe", entries)
	}
}

// device returns the device of an interface of the file network. OpenWrt names the device of another
// interface by an @ before that.
func (m *mwan3) device(name string) string {
	for range 8 { // they may go round in circles
		net := m.network[name]
		if net == nil {
			return name
		}
		device := cmp.Or(net.option("device"), net.option("ifname"))
		other, alias := strings.CutPrefix(device, "@")
		if !alias {
			return m.called(net, cmp.Or(device, name))
		}
		name = other
	}
	return name
}

// called returns the name that OpenWrt gives to the interface of a section.
func (m *mwan3) called(net *section, device string) string {
	if proto := net.option("proto"); proto == "pppoe" || proto == "pppoa" || proto == "3g" {
		return (proto + "-" + net.name)[:min(len(proto)+1+len(net.name), 15)]
	}
	return device
}

// address6 takes over how a path gets its address.
func (m *mwan3) address6(u *uplink, net *section) {
	if net == nil {
		u.six.auto = true
		u.remark("how it gets its address in IPv6: the file network does not say")
		return
	}
	switch net.option("proto") {
	case "dhcpv6", "":
		u.six.auto = true
	case "static":
		for _, address := range append(net.values["ip6addr"], net.values["ip6addrs"]...) {
			if !strings.Contains(address, "/") {
				address += "/64"
			}
			u.six.take(address)
		}
		u.six.takeGateway(u, net.option("ip6gw"))
	default:
		u.six.external = true
	}
	if !u.six.present() {
		u.six.auto = true
		u.remark("its address in IPv6: none was found in the file network")
	}
	switch prefix := net.option("ip6prefix"); {
	case net.option("reqprefix") == "no":
		u.six.set("prefix", "none")
	case routed(prefix):
		u.six.set("prefix", "'"+prefix+"'")
	}
	u.addServers(strings.Fields(strings.Join(net.values["dns"], " ")))
}

// routed reports whether a text is a prefix that a LAN can be numbered of.
func routed(s string) bool {
	p, err := netip.ParsePrefix(s)
	return err == nil && p.Bits() >= 16 && p.Bits() <= 64 && p == p.Masked() && isAddress6(p.Addr().String())
}

// lans has the hosts of those interfaces get IPv6 that OpenWrt assigns a part of a prefix to.
func (m *mwan3) lans() {
	for _, name := range slices.Sorted(maps.Keys(m.network)) {
		net := m.network[name]
		device := m.device(net.name)
		if m.uplinks[net.name] != "" || net.option("ip6assign") == "" || !isInterface(device) {
			continue
		}
		subnet := -1
		if n, err := strconv.ParseUint(net.option("ip6hint"), 16, 16); err == nil {
			subnet = int(n)
		}
		m.r.lan(device, subnet)
	}
}

// sameShares leaves out of the path in IPv6 the weight and the tier that it has from the uplink.
func (u *uplink) sameShares() {
	u.six.keys = slices.DeleteFunc(u.six.keys, func(k key) bool {
		return (k.name == "weight" || k.name == "tier") && k.value == cmp.Or(valueOf(u.keys, k.name), "1")
	})
}

func valueOf(keys []key, name string) string {
	for _, k := range keys {
		if k.name == name {
			return k.value
		}
	}
	return ""
}
