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

// Read implements routes.Kernel. It sends four dump requests (links, addresses, rules,
// nft tables), one for each routing table in scope unless it is known (shared6), one more
// for the chains of our own nft table, one while a link is up that was found down, and reads
// one file a setting.
func (k *Kernel) Read(ctx context.Context, scope routes.Scope) (routes.State, error) {
	if err := ctx.Err(); err != nil {
		return routes.State{}, err
	}
	saved, raised := k.restore.read()
	state := routes.State{At: time.Now(), Saved: saved}
	wanted := append(slices.Clone(scope.Links), mapKeys(raised)...)
	k.surveyor.bystanders.reads(wanted)
	names, err := k.readLinks(&state, wanted)
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
	if scope.IPv6 {
		k.surveyor.lookAtIPv6()
	}
	for _, family := range k.surveyor.families() {
		if err := k.readAddresses(&state, scope, family, names); err != nil {
			return routes.State{}, fmt.Errorf("read addresses: %w", err)
		}
		if err := k.readRules(&state, scope, family); err != nil {
			return routes.State{}, fmt.Errorf("read rules: %w", err)
		}
	}
	if err := k.readRoutes(ctx, &state, scope, names); err != nil {
		return routes.State{}, fmt.Errorf("read routes: %w", err)
	}
	if err := k.readFirewall(&state, scope.Owner); err != nil {
		return routes.State{}, fmt.Errorf("read the nft table: %w", err)
	}
	k.readEndpoints(ctx, &state, scope, names)
	if !scope.IPv6 && !ownsIPv6(&state, scope.Owner) {
		k.surveyor.ipv6.Store(false)
	}
	return state, k.readSettings(ctx, &state, scope)
}

// ownsIPv6 reports whether anything of ours in a State is of IPv6.
func ownsIPv6(s *routes.State, owner routes.Owner) bool {
	rule := func(r routes.Rule) bool { return r.V6 && owner.OwnsRule(r) }
	address := func(a routes.Address) bool { return a.Prefix.Addr().Is6() && owner.OwnsAddress(a) }
	route := func(r routes.Route) bool { return r.Dst.Addr().Is6() && owner.OwnsRoute(r) }
	return slices.ContainsFunc(s.Rules, rule) || slices.ContainsFunc(s.Addresses, address) ||
		slices.ContainsFunc(s.Routes, route)
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
			NoPrefixRoute: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0, Condition: conditionOf(a.Flags),
			Until: endOf(state.At, a.ValidLft),
		}
		if family == unix.AF_INET6 {
			address.Preferred = endOf(state.At, a.PreferedLft)
		}
		// Before Linux 5.18 an address carries no tag; then the record tells.
		if !k.tags && address.Protocol == 0 && k.restore.hasAddress(a.LinkIndex, address.Prefix) {
			address.Protocol = scope.Owner.Protocol
		}
		if family == unix.AF_INET6 && !scope.IPv6 && !scope.Owner.OwnsAddress(address) {
			continue
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

// endOf returns when a lifetime in seconds ends; zero is never.
func endOf(now time.Time, seconds int) time.Time {
	if seconds <= 0 || uint32(seconds) == forever {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// conditionOf reads the flags of an address (linux/if_addr.h).
func conditionOf(flags int) routes.Condition {
	switch {
	case flags&unix.IFA_F_DADFAILED != 0:
		return routes.Duplicate
	case flags&unix.IFA_F_TENTATIVE != 0:
		return routes.Tentative
	case flags&unix.IFA_F_DEPRECATED != 0:
		return routes.Deprecated
	}
	return routes.Serves
}

func (k *Kernel) readRules(state *routes.State, scope routes.Scope, family int) error {
	messages, err := k.dumpRules(family)
	if family == unix.AF_INET6 {
		err = ignore(err, unix.EAFNOSUPPORT, unix.EOPNOTSUPP) // a kernel without IPv6 has no rules of it
	}
	if err != nil {
		return err
	}
	for _, m := range messages {
		rule, err := parseRule(m)
		if err != nil {
			return err
		}
		ours := scope.Owner.OwnsRule(rule)
		if !ours && rule.LeadsAllTo(routes.TableMain) {
			state.MainRule, state.MainRule6 = state.MainRule || !rule.V6, state.MainRule6 || rule.V6 && scope.IPv6
		}
		if rule.Protocol != unix.RTPROT_KERNEL && (ours || !rule.V6 || scope.IPv6) {
			state.Rules = append(state.Rules, rule)
		}
	}
	return nil
}
