package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/grid"
	"uplinkd/internal/latest"
	"uplinkd/probe"
	"uplinkd/routes/flows"
	"uplinkd/uplink"
)

// A listener looks at the counters and the carrier of uplinks' interfaces many times a
// second, in a goroutine of its own. What it sees gives no verdict: it has a prober ask, or
// the reconciler look. What the uplinks carry is known of its counts.
type listener struct {
	read    func(index int, carrier bool) (flows.Link, error) // nil: it cannot
	carrier func()                                            // a carrier has come or gone
	links   *latest.Box[[]heardLink]
	stirred latest.Wake // a link event has come
	log     *slog.Logger

	mu      sync.Mutex             // guards what follows
	unheard map[int]uplink.Unheard // by interface index, where what goes out gets no answer
	counts  map[int]count          // likewise, as of the last look
	failed  error                  // why a link told nothing when it was last looked at
	round   time.Time              // since when links are being looked at; zero: they are not
}

// heldBack is how long after an event of a link the kernel may hold the next one back:
// a second (linkwatch_schedule_work in net/core/link_watch.c). What the link itself says
// is true meanwhile.
const heldBack = 1200 * time.Millisecond

// A heardLink is an interface to listen on, and who asks when it is silent.
type heardLink struct {
	index   int
	probers [uplink.Families]*probe.Prober // of each family; nil: nobody
}

func newListener(read func(int, bool) (flows.Link, error), carrier func(), log *slog.Logger) *listener {
	return &listener{
		read: read, carrier: carrier, links: latest.New[[]heardLink](), stirred: latest.NewWake(), log: log,
		unheard: map[int]uplink.Unheard{}, counts: map[int]count{},
	}
}

// An ear is what is known of one interface.
type ear struct {
	heardLink
	silence uplink.Silence
	carrier bool
	known   bool

	err        error     // why the last look told nothing
	busy       bool      // there is traffic: it is looked at each time
	quietUntil time.Time // otherwise it is left alone until then
}

// doubted reports whether the link has been doubted since a time, in any family, or nobody would.
func (e *ear) doubted(since time.Time) bool {
	asked := false
	for _, p := range e.probers {
		if p != nil {
			asked = true
			if p.DoubtedSince(since) {
				return true
			}
		}
	}
	return !asked
}

// run listens until ctx ends.
func (l *listener) run(ctx context.Context) error {
	if l.read == nil {
		return nil
	}
	ears := map[int]*ear{}
	ticker := grid.NewTicker(uplink.TrafficIdle)
	defer ticker.Stop()
	var hasty time.Time // until then there may be events that the kernel holds back
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.links.Ready():
			if links, ok := l.links.Take(); ok {
				ears = l.adopt(ears, links)
			}
			continue
		case <-l.stirred:
			hasty = time.Now().Add(heldBack)
			ticker.Every(uplink.TrafficEvery)
			continue
		case <-ticker.C:
		}
		now := time.Now()
		next := uplink.TrafficIdle
		if now.Before(hasty) {
			next = uplink.TrafficEvery
		}
		var trouble error
		l.looking(now)
		for _, e := range ears {
			if now.Before(hasty) || e.busy || !now.Before(e.quietUntil) {
				e.busy = l.listen(e, time.Now(), now.Before(hasty))
				e.quietUntil = now.Add(grid.Until(now, uplink.TrafficIdle) - uplink.TrafficEvery/2)
			}
			if e.busy {
				next = uplink.TrafficEvery
			}
			if e.err != nil {
				trouble = e.err
			}
		}
		l.looking(time.Time{})
		l.tell(trouble)
		ticker.Every(next)
	}
}

// adopt keeps what is known of interfaces that are still listened on.
func (l *listener) adopt(before map[int]*ear, links []heardLink) map[int]*ear {
	ears := make(map[int]*ear, len(links))
	for _, link := range links {
		e := before[link.index]
		if e == nil {
			e = &ear{}
		}
		e.heardLink, e.silence.Paths = link, 0
		for _, p := range link.probers {
			if p != nil {
				e.silence.Paths++
			}
		}
		ears[link.index] = e
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.unheard, func(index int, _ uplink.Unheard) bool { return ears[index] == nil })
	maps.DeleteFunc(l.counts, func(index int, _ count) bool { return ears[index] == nil })
	return ears
}

// listen looks at one interface, and reports whether there is traffic. One that cannot be
// read has gone, and an event tells of that. The carrier is asked while there is traffic, or while an event of it may
// be held back for one that was heard. The kernel may hold it back for a second for another link's sake, too, of which
// nothing is heard here; at rest nobody is hurt by that second.
func (l *listener) listen(e *ear, now time.Time, hasty bool) (busy bool) {
	asked := hasty || e.busy || !e.known
	link, err := l.read(e.index, asked)
	l.count(e.index, link.Traffic, now, err)
	if e.err = nil; err != nil {
		if !errors.Is(err, unix.ENODEV) {
			e.err = err
		}
		return false
	}
	if e.known && asked && link.Carrier != e.carrier {
		l.carrier()
	}
	if asked {
		e.known, e.carrier = true, link.Carrier
	}
	ask, busy := e.silence.Look(link.RxPackets, link.TxPackets, now, e.doubted)
	l.note(e.index, e.silence.Unheard())
	for _, p := range e.probers {
		if ask && p != nil {
			p.Wonder()
		}
	}
	return busy
}

// note keeps what went out unanswered for who asks.
func (l *listener) note(index int, u uplink.Unheard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u.Since.IsZero() {
		delete(l.unheard, index)
		return
	}
	l.unheard[index] = u
}

// unheardBy returns what has gone out by an interface unanswered, as of the last look. It may
// be called from any goroutine.
func (l *listener) unheardBy(index int) uplink.Unheard {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unheard[index]
}

// unheardBy returns what has gone out by an uplink's interface unanswered.
func (e *Engine) unheardBy(iface string) uplink.Unheard {
	u := e.state.On(iface)
	if u == nil {
		return uplink.Unheard{}
	}
	return e.listener.unheardBy(u.Device.Link.Index)
}

// setListener tells the listener where to listen.
func (e *Engine) setListener() {
	links := make([]heardLink, 0, len(e.state.Uplinks))
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		if u.Device.Link.Index == 0 {
			continue
		}
		link := heardLink{index: u.Device.Link.Index}
		for p := range u.Present() {
			w := e.workers.active[path{u.Config.Interface, p.Family}]
			if w != nil && u.In(p.Family).Probe.Passive {
				link.probers[p.Family] = w.prober
			}
		}
		links = append(links, link)
	}
	if !slices.Equal(links, e.heard) {
		e.heard = links
		e.listener.links.Put(links)
	}
}
