package uplink

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/status"
)

// beat is how often the engine looks at the clock and says that it lives.
const beat = time.Second

// leastSleep is what the two clocks may drift apart for other reasons.
const leastSleep = 2 * time.Second

// Traffic is what has gone over an interface, in bytes.
type Traffic struct{ Rx, Tx uint64 }

// Outside is what the engine needs of the world. Functions that are nil are
// not called.
type Outside struct {
	Kernel      routes.Kernel
	Watch       func(ctx context.Context, wake func()) error                                // blocks until ctx ends
	Neighbours  func(ctx context.Context, failed func(index int, address netip.Addr)) error // likewise
	OpenProbe   probe.Opener
	OpenDHCP    dhcp.Opener
	Leases      dhcp.Store
	DUID        []byte // of this host, for DHCP; empty: made of the MAC
	Random      func() uint32
	Traffic     func() map[string]Traffic                // by interface
	Connections func(addresses []string) map[string]int  // TCP sockets of this host, by their address
	Flows       func(addresses []string) map[string]int  // flows that are translated to the address
	Stalled     func(addresses []string) map[string]bool // whether connections of the address get no answer
	Cut         func(Cut) (Severed, error)               // may block for some milliseconds
	Counters    func() map[string][2]uint64              // of policies: packets, bytes
	Orders      map[string]status.Order                  // that stood when the process before us ended
	SaveOrders  func(map[string]status.Order) error      // may block
	SinceBoot   func() time.Duration                     // with the time the machine was suspended
	Notify      Notifier
	Log         *slog.Logger
}

// A Notifier tells the service manager how the daemon is. Its methods must not
// block.
type Notifier interface {
	Ready()             // every uplink has been judged, or the start limit has passed
	Status(line string) // "2/3 up: isp1 isp3"
	Alive()             // the engine's loop turns
}

// An Engine owns the state of all uplinks. One goroutine, that of Run, makes
// every decision; other goroutines send it events.
type Engine struct {
	out        Outside
	reconciler *routes.Reconciler
	chronicle  *chronicle
	cutter     *cutter
	started    time.Time
	unsaved    chan map[string]status.Order // size 1, the newest

	mu     sync.Mutex // guards what follows
	inbox  []Event
	view   view              // what Snapshot reads
	actors map[string]*actor // by interface
	poked  chan struct{}     // size 1

	// Owned by Run.
	state    State
	want     routes.Set
	gen      uint64 // of want
	answered uint64 // the last one the kernel has answered to
	pending  []transition
	owed     map[string]Cut // by uplink: put off until something else is up
	ready    bool
	line     string
	asleep   time.Duration // since the boot less our time awake, at the last beat
	sampled  time.Time
	previous map[string]Traffic
	beats    int
	saved    map[string]status.Order
}

// A view is what the last step left, for readers. It is never changed, only
// replaced.
type view struct {
	state   State
	applied routes.Applied
	traffic map[string]Traffic
	rates   map[string]Traffic // bits a second
	flows   map[string]int     // by address, as of the last time they were counted
	unkept  string             // why orders cannot be kept
}

// An actor is what works for one uplink.
type actor struct {
	prober *probe.Prober
	client *dhcp.Client
	probed *probe.Spec
	leased *dhcp.Spec
	stop   context.CancelFunc
	done   chan struct{}
}

// NewEngine returns an Engine for a configuration. It starts nothing.
func NewEngine(c configs.Config, out Outside) *Engine {
	now := time.Now()
	e := &Engine{
		out: out, started: now, poked: make(chan struct{}, 1), actors: map[string]*actor{}, state: newState(c, now),
		chronicle: newChronicle(), owed: map[string]Cut{}, unsaved: make(chan map[string]status.Order, 1),
	}
	e.cutter = newCutter(out.Cut, out.Log, e.isUp)
	e.state.take(Recalled{out.Orders}, now)
	e.saved = e.state.orders()
	e.view.state = e.state
	e.reconciler = routes.NewReconciler(out.Kernel, out.Log, func(a routes.Applied) { e.Send(Observed{a}) })
	return e
}

// Send hands the engine an event. It does not block and may be called from any
// goroutine. What was observed replaces what was observed before and not yet
// looked at.
func (e *Engine) Send(event Event) {
	e.mu.Lock()
	replaced := false
	if _, ok := event.(Observed); ok && len(e.inbox) > 0 {
		if _, ok := e.inbox[len(e.inbox)-1].(Observed); ok {
			e.inbox[len(e.inbox)-1] = event
			replaced = true
		}
	}
	if !replaced {
		e.inbox = append(e.inbox, event)
	}
	e.mu.Unlock()
	select {
	case e.poked <- struct{}{}:
	default:
	}
}

// Run works until ctx ends and then returns nil, when all it started has ended.
// The kernel is left as it is: traffic goes on.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	e.want = Desired(e.state)
	e.gen = e.reconciler.Want(e.want)
	group.Go(func() error { return e.reconciler.Run(ctx) })
	group.Go(func() error { return e.out.Watch(ctx, e.reconciler.Wake) })
	group.Go(func() error { return e.loop(ctx) })
	group.Go(func() error { return e.keepOrders(ctx) })
	group.Go(func() error { return e.cutter.Run(ctx) })
	if e.out.Neighbours != nil {
		group.Go(func() error {
			return e.out.Neighbours(ctx, func(index int, address netip.Addr) { e.Send(Forsaken{index, address}) })
		})
	}
	err := group.Wait()
	for _, a := range e.actors {
		a.stop()
		<-a.done
	}
	return err
}

