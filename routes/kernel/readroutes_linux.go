package kernel

import (
	"context"
	"slices"

	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

// readRoutes reads the tables in scope, and those where else routes of ours are or were.
// What it costs follows from what is ours: of tables that others fill, it asks for the
// beginning, or knows what is to be known (shared6).
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
			if err := k.readShared(ctx, state, scope, routeFilter{family: family, table: t}, names); err != nil {
				return err
			}
		}
	}
	for _, t := range scope.Beside {
		k.beside[t] = true
	}
	return k.readBeside(ctx, state, scope, names)
}

// readShared reads what is looked at in a table that others fill too.
func (k *Kernel) readShared(
	ctx context.Context, state *routes.State, scope routes.Scope, f routeFilter, names map[int]string,
) error {
	switch {
	case scope.Foreign:
		return k.readTable(ctx, state, scope, f, names)
	case f.family == unix.AF_INET6:
		return k.readShared6(ctx, state, scope, f.table, names)
	}
	return k.readDefaults(ctx, state, scope, f.table, names)
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

// readDefaults reads the default routes of a table of IPv4. The kernel lists a table by
// destination, 0.0.0.0 first (leaf_walk_rcu in net/ipv4/fib_trie.c), so the rest of it,
// which may be a million routes, is not asked for.
func (k *Kernel) readDefaults(
	ctx context.Context, state *routes.State, scope routes.Scope, table uint32, names map[int]string,
) error {
	f := routeFilter{family: unix.AF_INET, table: table}
	list, err := k.dumpRoutes(ctx, f, names, func(r routeMessage) (kept, more bool) {
		ours := r.protocol == scope.Owner.Protocol
		return r.dst.Bits() == 0 && (ours || r.tos == 0), r.dst.Addr().IsUnspecified()
	})
	state.Routes = append(state.Routes, list...)
	return err
}

// readShared6 reads what is ours, and the default routes, of a table of IPv6.
func (k *Kernel) readShared6(
	ctx context.Context, state *routes.State, scope routes.Scope, table uint32, names map[int]string,
) error {
	list, known := k.surveyor.shared6.get(scope.Owner.Protocol, names, table)
	if !known {
		var err error
		list, err = retried(func() ([]routes.Route, error) {
			return k.surveyor.shared6.list(ctx, k.dumps.Ask, table, answerTimeout, nil)
		})
		if err != nil {
			return err
		}
	}
	for _, r := range list {
		if scope.IPv6 || r.Protocol == scope.Owner.Protocol {
			state.Routes = append(state.Routes, r)
		}
	}
	return nil
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
			if shared && family == unix.AF_INET6 {
				continue // readShared6 looks at all that is ours
			}
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
