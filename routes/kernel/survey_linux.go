package kernel

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/latest"
	"uplinkd/internal/nlmsg"
	"uplinkd/routes"
)

const (
	// surveyEvery is how often the routes of all tables are looked at with no reason.
	surveyEvery = 5 * time.Minute

	// surveyGap is the least time between two surveys, and surveyShare how much longer
	// than a survey the pause after it is: beside a million routes one takes half a second.
	surveyGap   = time.Second
	surveyShare = 20

	// surveyLimit bounds one survey.
	surveyLimit = time.Minute
)

// A survey is what is known of the routes that no Read looks at. There may be a million
// of them, and they may change all the time.
type survey struct {
	site   []siteRoute
	tables []uint32 // those where routes of ours are
}

// A siteRoute is a foreign route of main to a private network.
type siteRoute struct {
	dst  netip.Prefix
	link int // index; 0: several
}

// A surveyor makes surveys, when an event says that the last one is no longer true.
type surveyor struct {
	stale   latest.Wake
	ipv6    atomic.Bool // IPv6 is looked at too
	shared6 shared6

	bystanders *bystanders

	mu       sync.Mutex      // guards what follows
	attached bool            // somebody hands us events, and runs us
	protocol uint8           // that of our routes; 0: nobody has asked yet
	looked   map[uint32]bool // the tables that each Read looks at, true: at the whole of it
	last     *survey         // nil: none was made yet
	fresh    bool            // last has not been taken
}

// newSurveyor returns a surveyor that looks at both families: a process before us may have
// left something in either.
func newSurveyor() *surveyor {
	s := &surveyor{stale: latest.NewWake(), bystanders: newBystanders()}
	s.ipv6.Store(true)
	return s
}

// families returns the families that are looked at.
func (s *surveyor) families() []int {
	if s.ipv6.Load() {
		return []int{unix.AF_INET, unix.AF_INET6}
	}
	return []int{unix.AF_INET}
}

// lookAtIPv6 has IPv6 looked at too, from the next survey on.
func (s *surveyor) lookAtIPv6() {
	if !s.ipv6.Swap(true) {
		s.shared6.forget() // its events were not looked at
		s.mu.Lock()
		defer s.mu.Unlock()
		s.last = nil
	}
}

// attach says that events will be handed on from now on.
func (s *surveyor) attach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attached = true
	s.shared6.attach()
}

