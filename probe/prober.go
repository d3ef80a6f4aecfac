package probe

import (
	"context"
	"slices"
	"sync"
	"time"

	"uplinkd/internal/latest"
)

// reopenAfter is the pause after a Conn could not be opened or failed.
const reopenAfter = 200 * time.Millisecond

// starved is how much later than planned the loop may come round before it
// distrusts its own misses.
const starved = 50 * time.Millisecond

// probeCost is what a probe is taken to cost in bytes before any has been
// measured: an echo and its answer.
const probeCost = 2 * (ipv4Header + echoSize)

// A Prober probes one uplink and tells what it finds. Its methods may be called
// from any goroutine.
type Prober struct {
	open    Opener
	changed func(Change)

	specs       *latest.Box[*Spec] // nil: nothing to probe
	unreachable chan string        // size 1

	mu       sync.Mutex // guards what follows
	statuses []TargetStatus
	interval time.Duration // the steady pace, which a budget may have stretched

	// Owned by Run.
	current *Spec
	conn    Conn
	targets []target
	told    []Evidence
	opened  time.Time // when opening was last tried
	connErr string
	purse   purse
	paced   Pace // of current, after the budget
}

// New returns a Prober that starts nothing. changed is called from Run's
// goroutine when a target's verdict, or the doubt about it, changes, and must not
// block.
func New(open Opener, changed func(Change)) *Prober {
	return &Prober{open: open, changed: changed, specs: latest.New[*Spec](), unreachable: make(chan string, 1)}
}

// Set says what to probe from now on; nil: nothing. Within a series what was
// counted still counts; with another all verdicts are unknown again. It does not
// block. An equal call changes nothing.
func (p *Prober) Set(spec *Spec) { p.specs.Put(spec) }

// Unreachable says that no target can be reached, as who knows better than a probe
// does: it needs no confirmation. It does not block.
func (p *Prober) Unreachable(reason string) {
	select {
	case p.unreachable <- reason:
	default: // somebody has just said so
	}
}

// Status returns what is known of each target. The slice is the caller's.
func (p *Prober) Status() []TargetStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]TargetStatus(nil), p.statuses...)
}

// Interval returns the steady pace, which a budget may have stretched; zero when
// nothing is probed.
func (p *Prober) Interval() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.interval
}

// received is what the goroutine that reads a Conn hands over.
type received struct {
	conn   Conn
	answer Answer
	err    error
}

