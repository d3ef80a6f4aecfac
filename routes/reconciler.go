package routes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// resyncEvery is how often the kernel is read with no reason at all. It
	// bounds how long a change that sent no event goes unseen: IPv4 routes that
	// vanish with a link or an address send none.
	resyncEvery = 30 * time.Second

	// readGap is the least time between two reads that only kernel events asked
	// for, so that a host whose routes change all the time (BGP) costs at most
	// 50 reads a second. A new Set is never held back.
	readGap = 20 * time.Millisecond

	retryFirst = 50 * time.Millisecond // pause after the first failure; doubles
	retryMost  = 10 * time.Second

	// repairCalm is how long nothing of ours must have been disturbed before a
	// repair is again made without a pause. Two programs that undo each other
	// must not keep the kernel busy.
	repairCalm = time.Minute
)

// Applied is the outcome of one pass of the Reconciler.
type Applied struct {
	Generation uint64   // of the Set that was compared
	Observed   []string // the interfaces that were looked at
	At         time.Time
	State      State  // what was read, before the plan
	Plan       Plan   // what differed, and was carried out
	Err        error  // of the operations and of the read, joined
	InSync     bool   // the kernel holds what is wanted, as far as the answers tell
	Ops        uint64 // operations carried out since the start
	Repairs    uint64 // operations that put back what others had changed
}

// A Reconciler makes the kernel hold the wanted Set and keeps it so. Want and
// Wake may be called from any goroutine and never block. They are wake-ups
// without content: every pass reads the kernel anew, so a lost or doubled one
// does no harm.
type Reconciler struct {
	kernel   Kernel
	log      *slog.Logger
	observed func(Applied)

	wanted chan struct{} // size 1: a Set is waiting
	events chan struct{} // size 1: the kernel has changed

	mu         sync.Mutex // guards what follows
	set        Set
	generation uint64

	// Owned by Run.
	carried  uint64    // the generation last carried out, with or without errors
	failures int       // passes in a row that failed, with that generation
	failed   string    // the plan of the last one, "" when it did not fail
	retryAt  time.Time // when that may be tried again
	repairs  int       // repairs since the last calm
	repaired time.Time // when the last one was made
	ops      uint64
	restored uint64
	lastErr  string
}

// NewReconciler returns a Reconciler that works on kernel and calls observed
// after each pass, from the goroutine of Run; observed must not block.
func NewReconciler(kernel Kernel, log *slog.Logger, observed func(Applied)) *Reconciler {
	return &Reconciler{
		kernel: kernel, log: log, observed: observed,
		wanted: make(chan struct{}, 1), events: make(chan struct{}, 1),
	}
}

// Want makes set the wanted one and returns its generation, which the Applied
// that follows carries. An equal second call is applied again.
func (r *Reconciler) Want(set Set) uint64 {
	r.mu.Lock()
	r.set = set
	r.generation++
	generation := r.generation
	r.mu.Unlock()
	poke(r.wanted)
	return generation
}

// Wake says that the kernel may have changed.
func (r *Reconciler) Wake() { poke(r.events) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run makes passes until ctx ends and then returns nil. It blocks.
func (r *Reconciler) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wanted:
		case <-r.events:
			if wait := readGap - time.Since(last); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		last = time.Now()
		timer.Reset(r.pass(ctx))
	}
}

// pass reads, compares and acts once, and returns when to look again unless
// something happens before.
func (r *Reconciler) pass(ctx context.Context) time.Duration {
	r.mu.Lock()
	set, generation := r.set, r.generation
	r.mu.Unlock()
	if generation == 0 {
		return resyncEvery
	}
	have, err := r.kernel.Read(ctx, ScopeOf(set))
	if ctx.Err() != nil {
		return resyncEvery
	}
	applied := Applied{Generation: generation, Observed: set.Observe, State: have}
	if err != nil {
		applied.Err = fmt.Errorf("read the kernel's routing state: %w", err)
		return r.finish(applied)
	}
	applied.Plan = Diff(set, have)
	if pause := r.hold(applied); pause > 0 {
		applied.Plan.Ops = nil // not carried out
		applied.At, applied.Ops, applied.Repairs = time.Now(), r.ops, r.restored
		r.observed(applied)
		return pause
	}
	applied.Err = r.carryOut(ctx, applied.Plan.Ops)
	if r.carried != generation {
		r.carried, r.failures = generation, 0
	}
	return r.finish(applied)
}

