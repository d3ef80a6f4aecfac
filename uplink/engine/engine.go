// Package engine runs the decisions of package uplink. One goroutine owns the state
// and makes every step; it never waits for the kernel, a disk or a program. What is
// wanted after a step goes to the parts that act: the reconciler, a worker for each
// path, the meter, the disconnector, the keeper of orders.
package engine

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"uplinkd/configs"
	"uplinkd/internal/grid"
	"uplinkd/internal/histogram"
	"uplinkd/internal/latest"
	"uplinkd/routes"
	"uplinkd/routes/reconcile"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/cgroups"
)

// tick is how often the engine looks at the clock and says that it lives.
const tick = time.Second

// leastSuspension is what the two clocks may drift apart for other reasons.
const leastSuspension = 2 * time.Second

// An Engine owns the state of all uplinks.
type Engine struct {
	deps         Deps
	reconciler   *reconcile.Reconciler
	eventLog     *eventLog
	switches     switchBook
	meter        *meter
	disconnector *disconnector
	listener     *listener
	resolver     *resolver
	keeper       *keeper
	started      time.Time
	wake         latest.Wake
	lag, steps   histogram.Durations
	running      sync.WaitGroup // of workers
	usageSet     latest.Wake    // somebody has said what an uplink has used

	mu    sync.Mutex // guards what follows
	inbox []message
	view  view // what readers see

	learned   Learned
	usageAcks []chan<- error // of those who have said what an uplink has used

	// Owned by Run.
	state       uplink.State
	wanted      uplink.Wanted
	generation  uint64                     // of wanted.Set
	drained     map[string]*drainCount     // by uplink
	connections map[string]api.Figure[int] // by interface, as of the last tick
	traffic     map[string]traffic         // likewise
	counted     counted                    // when those were asked for
	workers     workers
	heard       []heardLink // on what the listener listens
	pending     pending
	line        string        // last told
	ready       bool          // told
	tablesPut   uint64        // as of the last look at the kernel
	netsPut     uint64        // likewise
	asleep      time.Duration // since the boot less our time awake, at the last tick
}

// A message is an event, and who waits for it.
type message struct {
	event uplink.Event
	from  *worker      // nil: from elsewhere
	done  chan<- error // size 1; nil: nobody waits
	sent  time.Time
}

// New returns an Engine for a configuration. It starts nothing.
func New(c configs.Config, deps Deps) *Engine {
	now := time.Now()
	e := &Engine{
		deps: deps, started: now, wake: latest.NewWake(), eventLog: newEventLog(),
		state: uplink.New(c, now), pending: newPending(), usageSet: latest.NewWake(), drained: map[string]*drainCount{},
	}
	e.state = uplink.Step(e.state, uplink.Restored{Admins: adminsOf(deps.Orders), Usage: deps.Usage}, now)
	e.learned = deps.Learned
	e.keeper = newKeeper(deps.SaveOrders, deps.Log, deps.Orders)
	e.meter = newMeter(deps.Meters, deps.Log)
	e.disconnector = newDisconnector(deps.Disconnect, e.isUp)
	e.resolver = newResolver(deps.OfferDNS, deps.Log)
	e.view.state = e.state
	e.reconciler = reconcile.New(deps.Kernel, deps.Log, func(a routes.Applied) { e.Send(uplink.Observed{Applied: a}) })
	e.listener = newListener(deps.ReadLink, e.reconciler.Wake, deps.Log)
	return e
}

// Send hands the engine an event. It does not block and may be called from any
// goroutine. What was observed replaces what was observed before and not yet
// looked at.
func (e *Engine) Send(event uplink.Event) { e.send(message{event: event}) }

func (e *Engine) send(m message) {
	m.sent = time.Now()
	e.mu.Lock()
	last := len(e.inbox) - 1
	if _, ok := m.event.(uplink.Observed); ok && last >= 0 && isObserved(e.inbox[last]) {
		m.sent = e.inbox[last].sent // somebody has waited since then
		e.inbox[last] = m
	} else {
		e.inbox = append(e.inbox, m)
	}
	e.mu.Unlock()
	e.wake.Set()
}

func isObserved(m message) bool {
	_, ok := m.event.(uplink.Observed)
	return ok
}

// Do hands the engine an event and returns when it has decided on it and, if the
// event is a command, when what the operator wants is on the disk. It blocks until
// then, or until ctx ends. The error says why the event was refused; ErrNotKept that
// it is in force and will not outlive a restart; that of ctx before the event was handed
// over, that nothing was done.
func (e *Engine) Do(ctx context.Context, event uplink.Event) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	e.send(message{event: event, done: done})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run works until ctx ends and then returns nil, when all it started has ended.
// The kernel is left as it is: traffic goes on.
func (e *Engine) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	e.wanted = uplink.Want(&e.state)
	e.generation = e.reconciler.Want(e.wanted.Set)
	e.meter.set(e.wanted.Meter)
	if e.deps.Groups != nil {
		e.deps.Groups.Set(e.wanted.Groups)
	}
	group.Go(func() error { return e.reconciler.Run(ctx) })
	group.Go(func() error {
		return e.deps.Watch(ctx, func() {
			e.reconciler.Wake()
			e.listener.stirred.Set()
		})
	})
	group.Go(func() error { return e.loop(ctx) })
	group.Go(func() error { return e.keeper.run(ctx) })
	group.Go(func() error { return e.keepLearned(ctx) })
	group.Go(func() error { return e.keepUsage(ctx) })
	group.Go(func() error { return e.disconnector.run(ctx) })
	group.Go(func() error { return e.meter.run(ctx) })
	group.Go(func() error { return e.listener.run(ctx) })
	group.Go(func() error { return e.resolver.run(ctx) })
	if e.deps.Neighbours != nil {
		group.Go(func() error {
			return e.deps.Neighbours(ctx, func(index int, address netip.Addr) {
				e.Send(uplink.NeighbourFailed{Index: index, Address: address})
			})
		})
	}
	if e.deps.Carriers != nil {
		group.Go(func() error {
			return e.deps.Carriers(ctx, e.listener.stirred.Set, func(index int, at time.Time) {
				e.Send(uplink.CarrierLost{Index: index, At: at})
			})
		})
	}
	if e.deps.Groups != nil {
		group.Go(func() error {
			return e.deps.Groups.Run(ctx, func(groups map[cgroups.Name]cgroups.Group) {
				e.Send(uplink.GroupsFound{Groups: groups})
			})
		})
	}
	err := group.Wait()
	e.running.Wait()
	return err
}

