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
// nft tables), one for each routing table in scope, one more for the chains of our own
// nft table, one while a link is up that was found down, and reads one file a setting.
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

// readRoutes reads the tables in scope, and those where else routes of ours are or were.
// What it costs follows from what is ours: of tables that others fill, it asks for the
// beginning.
func (k *Kernel) readRoutes(ctx context.Context, state *routes.State, scope routes.Scope, names map[int]string) error {
	known, fresh, err := k.surveyor.take(ctx, scope.Owner.Protocol)
	if err != nil {
		return err
	}
	for _, s := range known.site {
		name := names[s.link]
		if !slices.Contains(scope.Links, name) || slices.Contains(scope.Inside, name) {
			state.Site = append(state.Site, s.dst)
		}
	}
	if fresh {
		for _, t := range known.tables {
			k.beside[t] = true
		}
	}
	k.surveyor.look(scope.Tables, scope.Shared)
	for _, family := range k.surveyor.families() {
		for _, t := range scope.Tables {
			k.beside[t] = true // until it is found empty, when it is in scope no more
			if err := k.readTable(ctx, state, scope, routeFilter{family: family, table: t}, names); err != nil {
				return err
			}
		}
		for _, t := range scope.Shared {
			read := k.readDefaults
			if scope.Foreign {
				read = k.readTable
			}
			if err := read(ctx, state, scope, routeFilter{family: family, table: t}, names); err != nil {
				return err
			}
		}
	}
	for _, t := range scope.Beside {
		k.beside[t] = true
	}
	return k.readBeside(ctx, state, scope, names)
}

// readTable reads a whole table: what is ours, and the foreign default routes.
func (k *Kernel) readTable(
	ctx context.Context, state *routes.State, scope routes.Scope, f routeFilter, names map[int]string,
) error {
	list, err := k.dumpRoutes(ctx, f, names, func(r routeMessage) (kept, more bool) {
		ours := r.protocol == scope.Owner.Protocol
		foreign := f.family == unix.AF_INET || scope.IPv6
		return ours || foreign && (scope.Foreign || r.dst.Bits() == 0) && r.tos == 0, true
	})
	state.Routes = append(state.Routes, list...)
	return err
}

// readDefaults reads the default routes of a table. Of IPv4 the kernel lists a table by
// destination, 0.0.0.0 first (leaf_walk_rcu in net/ipv4/fib_trie.c), so the rest of it,
// which may be a million routes, is not asked for. Of IPv6 it lists the default route last
// (fib6_walk_continue in net/ipv6/ip6_fib.c).
func (k *Kernel) readDefaults(
	ctx context.Context, state *routes.State, scope routes.Scope, f routeFilter, names map[int]string,
) error {
	list, err := k.dumpRoutes(ctx, f, names, func(r routeMessage) (kept, more bool) {
		ours := r.protocol == scope.Owner.Protocol
		foreign := f.family == unix.AF_INET || scope.IPv6
		return r.dst.Bits() == 0 && (ours || foreign && r.tos == 0), r.dst.Addr().IsUnspecified() || r.dst.Addr().Is6()
	})
	state.Routes = append(state.Routes, list...)
	return err
}

// readBeside reads what is ours in other tables than those in scope, and beside the
// default routes of those that others fill: what is left of another configuration, and
// what somebody has put there under our tag.
func (k *Kernel) readBeside(ctx context.Context, state *routes.State, scope routes.Scope, names map[int]string) error {
	for t := range k.beside {
		if slices.Contains(scope.Tables, t) || scope.Foreign && slices.Contains(scope.Shared, t) {
			continue
		}
		shared := slices.Contains(scope.Shared, t)
		found := 0
		for _, family := range k.surveyor.families() {
			f := routeFilter{family: family, table: t, protocol: scope.Owner.Protocol}
			list, err := k.dumpRoutes(ctx, f, names, func(r routeMessage) (kept, more bool) {
				return r.protocol == scope.Owner.Protocol && (!shared || r.dst.Bits() != 0), true
			})
			if err != nil {
				return err
			}
			state.Routes = append(state.Routes, list...)
			found += len(list)
		}
		if found == 0 {
			delete(k.beside, t)
		}
	}
	return nil
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
