package probe

import (
	"context"
	"sync"
	"time"

	"uplinkd/internal/latest"
)

// reopenAfter is the pause after a Conn could not be opened or failed.
const reopenAfter = 200 * time.Millisecond

// starved is how much later than planned the loop may come round before it
// distrusts its own misses.
const starved = 50 * time.Millisecond

// answersHeld is how many answers wait for the loop at most; what has come beyond waits in the socket.
const answersHeld = 16

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
	wonders     latest.Wake        // what is sent gets no answer
	excuses     chan time.Time     // size 1

	mu       sync.Mutex // guards what follows
	statuses []TargetStatus
	interval time.Duration // the steady pace, which a budget may have stretched
	doubted  time.Time     // when there last was doubt; zero: never

	// Owned by Run.
	machine Machine
	conn    Conn
	opened  time.Time // when opening was last tried
}

// New returns a Prober that starts nothing. changed is called from Run's
// goroutine when a target's verdict, or the doubt about it, changes, and must not
// block.
func New(open Opener, changed func(Change)) *Prober {
	return &Prober{
		open: open, changed: changed, specs: latest.New[*Spec](), unreachable: make(chan string, 1),
		wonders: latest.NewWake(), excuses: make(chan time.Time, 1),
	}
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

// Wonder says that what this host sends by the uplink gets no answer: all targets are
// asked at once. It decides nothing. It does not block.
func (p *Prober) Wonder() { p.wonders.Set() }

// Excuse has nothing learned from a silence that begins before a time. It does not block.
func (p *Prober) Excuse(until time.Time) {
	select {
	case p.excuses <- until:
	default: // another has just been told
	}
}

// DoubtedSince reports whether there has been doubt about a target at a time or after it.
func (p *Prober) DoubtedSince(at time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.doubted.Before(at)
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
	answers := make(chan received, answersHeld)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer func() { p.close() }()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var planned time.Time // when the timer was to fire
	var grace time.Time   // until then answers are taken in, and nothing is counted as missed
	read := func(conn Conn) {
		readers.Go(func() { pump(ctx, conn, answers) })
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.specs.Ready():
			if spec, ok := p.specs.Take(); ok && p.machine.Set(spec) {
				p.close()
				p.opened = time.Time{}
			}
		case r := <-answers:
			p.receive(r)
		case reason := <-p.unreachable:
			p.machine.Refuse(time.Now(), reason)
		case <-p.wonders:
			p.machine.Wonder()
		case until := <-p.excuses:
			p.machine.Excuse(until)
		case <-timer.C:
		}
		p.drain(answers)
		now := time.Now()
		p.reopen(now, read)
		if !planned.IsZero() && now.Sub(planned) > starved {
			// This host stood still. Answers may lie in the socket unread: give the
			// reader a moment before anything is counted as missed.
			planned = now.Add(starved / 10)
			grace = planned
		}
		if wait := grace.Sub(now); wait > 0 {
			timer.Reset(wait)
			continue
		}
		planned = p.machine.Turn(now, p.send)
		if change, ok := p.machine.News(now); ok {
			p.changed(change)
		}
		p.publish(now)
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

// reopen sees to it that there is a Conn while there is something to probe. An
// interface that vanished gives errors until another Spec names its successor.
func (p *Prober) reopen(now time.Time, read func(Conn)) {
	m := &p.machine
	if m.current == nil || p.conn != nil || now.Sub(p.opened) < reopenAfter {
		return
	}
	p.opened = now
	conn, err := p.open(*m.current)
	if err != nil {
		m.connErr = err
		return
	}
	p.conn, m.connErr = conn, nil
	read(conn)
}

func (p *Prober) receive(r received) {
	switch {
	case r.conn != p.conn: // from a Conn given up meanwhile
	case r.err != nil:
		p.close()
		p.machine.connErr = r.err
	default:
		p.machine.Receive(r.answer)
	}
}

func (p *Prober) send(target int, seq uint16) error {
	if p.conn == nil {
		return nil // it is about to be opened; what cannot be sent is missed
	}
	return p.conn.Send(target, seq)
}

// publish makes what is known readable for Status.
func (p *Prober) publish(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interval = p.machine.paced.Interval
	p.statuses = p.machine.statuses(p.statuses[:0], now)
	if p.machine.doubts() {
		p.doubted = now
	}
}
