package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

// Read implements routes.Kernel. It sends five dump requests (links, addresses,
// routes, rules, nft tables), one more for the chains of our own table, one while a
// link is up that was found down, and reads one file a setting.
func (k *Kernel) Read(ctx context.Context, scope routes.Scope) (routes.State, error) {
	if err := ctx.Err(); err != nil {
		return routes.State{}, err
	}
	saved, raised := k.restore.read()
	state := routes.State{At: time.Now(), Saved: saved}
	names, err := k.readLinks(&state, append(slices.Clone(scope.Links), mapKeys(raised)...))
	if err != nil {
		return routes.State{}, fmt.Errorf("read interfaces: %w", err)
	}
	for name, index := range raised {
		if k.index[name] == index {
			state.RaisedUp = append(state.RaisedUp, name)
		}
	}
	k.noteSeen(&state, scope)
	slices.Sort(state.RaisedUp)
	if err := k.readIPv6Use(&state); err != nil {
		return routes.State{}, fmt.Errorf("read IPv6 addresses: %w", err)
	}
	for _, family := range families {
		if err := k.readAddresses(&state, scope, family, names); err != nil {
			return routes.State{}, fmt.Errorf("read addresses: %w", err)
		}
		if err := k.readRoutes(&state, scope, family, names); err != nil {
			return routes.State{}, fmt.Errorf("read routes: %w", err)
		}
		if err := k.readRules(&state, scope.Owner, family); err != nil {
			return routes.State{}, fmt.Errorf("read rules: %w", err)
		}
	}
	if err := k.readFirewall(&state, scope.Owner); err != nil {
		return routes.State{}, fmt.Errorf("read the nft table: %w", err)
	}
	return state, k.readSettings(&state, scope)
}

// noteSeen says which links were up under our care, now or before this process,
// and remembers those of now.
func (k *Kernel) noteSeen(state *routes.State, scope routes.Scope) {
	seen := k.restore.load().SeenUp
	up := map[string]int{}
	for _, l := range state.Links {
		if seen[l.Name] == l.Index {
			state.SeenUp = append(state.SeenUp, l.Name)
		}
		if l.Up && slices.Contains(scope.Links, l.Name) {
			up[l.Name] = l.Index
		}
	}
	if !k.look && len(scope.Links) > 0 {
		k.restore.see(scope.Owner, scope.Links, up)
	}
}

func mapKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	return keys
}

// readLinks adds the links of those names, and returns the names of all.
func (k *Kernel) readLinks(state *routes.State, wanted []string) (map[int]string, error) {
	links, err := k.dumpLinks()
	if err != nil {
		return nil, err
	}
	names := make(map[int]string, len(links))
	k.index, k.mtus = make(map[string]int, len(links)), make(map[string]int, len(links))
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		k.index[a.Name], k.mtus[a.Name] = a.Index, a.MTU
		if !slices.Contains(wanted, a.Name) {
			continue
		}
		state.Links = append(state.Links, routes.Link{
			Name: a.Name, Index: a.Index, MAC: a.HardwareAddr.String(),
			Up: a.RawFlags&unix.IFF_UP != 0,
			// Both: LOWER_UP is the wire, RUNNING also what sits on it (802.1X, a modem's call).
			Carrier: a.RawFlags&unix.IFF_LOWER_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
			InUse:   a.MasterIndex != 0,
		})
	}
	for i := range state.Links {
		l := &state.Links[i]
		l.InUse = l.InUse || slices.ContainsFunc(links, func(other netlink.Link) bool {
			// A veth's other end also counts as its parent, and is not carried by it.
			return other.Attrs().ParentIndex == l.Index && other.Type() != "veth"
		})
	}
	return names, nil
}

// readIPv6Use notes which of the raised links have an IPv6 address of their
// own: somebody may be logged in over it.
func (k *Kernel) readIPv6Use(state *routes.State) error {
	if len(state.RaisedUp) == 0 {
		return nil
	}
	list, err := k.dumpAddresses(unix.AF_INET6)
	if err != nil {
		return err
	}
	for i := range state.Links {
		l := &state.Links[i]
		l.InUse = l.InUse || slices.ContainsFunc(list, func(a netlink.Addr) bool {
			return a.LinkIndex == l.Index && !a.IP.IsLinkLocalUnicast()
		})
	}
	return nil
}

func (k *Kernel) readAddresses(state *routes.State, scope routes.Scope, family int, names map[int]string) error {
	list, err := k.dumpAddresses(family)
	if err != nil {
		return err
	}
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok {
			continue
		}
		ones, _ := a.Mask.Size()
		address := routes.Address{
			Interface: names[a.LinkIndex], Prefix: netip.PrefixFrom(ip.Unmap(), ones), Protocol: uint8(a.Protocol),
			NoPrefixRoute: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0,
		}
		if a.ValidLft > 0 && uint32(a.ValidLft) != forever {
			address.Until = state.At.Add(time.Duration(a.ValidLft) * time.Second)
		}
		// Before Linux 5.18 an address carries no tag; then the record tells.
		if !k.tags && address.Protocol == 0 && k.restore.hasAddress(a.LinkIndex, address.Prefix) {
			address.Protocol = scope.Owner.Protocol
		}
		if slices.Contains(scope.Links, address.Interface) || scope.Owner.OwnsAddress(address) ||
			slices.Contains(state.RaisedUp, address.Interface) {
			state.Addresses = append(state.Addresses, address)
		} else if !address.Prefix.Addr().IsLoopback() {
			state.Elsewhere = append(state.Elsewhere, address)
		}
	}
	return nil
}

// forever is the lifetime of an address that has none (INFINITY_LIFE_TIME).
const forever = 1<<32 - 1

func (k *Kernel) readRoutes(state *routes.State, scope routes.Scope, family int, names map[int]string) error {
	var site []netip.Prefix
	list, err := k.dumpRoutes(family, func(r *netlink.Route) bool {
		if uint8(r.Protocol) == scope.Owner.Protocol {
			return true
		}
		ones := 0
		if r.Dst != nil {
			ones, _ = r.Dst.Mask.Size()
		}
		if isSite(r) && !slices.Contains(scope.Links, names[r.LinkIndex]) {
			ip, _ := netip.AddrFromSlice(r.Dst.IP)
			site = append(site, netip.PrefixFrom(ip.Unmap(), ones))
		}
		return (scope.Foreign || ones == 0) && r.Tos == 0 && slices.Contains(scope.Tables, uint32(r.Table))
	})
	if err != nil {
		return err
	}
	state.Site = append(state.Site, site...)
	for i := range list {
		state.Routes = append(state.Routes, fromNetlink(&list[i], family, names))
	}
	return nil
}

// isSite reports whether a foreign route leads to a private network behind a router of
// the site. What is beyond the Internet's border is told by BGP too, and says nothing of
// whose an address is.
func isSite(r *netlink.Route) bool {
	return r.Table == unix.RT_TABLE_MAIN && r.Type == unix.RTN_UNICAST && r.Gw != nil &&
		r.Dst != nil && r.Dst.IP.IsPrivate()
}

func (k *Kernel) readRules(state *routes.State, owner routes.Owner, family int) error {
	messages, err := k.dumpRules(family)
	if err != nil {
		return err
	}
	for _, m := range messages {
		rule, err := parseRule(m)
		if err != nil {
			return err
		}
		ours := owner.OwnsRule(rule)
		state.MainRule = state.MainRule || !ours && rule.LeadsAllTo(routes.TableMain)
		if rule.Protocol != unix.RTPROT_KERNEL {
			state.Rules = append(state.Rules, rule)
		}
	}
	return nil
}