// hold says how long to leave the plan undone. One that failed is tried again
// only after a growing pause, whatever wakes us meanwhile; so is a repair, which
// is a plan for a Set that has been carried out before.
func (r *Reconciler) hold(a Applied) time.Duration {
	if len(a.Plan.Ops) == 0 || a.Generation != r.carried {
		return 0
	}
	now := time.Now()
	if r.failed != "" && r.failed == planText(a.Plan) {
		return r.retryAt.Sub(now)
	}
	if !slices.ContainsFunc(a.Plan.Ops, a.restores) {
		return 0
	}
	if now.Sub(r.repaired) > repairCalm {
		r.repairs = 0
	}
	if pause := backoff(r.repairs) - now.Sub(r.repaired); r.repairs > 0 && pause > 0 {
		return pause
	}
	r.repairs++
	r.repaired = now
	for _, op := range a.Plan.Ops {
		if a.restores(op) {
			r.restored++
			r.log.Warn("put back what was gone from the kernel", "op", op.String())
		}
	}
	return 0
}

// restores reports whether an operation puts something back. Bringing an address
// that is there up to its lease's end does not: that is due as time goes by.
func (a *Applied) restores(op Op) bool {
	put, ok := op.(PutAddress)
	return !ok || !a.State.HasAddress(put.Address.Interface, put.Address.Prefix)
}

// planText tells plans apart. A lifetime does not: it differs every second.
func planText(p Plan) string {
	var b strings.Builder
	for _, op := range p.Ops {
		if put, ok := op.(PutAddress); ok {
			put.Address.Until = time.Time{}
			op = put
		}
		b.WriteString(op.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// carryOut does the operations in order. One that fails does not keep the
// others from being done, for they may be another uplink's; only what it was to
// take the place of is not taken away.
func (r *Reconciler) carryOut(ctx context.Context, ops []Op) error {
	var errs []error
	var failed []Op
	for _, op := range ops {
		if slices.ContainsFunc(failed, func(f Op) bool { return shields(f, op) }) {
			continue
		}
		err := r.kernel.Do(ctx, op)
		if ctx.Err() != nil {
			return nil
		}
		r.ops++
		r.log.Debug("kernel operation", "op", op.String(), "err", err)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", op, err))
			failed = append(failed, op)
		}
	}
	return errors.Join(errs...)
}

// shields reports whether a deletion must wait because an operation that failed
// was to replace what it deletes.
func shields(failed, deletion Op) bool {
	switch d := deletion.(type) {
	case DeleteRule:
		_, rule := failed.(AddRule)
		return rule
	case DeleteAddress:
		return slices.Contains(interfaces(failed), d.Address.Interface)
	case DeleteRoute:
		return slices.ContainsFunc(d.Route.NextHops, func(h NextHop) bool {
			return slices.Contains(interfaces(failed), h.Interface)
		})
	}
	return false
}

// interfaces returns those that an operation puts something on.
func interfaces(op Op) []string {
	switch op := op.(type) {
	case SetLinkUp:
		return []string{op.Interface}
	case PutAddress:
		return []string{op.Address.Interface}
	case AddRoute:
		return op.Route.interfaces()
	case ReplaceRoute:
		return op.Route.interfaces()
	}
	return nil
}

// finish reports the pass and returns the time to the next.
func (r *Reconciler) finish(a Applied) time.Duration {
	a.At = time.Now()
	a.InSync = a.Err == nil && len(a.Plan.Conflicts) == 0
	a.Ops, a.Repairs = r.ops, r.restored
	next := resyncEvery
	if a.Err != nil {
		next = backoff(r.failures)
		r.failures++
		r.failed, r.retryAt = planText(a.Plan), a.At.Add(next)
		if text := a.Err.Error(); text != r.lastErr {
			r.lastErr = text
			r.log.Error("kernel change refused", "err", a.Err, "retry_in", next)
		}
	} else {
		r.failures, r.failed, r.lastErr = 0, "", ""
	}
	r.observed(a)
	return next
}

func backoff(n int) time.Duration {
	if n > 10 {
		return retryMost
	}
	return min(retryFirst<<n, retryMost)
}
