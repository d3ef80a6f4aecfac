// Package reconcile makes the kernel hold what is wanted, and keeps it so. Every
// object has a status and a clock of its own: one that is fought over, or refused,
// holds back only itself and what depends on it.
package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"uplinkd/internal/latest"
	"uplinkd/routes"
)

const (
	// resyncEvery is how often the kernel is read with no reason at all. It
	// bounds how long a change that sent no event goes unseen: IPv4 routes that
	// vanish with a link or an address send none. Those of IPv6 in main send one, and
	// are listed anew with each survey besides.
	resyncEvery = 30 * time.Second

	// readGap is the least time between two reads that only kernel events asked
	// for, so that a host whose routes change all the time (BGP) costs at most
	// 50 reads a second. A new Set is never held back.
	readGap = 20 * time.Millisecond

	// eventGap is how long a wake-up waits before the kernel is read. A carrier that has fallen wakes
	// the engine, too: what that wants is done first, in less than that.
	eventGap = 2 * time.Millisecond

	// switchesFree is how many changes of the shared default route within a second are
	// made at once. More of them come from doubts that come and go, and are switchGap
	// apart: ten a second at the most.
	switchesFree = 5
	switchGap    = 100 * time.Millisecond
)

// A Reconciler makes the kernel hold the wanted Set and keeps it so. Wake and Read
// may be called from any goroutine. A wake-up has no content: every pass reads the
// kernel anew, so a lost or doubled one does no harm.
type Reconciler struct {
	kernel   routes.Kernel
	log      *slog.Logger
	observed func(routes.Applied)

	wanted *latest.Box[wanted]
	events latest.Wake // the kernel has changed
	reads  chan read

	figures figures

	asked uint64 // the generation last given out; of who calls Want

	// Owned by Run.
	set      wanted
	objects  objects
	ops      uint64
	repairs  uint64
	tables   uint64 // how often our nft table was put where there was none
	nets     uint64 // how often an interface of the site was given an address that it had not
	refused  string // what was refused last, as it was told
	passedAt time.Time
	known    routes.State            // what the kernel held after the last pass; At zero: that is not known
	heard    uint64                  // of default routes, before that was read
	switched [switchesFree]time.Time // when the default route was last changed, the oldest first
	unnamed  []routes.Op             // repairs that are not told yet, as it is not known who made them necessary
	naming   <-chan time.Time        // when they are
}

// A wanted is a Set and its number.
type wanted struct {
	set        routes.Set
	generation uint64
}

// A read is a question about the kernel, and where to put the answer.
type read struct {
	scope  routes.Scope
	answer chan<- readAnswer
}

type readAnswer struct {
	state routes.State
	err   error
}

// New returns a Reconciler that works on kernel and calls observed after each
// pass, from the goroutine of Run; observed must not block.
func New(kernel routes.Kernel, log *slog.Logger, observed func(routes.Applied)) *Reconciler {
	return &Reconciler{
		kernel: kernel, log: log, observed: observed,
		wanted: latest.New[wanted](), events: latest.NewWake(), reads: make(chan read),
		objects: newObjects(),
	}
}

// Want makes set the wanted one and returns its generation, which the Applied
// that follows carries. An equal second call is applied again. It does not block.
// One goroutine may call it.
func (r *Reconciler) Want(set routes.Set) uint64 {
	r.asked++
	r.wanted.Put(wanted{set, r.asked})
	return r.asked
}

// Wake says that the kernel may have changed. It does not block.
func (r *Reconciler) Wake() { r.events.Set() }

// Read returns what the kernel holds of a scope, read by the goroutine of Run
// between two passes. It blocks until then, or until ctx ends.
func (r *Reconciler) Read(ctx context.Context, scope routes.Scope) (routes.State, error) {
	answer := make(chan readAnswer, 1)
	select {
	case r.reads <- read{scope, answer}:
	case <-ctx.Done():
		return routes.State{}, ctx.Err()
	}
	select {
	case a := <-answer:
		return a.state, a.err
	case <-ctx.Done():
		return routes.State{}, ctx.Err()
	}
}

