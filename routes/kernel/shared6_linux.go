package kernel

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

// A shared6 remembers what is looked at, of IPv6, in the tables that others fill too: our
// routes, and all default routes. Of IPv6 the kernel lists the default route of a table last
// (fib6_walk_continue in net/ipv6/ip6_fib.c), so that each look costs what all routes cost.
// A table is therefore listed once, and again after an event that tells of something else
// than what is known, and with each survey. Without events nothing is remembered.
type shared6 struct {
	mu       sync.Mutex // guards what follows
	attached bool       // events are handed on
	protocol uint8      // that of our routes
	names    map[int]string
	lists    map[uint32]known // by table
	changes  int              // counts what a list that is being made may lack
	doing    int              // operations of ours that the kernel has not answered yet
}

// A known is what was listed of a table.
type known struct {
	routes []routes.Route
	stale  bool // it has to be listed again; until then it tells which keys matter
}

// attach says that events will be handed on from now on.
func (s *shared6) attach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attached = true
}

// get returns what is known of a table, in a slice that is the caller's, and whether it is known.
func (s *shared6) get(protocol uint8, names map[int]string, table uint32) ([]routes.Route, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.protocol != protocol {
		s.protocol = protocol
		s.drop()
	}
	s.rename(names)
	list := s.lists[table]
	return slices.Clone(list.routes), list.routes != nil && !list.stale
}

// rename takes in what the interfaces are called now. What is known by an old name is no longer known.
func (s *shared6) rename(names map[int]string) {
	old := s.names
	s.names = names
	for table, list := range s.lists {
		for i := range list.routes {
			for _, h := range list.routes[i].NextHops {
				if indexOf(old, h.Interface) != indexOf(names, h.Interface) {
					s.outdate(table)
				}
			}
		}
	}
}

// indexOf returns the index of the interface of a name, 0 for none.
func indexOf(names map[int]string, name string) int {
	for index, n := range names {
		if n == name {
			return index
		}
	}
	return 0
}

// outdate has a table listed again, drop all tables.
func (s *shared6) outdate(table uint32) {
	if list, ok := s.lists[table]; ok {
		list.stale = true
		s.lists[table] = list
	}
	s.changes++
}

func (s *shared6) drop() {
	for table := range s.lists {
		s.outdate(table)
	}
	s.changes++
}

// forget has all tables listed again.
func (s *shared6) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop()
}

// retain forgets the tables that are looked at no more: of their events none is handed on.
func (s *shared6) retain(tables []uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.lists, func(t uint32, _ known) bool { return !slices.Contains(tables, t) })
}

// A listing is a table of IPv6 that is being listed, for a shared6.
type listing struct {
	table    uint32
	protocol uint8
	names    map[int]string
	changes  int
	routes   []routes.Route // not nil
}

// begin returns the listing of a table. It is to be filled from then on.
func (s *shared6) begin(table uint32) *listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &listing{table: table, protocol: s.protocol, names: s.names, changes: s.changes, routes: []routes.Route{}}
}

// note takes in a route that the kernel lists.
func (l *listing) note(r *routeMessage) {
	if r.protocol == l.protocol || r.dst.Bits() == 0 {
		l.routes = append(l.routes, r.route(l.names))
	}
}

// keep remembers a listing, if nothing has changed since it began. If something has, it may be that only
// the listing tells, and so what was known before is not believed either.
func (s *shared6) keep(l *listing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.attached {
		return
	}
	nameless := func(h routes.NextHop) bool { return h.Interface == "" }
	late := slices.ContainsFunc(l.routes, func(r routes.Route) bool { // by an interface that came after the last Read
		return slices.ContainsFunc(r.NextHops, nameless)
	})
	if s.lists == nil {
		s.lists = map[uint32]known{}
	}
	s.lists[l.table] = known{routes: l.routes, stale: late || s.doing > 0 || s.changes != l.changes}
}

