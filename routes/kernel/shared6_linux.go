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
// than what is known. Without events nothing is remembered.
type shared6 struct {
	mu       sync.Mutex // guards what follows
	attached bool       // events are handed on
	protocol uint8      // that of our routes
	names    map[int]string
	lists    map[uint32][]routes.Route // by table; one that is not in it has to be listed
	changes  int                       // counts what a list that is being made may lack
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
		s.protocol, s.lists = protocol, nil
		s.changes++
	}
	s.names = names
	list, ok := s.lists[table]
	return slices.Clone(list), ok
}

// A listing is a table of IPv6 that is being listed, for a shared6.
type listing struct {
	table    uint32
	protocol uint8
	names    map[int]string
	changes  int
	routes   []routes.Route
}

// begin returns the listing of a table. It is to be filled from then on.
func (s *shared6) begin(table uint32) *listing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &listing{table: table, protocol: s.protocol, names: s.names, changes: s.changes}
}

// note takes in a route that the kernel lists.
func (l *listing) note(r *routeMessage) {
	if r.protocol == l.protocol || r.dst.Bits() == 0 {
		l.routes = append(l.routes, r.route(l.names))
	}
}

// keep remembers a listing, if nothing has changed since it began.
func (s *shared6) keep(l *listing) {
	s.mu.Lock()
	defer s.mu.Unlock()
	nameless := func(h routes.NextHop) bool { return h.Interface == "" }
	for _, r := range l.routes {
		if slices.ContainsFunc(r.NextHops, nameless) {
			return // by an interface that came after the last Read
		}
	}
	if s.attached && s.changes == l.changes {
		if s.lists == nil {
			s.lists = map[uint32][]routes.Route{}
		}
		s.lists[l.table] = l.routes
	}
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

// tables returns those that are known.
func (s *shared6) tables() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.lists))
}

// forget has all tables listed again.
func (s *shared6) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists = nil
	s.changes++
}

// expect takes in a change of ours that is about to be made. The event that tells of it may come
// before the kernel's answer.
func (s *shared6) expect(op routes.Op) {
	add, remove := changedRoutes(op)
	key := add
	if remove != nil {
		key = remove
	}
	if key == nil || key.Dst.Addr().Is4() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	list, ok := s.lists[key.Table]
	if !ok {
		return
	}
	list = slices.DeleteFunc(slices.Clone(list), func(r routes.Route) bool {
		return r.RouteKey == key.RouteKey && (add != nil || r.Type == key.Type && r.Protocol == key.Protocol)
	})
	if add != nil {
		list = append(list, *add)
	}
	s.lists[key.Table] = list
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

// routeEvent takes in an event: one that tells what is known already changes nothing.
func (s *shared6) routeEvent(kind uint16, r *routeMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, ok := s.lists[r.table]
	if !ok {
		s.changes++
		return
	}
	told := r.route(s.names)
	same, known := 0, false
	for _, have := range list {
		if have.RouteKey == told.RouteKey {
			same++
			known = have.Equal(told)
		}
	}
	if kind == unix.RTM_NEWROUTE && (same != 1 || !known) || kind == unix.RTM_DELROUTE && same > 0 {
		delete(s.lists, r.table)
		s.changes++
	}
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
	by := func(h routes.NextHop) bool { return h.Interface == s.names[index] }
	maps.DeleteFunc(s.lists, func(_ uint32, list []routes.Route) bool {
		return slices.ContainsFunc(list, func(r routes.Route) bool { return slices.ContainsFunc(r.NextHops, by) })
	})
}