// Run probes until ctx ends, and returns when the goroutine it started has ended.
func (p *Prober) Run(ctx context.Context) error {
	answers := make(chan received, 64)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer func() { p.close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var planned time.Time // when the timer was to fire
	read := func(conn Conn) {
		readers.Go(func() { pump(ctx, conn, answers) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.specs.Ready():
			if spec, ok := p.specs.Take(); ok {
				p.adopt(spec)
			}
		case r := <-answers:
			p.receive(r)
		case reason := <-p.unreachable:
			for i := range p.targets {
				p.targets[i].err = reason
				p.targets[i].refuse(time.Now(), p.current.Pace.DownAfter)
			}
		case <-timer.C:
		}
		p.drain(answers)
		now := time.Now()
		p.reopen(now, read)
		if !planned.IsZero() && now.Sub(planned) > starved {
			// This host stood still. Answers may lie in the socket unread: give the
			// reader a moment before anything is counted as missed.
			planned = now.Add(starved / 10)
			timer.Reset(starved / 10)
			continue
		}
		p.repace(now)
		p.expire(now)
		planned = p.send(now)
		p.tell(now)
		p.publish()
		timer.Reset(time.Until(planned))
	}
}

// drain takes in the answers that wait: they count before any miss does.
func (p *Prober) drain(answers <-chan received) {
	for {
		select {
		case r := <-answers:
			p.receive(r)
		default:
			return
		}
	}
}

// pump hands on what comes in on conn until that is closed.
func pump(ctx context.Context, conn Conn, to chan<- received) {
	for {
		answer, err := conn.Receive()
		select {
		case to <- received{conn, answer, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (p *Prober) close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// adopt takes the newest Spec over.
func (p *Prober) adopt(spec *Spec) {
	old := p.current
	p.current = spec
	if spec != nil && old != nil && old.Series == spec.Series {
		if !old.sameSockets(spec) {
			p.close() // its sockets and checks go by the old ones
			p.opened = time.Time{}
			for i := range p.targets {
				p.targets[i].abandon()
			}
		}
		return
	}
	p.close()
	p.opened, p.connErr = time.Time{}, ""
	p.targets, p.told = nil, nil
	if spec == nil {
		return
	}
	p.targets, p.told = make([]target, len(spec.Targets)), make([]Evidence, len(spec.Targets))
	for i, what := range spec.Targets {
		p.targets[i].what = what
	}
}

// reopen sees to it that there is a Conn while there is something to probe. An
// interface that vanished gives errors until another Spec names its successor.
func (p *Prober) reopen(now time.Time, read func(Conn)) {
	if p.current == nil || p.conn != nil || now.Sub(p.opened) < reopenAfter {
		return
	}
	p.opened = now
	conn, err := p.open(*p.current)
	if err != nil {
		p.connErr = err.Error()
		return
	}
	p.conn, p.connErr = conn, ""
	read(conn)
}

func (p *Prober) receive(r received) {
	switch {
	case r.conn != p.conn: // from a Conn given up meanwhile
	case r.err != nil:
		p.close()
		p.connErr = r.err.Error()
	case r.answer.Target >= 0 && r.answer.Target < len(p.targets):
		t := &p.targets[r.answer.Target]
		p.purse.spend(uint64(r.answer.Bytes))
		t.accept(r.answer, p.current.Pace)
		t.weigh(p.current.Limits, &t.rtt)
	}
}

// repace follows the budget.
func (p *Prober) repace(now time.Time) {
	if p.current == nil {
		p.paced = Pace{}
		return
	}
	p.purse.budget = p.current.Budget
	p.purse.fill(now)
	sends, bytes := uint64(0), uint64(0)
	for i := range p.targets {
		sends += p.targets[i].sends
		bytes += p.targets[i].bytes
	}
	cost := float64(probeCost)
	if sends > 0 {
		cost = max(cost/2, float64(bytes)/float64(sends))
	}
	p.paced = p.purse.pace(p.current.Pace, len(p.targets), cost)
}

// expire counts the probes whose time is up as missed, in the order they were sent.
func (p *Prober) expire(now time.Time) {
	for i := range p.targets {
		t := &p.targets[i]
		t.expire(p.current.Pace, now)
		if p.current.Void&(1<<i) != 0 {
			t.recent = history{}
		}
		t.weigh(p.current.Limits, &t.rtt)
	}
}

// tell reports what is new about any target's verdict, or the doubt about it.
func (p *Prober) tell(now time.Time) {
	changed := false
	for i := range p.targets {
		t, told := &p.targets[i], &p.told[i]
		verdict, suspect := t.verdict(), t.suspect(p.paced, now)
		if verdict != told.Verdict || suspect != told.Suspect {
			changed = true
			*told = Evidence{
				Verdict: verdict, Suspect: suspect, Reason: t.reason(&t.rtt), FirstMiss: t.since, Misses: t.misses,
				LastRTT: t.last, Err: p.errorOf(t),
			}
		}
	}
	if changed {
		p.changed(Change{Series: p.current.Series, At: now, Targets: slices.Clone(p.told)})
	}
}

func (p *Prober) errorOf(t *target) string {
	if p.connErr != "" {
		return p.connErr
	}
	return t.err
}

// send sends what is due, all of it in one burst, and returns when to look again.
func (p *Prober) send(now time.Time) time.Time {
	next := now.Add(time.Hour)
	for i := range p.targets {
		t := &p.targets[i]
		hurry := p.current.Hurry&(1<<i) != 0
		if !t.due(p.paced, hurry).After(now) {
			p.sendTo(i, t, now)
		}
		next = earliest(next, t.due(p.paced, hurry))
		if pending, ok := t.pending(); ok {
			next = earliest(next, t.deadline(pending, p.current.Pace))
		}
	}
	return next
}

func (p *Prober) sendTo(i int, t *target, now time.Time) {
	seq := t.begin(now)
	t.err = p.connErr
	if p.conn == nil {
		return
	}
	if t.what.Kind == ICMP {
		t.bytes += ipv4Header + echoSize // and as much again when it is answered
		p.purse.spend(ipv4Header + echoSize)
	}
	if err := p.conn.Send(i, seq); err != nil {
		t.err = err.Error()
	}
}

// publish makes what is known readable for Status.
func (p *Prober) publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interval = p.paced.Interval
	p.statuses = p.statuses[:0]
	for i := range p.targets {
		t := &p.targets[i]
		p.statuses = append(p.statuses, TargetStatus{
			Target: t.what.Name, Verdict: t.verdict(), Reason: t.reason(&t.rtt),
			RTT: t.rtt.smoothed, Jitter: t.rtt.jitter,
			Sent: t.sends, Received: t.receives, Bytes: t.bytes, Loss: t.history.loss(), Err: p.errorOf(t),
		})
	}
}