// list lists a table, and remembers it. Each of its routes is shown to see too, unless that is nil.
func (s *shared6) list(
	ctx context.Context, ask asker, table uint32, limit time.Duration, see func(*routeMessage),
) ([]routes.Route, error) {
	filter := routeFilter{family: unix.AF_INET6, table: table}
	l := s.begin(table)
	err := ask.listRoutes(ctx, filter, limit, func(r routeMessage) bool {
		l.note(&r)
		if see != nil {
			see(&r)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	s.keep(l)
	return slices.Clone(l.routes), nil
}

// tables returns those that were listed.
func (s *shared6) tables() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.lists))
}

// do has an operation done, and takes it in before: the event that tells of it may come before the kernel's
// answer. Where another route has that key, it depends on both what becomes of it, and so it is listed.
func (s *shared6) do(op routes.Op, carryOut func() error) error {
	add, remove := changedRoutes(op)
	route := add
	if remove != nil {
		route = remove
	}
	if route == nil || route.Dst.Addr().Is4() {
		return carryOut()
	}
	s.expect(route, add != nil)
	err := carryOut()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing--
	s.changes++
	if err != nil {
		s.outdate(route.Table)
	}
	return err
}

// expect takes in that a route is about to be put, or taken away.
func (s *shared6) expect(route *routes.Route, put bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doing++
	list, ok := s.lists[route.Table]
	if !ok {
		return
	}
	own := func(r routes.Route) bool {
		return r.RouteKey == route.RouteKey && r.Protocol == route.Protocol && r.Type == route.Type
	}
	same := 0
	for _, r := range list.routes {
		if r.RouteKey == route.RouteKey {
			same++
		}
	}
	left := slices.DeleteFunc(slices.Clone(list.routes), own)
	// Beside a multipath route the kernel may leave another of its key out of the list, which shows when the
	// first is gone (rt6_dump_route steps over all that stands between the siblings).
	list.stale = list.stale || !put || same > 1 || same != len(list.routes)-len(left)
	if put {
		left = append(left, *route)
	}
	list.routes = left
	s.lists[route.Table] = list
}

// changedRoutes returns the route that an operation puts, and the one that it takes away.
func changedRoutes(op routes.Op) (add, remove *routes.Route) {
	switch op := op.(type) {
	case routes.AddRoute:
		return &op.Route, nil
	case routes.ReplaceRoute:
		return &op.Route, nil
	case routes.DeleteRoute:
		return nil, &op.Route
	}
	return nil, nil
}

// routeEvent takes in an event of a table that others fill too, and reports whether it is about what is
// looked at. One that tells what is known already changes nothing.
func (s *shared6) routeEvent(kind uint16, r *routeMessage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.lists[r.table]
	ours := r.protocol == s.protocol || r.dst.Bits() == 0
	key := routes.RouteKey{Table: r.table, Dst: r.dst, Metric: number(r.attrs, unix.RTA_PRIORITY)}
	same := 0
	var have *routes.Route
	for i := range list.routes {
		if list.routes[i].RouteKey == key {
			same++
			have = &list.routes[i]
		}
	}
	if !ours && same == 0 {
		return false // one of the million
	}
	told := r.route(s.names)
	if kind == unix.RTM_NEWROUTE && (same != 1 || !have.Equal(told)) || kind == unix.RTM_DELROUTE && same > 0 {
		s.outdate(r.table)
	}
	return true
}

// linkEvent takes in the event of a link. With one that goes, or is set down, routes may vanish
// without a word (net.ipv6.route.skip_notify_on_dev_down); one that is renamed is another.
func (s *shared6) linkEvent(m nlmsg.Message) {
	if len(m.Body) < unix.SizeofIfInfomsg {
		return
	}
	index, flags := int(native.Uint32(m.Body[4:])), native.Uint32(m.Body[8:])
	name := unix.ByteSliceToString(nlmsg.Attr(m.Body[unix.SizeofIfInfomsg:], unix.IFLA_IFNAME))
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Type == unix.RTM_NEWLINK && flags&unix.IFF_UP != 0 && name == s.names[index] {
		return
	}
	s.changes++
	by := func(h routes.NextHop) bool { return h.Interface == s.names[index] || h.Interface == name }
	for table, list := range s.lists {
		if slices.ContainsFunc(list.routes, func(r routes.Route) bool { return slices.ContainsFunc(r.NextHops, by) }) {
			s.outdate(table)
		}
	}
}