// Run makes passes until ctx ends and then returns nil. It blocks.
func (r *Reconciler) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var due, held time.Time // when a pass is to be made; until when a new Set waits, zero: there is none that does
	nearer := func(at time.Time) {
		if at.Before(due) {
			due = at
			timer.Reset(time.Until(due))
		}
	}
	for {
		select {
		case <-ctx.Done():
			r.nameRepairs()
			return nil
		case <-r.naming:
			r.nameRepairs()
			continue
		case question := <-r.reads:
			state, err := r.kernel.Read(ctx, question.scope)
			question.answer <- readAnswer{state, err}
			continue
		case <-r.wanted.Ready():
			if wait := r.switchPause(time.Now()); wait > 0 {
				held = time.Now().Add(wait)
				nearer(held)
				continue
			}
			held = time.Time{}
		case <-r.events:
			// Others that follow, however fast, do not put it off.
			nearer(later(r.passedAt.Add(readGap), time.Now().Add(eventGap)))
			continue
		case <-timer.C:
		}
		if !held.After(time.Now()) {
			held = time.Time{}
			if w, ok := r.wanted.Take(); ok {
				r.set = w
			}
		}
		done := r.switchFirst(ctx)
		r.passedAt = time.Now()
		next := r.pass(ctx, done)
		due = time.Now().Add(next)
		timer.Reset(next)
		if !held.IsZero() {
			nearer(held)
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// switchPause returns how long a new Set has to wait for the default route's sake.
func (r *Reconciler) switchPause(now time.Time) time.Duration {
	if now.Sub(r.switched[0]) >= time.Second {
		return 0
	}
	return r.switched[switchesFree-1].Add(switchGap).Sub(now)
}

// noteSwitch notes that an operation was carried out.
func (r *Reconciler) noteSwitch(op routes.Op, now time.Time) {
	replace, ok := op.(routes.ReplaceRoute)
	same := func(d routes.Route) bool { return d.RouteKey == replace.Route.RouteKey }
	if ok && slices.ContainsFunc(r.set.set.Default, same) {
		copy(r.switched[:], r.switched[1:])
		r.switched[switchesFree-1] = now
	}
}

// switchFirst takes what leads nowhere any more out of the default route before the kernel is read, which takes
// milliseconds with many uplinks. It does so only while nobody has touched a default route since that was read
// last, so that none of others is in the way. It returns what was done.
func (r *Reconciler) switchFirst(ctx context.Context) (done []routes.Op) {
	sentry, ok := r.kernel.(routes.Sentry)
	if !ok || r.known.At.IsZero() || sentry.DefaultsHeard(r.set.set.Default) != r.heard {
		return nil
	}
	for _, op := range routes.Narrower(r.set.set, r.known) {
		began := time.Now()
		err := r.kernel.Do(ctx, op)
		r.figures.times[routes.KeyOf(op).Kind].Add(time.Since(began))
		r.log.Debug("kernel operation", "op", op.String(), "err", err)
		if err != nil {
			continue // what is in the way is seen by the pass that follows
		}
		r.ops++
		r.noteSwitch(op, time.Now())
		done = append(done, op)
	}
	return done
}

// pass reads, compares and acts once, and returns when to look again unless
// something happens before. done is what was done before it.
func (r *Reconciler) pass(ctx context.Context, done []routes.Op) time.Duration {
	if r.set.generation == 0 {
		return resyncEvery
	}
	set := r.set.set
	r.known = routes.State{}
	if sentry, ok := r.kernel.(routes.Sentry); ok {
		r.heard = sentry.DefaultsHeard(set.Default)
	}
	have, err := r.kernel.Read(ctx, routes.ScopeOf(set))
	if ctx.Err() != nil {
		return resyncEvery
	}
	applied := routes.Applied{Generation: r.set.generation, Observed: set.Observe, State: have, Done: done}
	if err != nil {
		applied.Err = fmt.Errorf("read the kernel's routing state: %w", err)
		r.logRefused(applied.Err.Error(), applied.Err)
		return r.finish(applied, r.objects.readFailed())
	}
	r.objects.want(r.set)
	applied.Plan = routes.Diff(set, have)
	next, ok := r.carryOut(ctx, &applied)
	if !ok {
		return resyncEvery
	}
	return r.finish(applied, next)
}

// carryOut does the operations in order, those that are due. One that fails does
// not keep the others from being done, for they may be another uplink's; only what
// depends on it waits. It returns when to look again, and false when ctx has ended.
func (r *Reconciler) carryOut(ctx context.Context, a *routes.Applied) (time.Duration, bool) {
	var errs []error
	var refused strings.Builder // times aside, which are others each second
	note := func(op routes.Op, err error) {
		errs = append(errs, fmt.Errorf("%s: %w", routes.Brief(op), err))
		fmt.Fprintln(&refused, routes.KeyOf(op), err)
	}
	p := r.objects.begin(a.State, time.Now())
	for _, op := range a.Done {
		p.done(op, r.whoChanged) // before this pass: what is asked for first is no repair
	}
	for _, op := range a.Plan.Ops {
		if pending, wait := p.mustWait(op); wait {
			a.Pending = append(a.Pending, pending)
			if pending.Err != nil {
				note(op, pending.Err)
			}
			continue
		}
		began := time.Now()
		err := r.kernel.Do(ctx, op)
		r.figures.times[routes.KeyOf(op).Kind].Add(time.Since(began))
		if ctx.Err() != nil {
			return 0, false
		}
		r.ops++
		r.log.Debug("kernel operation", "op", op.String(), "err", err)
		if err != nil {
			a.Pending = append(a.Pending, p.failed(op, err))
			note(op, err)
			continue
		}
		a.Done = append(a.Done, op)
		r.noteSwitch(op, time.Now())
		r.count(op, a.State)
		if repair, by := p.done(op, r.whoChanged); repair {
			r.repaired(op, by)
		}
	}
	a.Err = errors.Join(errs...)
	r.logRefused(refused.String(), a.Err)
	next := p.end()
	a.Fights = p.fights()
	return next, true
}

// count counts what flows may have begun before. The engine may miss an Applied, but no number in the next.
func (r *Reconciler) count(op routes.Op, have routes.State) {
	switch op := op.(type) {
	case routes.PutFirewall:
		if have.LacksFirewall() {
			r.tables++
		}
	case routes.PutAddress:
		a := op.Address
		if slices.Contains(r.set.set.Inside, a.Interface) && !have.HasAddress(a.Interface, a.Prefix) {
			r.nets++
		}
	}
}

// logRefused tells what the kernel has refused, once. what names it.
func (r *Reconciler) logRefused(what string, err error) {
	if what != r.refused && what != "" {
		r.log.Error("kernel change refused", "err", err)
	}
	r.refused = what
}

// finish reports the pass and returns the time to the next.
func (r *Reconciler) finish(a routes.Applied, next time.Duration) time.Duration {
	a.At = time.Now()
	a.InSync = a.Err == nil && len(a.Plan.Conflicts) == 0 && len(a.Pending) == 0
	a.Ops, a.Repairs, a.TablesPut, a.NetsPut = r.ops, r.repairs, r.tables, r.nets
	if a.InSync {
		r.known = a.After()
	}
	r.observed(a)
	return min(next, resyncEvery)
}