func (e *Engine) loop(ctx context.Context) error {
	ticker := grid.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			ticker.Again()
			if d := e.suspendedFor(); d > 0 {
				e.deps.Log.Info("the machine was suspended", "for", d.Round(time.Second))
				e.step(ctx, uplink.Resumed{SuspendedFor: d})
			}
			e.step(ctx, uplink.Sampled{Samples: e.samples()})
			e.notifyAlive()
		case <-e.meter.stirred:
			e.step(ctx, uplink.Sampled{Samples: e.samples()})
		case <-e.wake:
			e.handleAll(ctx, e.takeInbox())
		}
	}
}

// handle makes the step for one message, and has who waits for it told.
func (e *Engine) handle(ctx context.Context, m message) {
	if m.from != nil && !e.workers.has(m.from) {
		return // of a worker that has been let go meanwhile
	}
	e.lag.Add(time.Since(m.sent))
	if lost, ok := m.event.(uplink.CarrierLost); ok && !e.state.HasLink(lost.Index) {
		return // a container's, of which a host may have many come and go
	}
	if changed, ok := m.event.(uplink.ProbeChanged); ok {
		m.event = e.withUnheard(changed)
	}
	command, isCommand := m.event.(uplink.Commanded)
	if isCommand {
		if err := e.state.Refuse(command); err != nil {
			acknowledge(m.done, err)
			return
		}
	}
	e.step(ctx, m.event)
	if isCommand && command.Action == api.SetQuota {
		if e.deps.SaveUsage == nil {
			acknowledge(m.done, nil)
			return
		}
		e.mu.Lock()
		e.usageAcks = append(e.usageAcks, m.done)
		e.mu.Unlock()
		e.usageSet.Set()
		return
	}
	if isCommand && command.Action == api.Drill {
		e.excuse(command)
	}
	if isCommand {
		e.keeper.keep(ordersOf(e.wanted.Admins), m.done)
		return
	}
	acknowledge(m.done, nil)
}

func acknowledge(done chan<- error, err error) {
	if done != nil {
		done <- err
	}
}

// step makes one decision and hands what it asks for to where it is acted on.
func (e *Engine) step(ctx context.Context, event uplink.Event) {
	began := time.Now()
	before := e.state
	e.state = uplink.Step(before, event, began)
	wanted := uplink.Want(&e.state)
	if !wanted.Set.Equal(&e.wanted.Set) {
		e.generation = e.reconciler.Want(wanted.Set)
	}
	if !wanted.Meter.Equal(&e.wanted.Meter) {
		e.meter.set(wanted.Meter)
	}
	if !maps.Equal(wanted.Admins, e.wanted.Admins) {
		e.keeper.keep(ordersOf(wanted.Admins), nil)
	}
	if wanted.Ready && (!e.wanted.Ready || !wanted.DNS.Equal(e.wanted.DNS)) {
		e.resolver.set(wanted.DNS)
	}
	if e.deps.Groups != nil && !slices.Equal(wanted.Groups, e.wanted.Groups) {
		e.deps.Groups.Set(wanted.Groups)
	}
	e.wanted = wanted
	e.syncWorkers(ctx, wanted.Work)
	e.setListener()
	if failed, ok := event.(uplink.NeighbourFailed); ok {
		e.reportUnreachable(failed)
	}
	e.trackTransitions(before, began)
	changes := uplink.Changes(before, e.state, began)
	e.eventLog.add(changes)
	logMeddling(e.deps.Log, changes)
	observed, isObserved := event.(uplink.Observed)
	e.publish(observed, isObserved)
	if begunCounting(&before, &e.state) {
		e.usageSet.Set()
	}
	if isObserved {
		e.finishTransitions(observed.Applied)
		e.forgetUntranslated(observed.Applied)
	}
	e.notify()
	e.noteStep(time.Since(began))
	if _, ok := event.(uplink.Reloaded); ok {
		e.switches.forget(&e.state)
	}
	for _, command := range uplink.AutoDisabled(before, e.state) {
		e.step(ctx, command)
	}
}

// suspendedFor returns how long the machine has been suspended since the last tick.
func (e *Engine) suspendedFor() time.Duration {
	if e.deps.SinceBoot == nil {
		return 0
	}
	// Go's clock stands still in a suspended machine, that since the boot does not.
	awake, since := time.Since(e.started), e.deps.SinceBoot()
	asleep := since - awake
	suspended := asleep - e.asleep
	first := e.asleep == 0
	e.asleep = asleep
	if first || suspended < leastSuspension {
		return 0
	}
	return suspended
}