func (e *Engine) loop(ctx context.Context) error {
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if slept := e.slept(); slept > 0 {
				e.out.Log.Info("the machine was suspended", "for", slept.Round(time.Second))
				e.step(ctx, Resumed{slept})
			}
			e.sample()
			e.step(ctx, Sampled{e.samples()})
			e.alive()
		case <-e.poked:
			for _, event := range e.take() {
				e.step(ctx, event)
			}
		}
	}
}

// isUp reports whether an uplink is up, as of the last step.
func (e *Engine) isUp(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.view.state.Uplinks {
		if u := &e.view.state.Uplinks[i]; u.Config.Name == name {
			return u.Phase == Up
		}
	}
	return false
}

func (e *Engine) take() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	events := e.inbox
	e.inbox = nil
	return events
}

// step makes one decision and carries it to where it is acted on.
func (e *Engine) step(ctx context.Context, event Event) {
	before := e.state
	now := time.Now()
	e.state = step(before, event, now)
	e.direct(ctx)
	if forsaken, ok := event.(Forsaken); ok {
		e.refuse(forsaken)
	}
	if want := Desired(e.state); !reflect.DeepEqual(want, e.want) {
		e.want = want
		e.gen = e.reconciler.Want(want)
	}
	e.note(before, now)
	e.chronicle.add(events(before, e.state, now))
	e.remember()
	e.publish(event)
	if observed, ok := event.(Observed); ok {
		e.report(observed.Applied)
	}
	e.notify()
}

func (e *Engine) publish(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.state = e.state
	if observed, ok := event.(Observed); ok {
		e.view.applied = observed.Applied
	}
}

// direct tells each uplink's prober and DHCP client what to do, and sees to it
// that there is one for each uplink and for no other.
func (e *Engine) direct(ctx context.Context) {
	for name, a := range e.actors {
		if e.state.on(name) == nil {
			a.stop()
			<-a.done
			e.mu.Lock()
			delete(e.actors, name)
			e.mu.Unlock()
		}
	}
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		a := e.actors[u.Config.Interface]
		if a == nil {
			a = e.hire(ctx, u.Config.Interface)
		}
		if !reflect.DeepEqual(a.probed, u.Probe) {
			a.probed = u.Probe
			a.prober.Set(u.Probe)
		}
		if spec := leaseSpec(&e.state, u); !reflect.DeepEqual(a.leased, spec) {
			a.leased = spec
			a.client.Set(spec, u.Disabled())
		}
	}
}

// refuse tells the probers of the uplinks that a neighbour was the gateway of.
// Where the gateway answers ARP no more, nothing behind it can.
func (e *Engine) refuse(f Forsaken) {
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		if hop, ok := u.NextHop(); ok && u.Link.Index == f.Index && hop.Gateway == f.Address {
			e.actors[u.Config.Interface].prober.Unreachable("nobody answers ARP for " + f.Address.String())
		}
	}
}

// hire starts the prober and the DHCP client of the uplink on an interface.
func (e *Engine) hire(ctx context.Context, name string) *actor {
	ctx, stop := context.WithCancel(ctx)
	a := &actor{
		prober: probe.New(e.out.OpenProbe, func(c probe.Change) { e.Send(Judged{name, c}) }),
		client: dhcp.New(dhcp.Outside{
			Store: e.out.Leases, Open: e.out.OpenDHCP, Random: e.out.Random, DUID: e.out.DUID, Log: e.out.Log,
		}, func(c dhcp.Change) {
			e.Send(Leased{name, c})
		}),
		stop: stop, done: make(chan struct{}),
	}
	go func() {
		defer close(a.done)
		var both sync.WaitGroup
		both.Go(func() { _ = a.prober.Run(ctx) }) // both return nil
		both.Go(func() { _ = a.client.Run(ctx) })
		both.Wait()
	}()
	e.mu.Lock()
	e.actors[name] = a
	e.mu.Unlock()
	return a
}

// slept returns how long the machine has been suspended since the last beat.
func (e *Engine) slept() time.Duration {
	if e.out.SinceBoot == nil {
		return 0
	}
	// Go's clock stands still in a suspended machine, that since the boot does not.
	awake, since := time.Since(e.started), e.out.SinceBoot()
	asleep := since - awake
	slept := asleep - e.asleep
	first := e.asleep == 0
	e.asleep = asleep
	if first || slept < leastSleep {
		return 0
	}
	return slept
}

// remember has the orders kept when they have changed.
func (e *Engine) remember() {
	orders := e.state.orders()
	if e.out.SaveOrders == nil || maps.Equal(orders, e.saved) {
		return
	}
	e.saved = orders
	select {
	case <-e.unsaved: // an older one that nobody has taken
	default:
	}
	e.unsaved <- orders // there is room: nobody else puts anything in
}

// keepOrders writes the orders down, in a goroutine of its own: a disk may take
// its time.
func (e *Engine) keepOrders(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			select {
			case orders := <-e.unsaved:
				e.save(orders)
			default:
			}
			return nil
		case orders := <-e.unsaved:
			e.save(orders)
		}
	}
}

func (e *Engine) save(orders map[string]status.Order) {
	err := e.out.SaveOrders(orders)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.unkept = ""
	if err != nil {
		e.view.unkept = err.Error()
		e.out.Log.Error("the operator's orders cannot be kept: after a restart they are forgotten", "err", err)
	}
}

func (e *Engine) alive() {
	if e.out.Notify != nil {
		e.out.Notify.Alive()
	}
}

// notify tells the service manager what is new.
func (e *Engine) notify() {
	if e.out.Notify == nil {
		return
	}
	if line := Line(e.state); line != e.line {
		e.line = line
		e.out.Notify.Status(line)
	}
	if e.state.Settled && !e.ready {
		e.ready = true
		e.out.Notify.Ready()
	}
}
