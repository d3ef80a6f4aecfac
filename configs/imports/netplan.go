package imports

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// netplanKinds are those sections of netplan whose entries are interfaces.
var netplanKinds = []string{
	"ethernets", "wifis", "modems", "bonds", "bridges", "vlans", "vrfs", "tunnels", "dummy-devices",
	"virtual-ethernets",
}

// Netplan makes a configuration of the .yaml files in a directory. Those are uplinks that have a
// gateway or ask for a lease.
func Netplan(root fs.FS, dir string) (*Result, error) {
	r := &Result{}
	err := eachFile(root, dir, "*.yaml", func(name, text string) error {
		var file yaml.Node
		if err := yaml.Load([]byte(text), &file); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n := netplan{r: r, file: name}
		n.network(child(document(&file), "network"))
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

type netplan struct {
	r    *Result
	file string
}

func (n *netplan) note(key *yaml.Node, text, why string) {
	n.r.note(place{n.file, key.Line}, text, why)
}

func (n *netplan) network(network *yaml.Node) {
	for key, value := range pairs(network) {
		switch {
		case slices.Contains(netplanKinds, key.Value):
			for name, device := range pairs(value) {
				n.device(name, device)
			}
		case key.Value != "version" && key.Value != "renderer":
			n.note(key, key.Value, "no counterpart")
		}
	}
}

// device makes an uplink of one entry, if it is one.
func (n *netplan) device(name, device *yaml.Node) {
	u := uplink{name: n.r.nameOf(name.Value)}
	iface := name.Value
	if match := child(device, "match"); match != nil {
		iface = textOf(child(match, "name"))
		if set := textOf(child(device, "set-name")); set != "" {
			iface = set
		}
	}
	byDHCP := isTrue(child(device, "dhcp4"))
	u.takeAddresses(device, byDHCP)
	u.six.auto = isTrue(child(device, "dhcp6")) || isTrue(child(device, "accept-ra"))
	n.r.gateway(&u, textOf(child(device, "gateway4")))
	n.r.gateway(&u, textOf(child(device, "gateway6")))
	for _, route := range entries(device, "routes") {
		n.route(&u, route)
	}
	if !n.r.isUplink(&u, byDHCP) {
		n.note(name, name.Value, "no gateway and no lease: this is no uplink")
		return
	}
	var servers []string
	for _, s := range entries(child(device, "nameservers"), "addresses") {
		servers = append(servers, s.Value)
	}
	n.r.finish(&u, iface, servers)
	if child(device, "accept-ra") == nil && !u.six.present() {
		u.remark(hearsRouters)
	}
	u.remark("%s:%d: take what gives addresses and the default routes out there: two would look after %s",
		n.file, name.Line, u.iface)
	taken := []string{
		"match", "set-name", "dhcp4", "addresses", "gateway4", "routes", "nameservers",
		"dhcp6", "accept-ra", "gateway6",
	}
	for key := range pairs(device) {
		if !slices.Contains(taken, key.Value) {
			n.note(key, name.Value+": "+key.Value, netplanReason(key.Value))
		}
	}
	n.r.uplinks = append(n.r.uplinks, u)
}

// takeAddresses takes the addresses of an entry over, those of IPv4 unless they come by DHCP.
func (u *uplink) takeAddresses(device *yaml.Node, byDHCP bool) {
	for _, address := range entries(device, "addresses") {
		text := address.Value
		if address.Kind == yaml.MappingNode && len(address.Content) > 0 {
			text = address.Content[0].Value // with options of its own
		}
		if p, ok := prefixOf(text, ""); ok && !byDHCP {
			u.address = append(u.address, p.String())
		} else if !ok {
			u.six.take(text)
		}
	}
}

// route takes a default route over.
func (n *netplan) route(u *uplink, route *yaml.Node) {
	to := textOf(child(route, "to"))
	if !slices.Contains([]string{"default", "0.0.0.0/0", "0/0", "::/0"}, to) {
		n.note(route, "route to "+to, "stays where it is")
		return
	}
	n.r.gateway(u, textOf(child(route, "via")))
	if table := textOf(child(route, "table")); table != "" {
		if _, ok := number(table, 1, 1<<30); ok {
			u.set("table", table)
		}
	}
	if isTrue(child(route, "on-link")) && isAddress(textOf(child(route, "via"))) {
		u.set("onlink", "true")
	}
	if metric := child(route, "metric"); metric != nil {
		n.note(metric, "metric: "+metric.Value, networkdReason("Metric"))
	}
}

func netplanReason(key string) string {
	switch key {
	case "routing-policy":
		return networkdReason("From")
	case "dhcp4-overrides":
		return networkdReason("UseRoutes")
	case "ipv6-privacy", "dhcp6-overrides", "ra-overrides", "ipv6-address-generation":
		return "uplinkd hears the routers and asks for a lease itself (docs/ipv6.md)"
	case "optional", "renderer", "link-local", "macaddress", "mtu", "wakeonlan":
		return "stays where it is"
	}
	return "no counterpart"
}

func document(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		return n.Content[0]
	}
	return nil
}

// pairs returns the keys of a mapping with their values.
func pairs(n *yaml.Node) func(yield func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

func child(n *yaml.Node, name string) *yaml.Node {
	for key, value := range pairs(n) {
		if key.Value == name {
			return value
		}
	}
	return nil
}

// entries returns the entries of a list.
func entries(n *yaml.Node, name string) []*yaml.Node {
	if list := child(n, name); list != nil && list.Kind == yaml.SequenceNode {
		return list.Content
	}
	return nil
}

func textOf(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

func isTrue(n *yaml.Node) bool {
	return slices.Contains([]string{"true", "yes", "on", "y", "1"}, strings.ToLower(textOf(n)))
}
