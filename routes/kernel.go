package routes

import (
	"context"
	"errors"
	"slices"
)

// ErrConflict is what adding a route gives when a foreign route stands on its
// key. It is shown and never overwritten.
var ErrConflict = errors.New("a route that is not ours stands on the same table, destination and metric")

// ErrGone is what an operation gives when its interface does not exist (any
// more). The event that follows leads to another plan.
var ErrGone = errors.New("the interface does not exist")

// A Scope says what to read: all that is ours, and what else might matter.
type Scope struct {
	Owner    Owner
	Links    []string  // their state, addresses
	Inside   []string  // of Links, those of the site: foreign routes by them are the site's
	Tables   []uint32  // those of uplinks: foreign default routes in these
	Shared   []uint32  // those that others fill, with a million routes maybe: foreign default routes in these too
	Beside   []uint32  // of Shared, those where we want more than default routes
	Settings []Setting // their values do not matter
	MPTCP    bool      // its endpoints; those that are ours are read also where they were found before
	IPv6     bool      // both families; without it, of IPv6 only what is ours
	Foreign  bool      // foreign routes of every destination in both, not only the defaults
}

// A Kernel is the routing state of one network namespace. Both calls block for
// a few netlink messages and end early when ctx does.
type Kernel interface {
	// Read returns all that is in scope, in one consistent pass: a dump that the
	// kernel calls interrupted is read again.
	Read(ctx context.Context, scope Scope) (State, error)

	// Do carries out one operation and returns when the kernel has answered.
	// Every operation but AddRoute may be repeated without harm.
	Do(ctx context.Context, op Op) error
}

// A Witness is a Kernel that knows who else has changed what is in it.
type Witness interface {
	// WhoChanged returns who has lately changed an object: "ip (pid 4711)"; "" when that is
	// not known. It does not block.
	WhoChanged(key Key) string
}

// A Sentry is a Kernel that hears of what others do with default routes.
type Sentry interface {
	// DefaultsHeard returns a number that is another one after anybody, us included, has put, changed or taken away
	// a default route in the table of one of these. It does not block. One goroutine may call it.
	DefaultsHeard(defaults []Route) uint64
}

// ScopeOf returns what has to be read to compare the kernel with want.
func ScopeOf(want Set) Scope {
	scope := Scope{Owner: want.Owner, Links: want.Observe, Inside: want.Inside}
	// A foreign default route of main may stand before ours, or end every lookup.
	scope.Shared = append(scope.Shared, TableMain)
	for _, r := range want.Default {
		if !slices.Contains(scope.Shared, r.Table) {
			scope.Shared = append(scope.Shared, r.Table)
		}
	}
	seen := map[uint32]bool{}
	for _, r := range want.Tables {
		if slices.Contains(scope.Shared, r.Table) && !slices.Contains(scope.Beside, r.Table) {
			scope.Beside = append(scope.Beside, r.Table)
		}
		if !seen[r.Table] && !slices.Contains(scope.Shared, r.Table) {
			seen[r.Table] = true
			scope.Tables = append(scope.Tables, r.Table)
		}
	}
	scope.Settings = want.Settings
	scope.IPv6 = want.IPv6
	scope.MPTCP = len(want.Endpoints) > 0
	return scope
}