// take returns the last survey, and whether it is a new one. Without events to tell when
// that is no longer true, and at first, it makes one.
func (s *surveyor) take(ctx context.Context, protocol uint8) (*survey, bool, error) {
	s.mu.Lock()
	ready := s.attached && s.protocol == protocol && s.last != nil
	s.protocol = protocol
	s.mu.Unlock()
	if !ready {
		if err := s.make(ctx); err != nil {
			return nil, false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.fresh
	s.fresh = false
	return s.last, fresh, nil
}

// look says which tables are read each time.
func (s *surveyor) look(whole, shared []uint32) {
	looked := make(map[uint32]bool, len(whole)+len(shared))
	for _, t := range whole {
		looked[t] = true
	}
	for _, t := range shared {
		if !looked[t] {
			looked[t] = false // of these the default routes alone
		}
	}
	s.shared6.retain(shared)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looked = looked
}

// make makes a survey. It blocks for as long as the kernel takes to look at all routes.
func (s *surveyor) make(ctx context.Context) error {
	s.mu.Lock()
	protocol, shared := s.protocol, map[uint32]bool{}
	for t, whole := range s.looked {
		shared[t] = !whole
	}
	s.mu.Unlock()
	made := &survey{}
	families := s.families()
	for _, family := range families {
		one, err := retried(func() (*survey, error) { return s.makeOf(ctx, family, protocol, shared) })
		if err != nil {
			return err
		}
		made.site, made.tables = append(made.site, one.site...), append(made.tables, one.tables...)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(families) != len(s.families()) {
		return errOtherFamilies
	}
	s.last, s.fresh = made, true
	return nil
}

var errOtherFamilies = errors.New("other families are looked at by now")

// makeOf makes the survey of a family. What is remembered of IPv6 is made anew on the way.
func (s *surveyor) makeOf(ctx context.Context, family int, protocol uint8, shared map[uint32]bool) (*survey, error) {
	made := &survey{}
	ours := routeFilter{family: family, protocol: protocol}
	err := asker(nlmsg.Ask).listRoutes(ctx, ours, surveyLimit, func(r routeMessage) bool {
		looked := shared[r.table] && (family == unix.AF_INET6 || r.dst.Bits() == 0)
		if r.protocol == protocol && !looked && !slices.Contains(made.tables, r.table) {
			made.tables = append(made.tables, r.table)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	if family == unix.AF_INET {
		main := routeFilter{family: family, table: routes.TableMain, kind: unix.RTN_UNICAST}
		err = asker(nlmsg.Ask).listRoutes(ctx, main, surveyLimit, func(r routeMessage) bool {
			made.note(protocol, &r)
			return true
		})
		return made, err
	}
	note := func(r *routeMessage) { made.note(protocol, r) }
	if _, err := s.shared6.list(ctx, nlmsg.Ask, routes.TableMain, surveyLimit, note); err != nil {
		return nil, err
	}
	for _, t := range s.shared6.tables() {
		if t != routes.TableMain {
			if _, err := s.shared6.list(ctx, nlmsg.Ask, t, surveyLimit, nil); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}

// note takes in a route of main.
func (s *survey) note(protocol uint8, r *routeMessage) {
	if r.protocol != protocol && r.isSite() {
		s.site = append(s.site, siteRoute{r.dst, r.link()})
	}
}

// run makes a survey whenever one is due, and calls wake after it, until ctx ends.
func (s *surveyor) run(ctx context.Context, wake func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.stale:
		case <-time.After(surveyEvery):
		}
		start := time.Now()
		if s.make(ctx) == nil {
			wake()
		} else {
			s.stale.Set() // until then the last one stands
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(surveyGap, surveyShare*time.Since(start))):
		}
	}
}

// event takes in a change that the kernel tells, and reports whether what is read each
// time may have changed by it.
func (s *surveyor) event(m nlmsg.Message) bool {
	if len(m.Body) > 0 && m.Body[0] == unix.AF_INET6 && !s.ipv6.Load() {
		return false // the family is the first byte of addresses, routes and rules alike
	}
	if m.Type != unix.RTM_NEWROUTE && m.Type != unix.RTM_DELROUTE {
		if m.Type == unix.RTM_NEWLINK || m.Type == unix.RTM_DELLINK {
			s.shared6.linkEvent(m)
			if !s.bystanders.event(m) {
				return false
			}
		}
		// Routes vanish with a link or an address, and nothing tells of each.
		if m.Type != unix.RTM_NEWRULE && m.Type != unix.RTM_DELRULE {
			s.stale.Set()
		}
		return true
	}
	r, ok := parseRoute(m.Body)
	return !ok || s.routeEvent(m.Type, r)
}

// lost says that events were lost.
func (s *surveyor) lost() {
	s.stale.Set()
	s.shared6.forget()
	s.bystanders.lost()
}

// routeEvent is event for a route.
func (s *surveyor) routeEvent(kind uint16, r routeMessage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looked == nil {
		return true // nobody has read yet
	}
	ours := r.protocol == s.protocol
	whole, looked := s.looked[r.table]
	seen := looked && (whole || r.dst.Bits() == 0)
	if looked && !whole && r.dst.Addr().Is6() {
		if s.shared6.routeEvent(kind, &r) {
			return true
		}
	}
	if ours && !seen || !ours && r.isSite() {
		s.stale.Set()
	}
	return seen && (ours || r.dst.Bits() == 0)
}
