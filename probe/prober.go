package probe

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// A Spec says what to probe. Two uplinks may have the same gateway address, so
// an interface's index is part of it.
type Spec struct {
	// Series names a run of evidence. Two Specs of one series prove the same
	// thing, so what was counted under one counts under the other, even if pace,
	// source or mark have changed; their targets must be equal.
	Series uint64

	Interface string
	Index     int
	Source    netip.Addr // the uplink's own address
	Mark      uint32     // the uplink's fwmark, so that the probe takes its table
	Targets   []netip.Addr
	Quorum    int
	Pace      Pace
}

// An Answer is one reply that came in.
type Answer struct {
	Target int // index into Spec.Targets
	Seq    uint16
	At     time.Time     // when it was read
	RTT    time.Duration // by the kernel's receive time stamp
}

// A Conn carries the probes of one Spec. Send and Close are called by one
// goroutine, Receive by another.
type Conn interface {
	// Send sends one probe. It does not block. After an error the Conn still
	// serves: what ends it shows in Receive.
	Send(target int, seq uint16) error
	// Receive blocks until answers come, and returns an error once the Conn is
	// closed or can serve no longer. It may return without one.
	Receive() (Answer, error)
	// Close ends Receive.
	Close() error
}

// Opener opens the Conn of a Spec.
type Opener func(Spec) (Conn, error)

// A Change is a change of the verdict, with the evidence for it.
type Change struct {
	Series    uint64 // of the Spec that was probed
	Verdict   Verdict
	At        time.Time
	FirstMiss time.Time     // when the first of the misses in a row was sent; zero when there are none
	Misses    int           // in a row
	LastRTT   time.Duration // of the last answer, 0 when there never was one
	Err       string        // why the last probe could not even be sent, "" when it could
}

// A TargetStatus is what is known of one target.
type TargetStatus struct {
	Target   netip.Addr
	Verdict  Verdict
	RTT      time.Duration // smoothed
	Jitter   time.Duration // mean deviation
	Sent     uint64
	Received uint64
	Loss     float64 // percent, of the last 100 that are decided
	Err      string
}

// reopenAfter is the pause after a Conn could not be opened or failed.
const reopenAfter = 200 * time.Millisecond

// starved is how much later than planned the loop may come round before it
// distrusts its own misses.
const starved = 50 * time.Millisecond

// A Prober probes one uplink and tells its verdict. Its methods may be called
// from any goroutine.
type Prober struct {
	open    Opener
	changed func(Change)

	mu       sync.Mutex // guards what follows
	spec     *Spec      // nil: nothing to probe
	statuses []TargetStatus
	respec   chan struct{} // size 1

	// Owned by Run.
	current *Spec
	conn    Conn
	targets []target
	verdict Verdict
	opened  time.Time // when opening was last tried
	connErr string
}

// New returns a Prober that starts nothing. changed is called from Run's
// goroutine on each change of the verdict and must not block.
func New(open Opener, changed func(Change)) *Prober {
	return &Prober{open: open, changed: changed, respec: make(chan struct{}, 1)}
}

// Set says what to probe from now on; nil: nothing. Within a series what was
// counted still counts; with another the verdict is unknown again. It does not
// block. An equal call changes nothing.
func (p *Prober) Set(spec *Spec) {
	p.mu.Lock()
	p.spec = spec
	p.mu.Unlock()
	select {
	case p.respec <- struct{}{}:
	default:
	}
}

// Status returns what is known of each target. The slice is the caller's.
func (p *Prober) Status() []TargetStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]TargetStatus(nil), p.statuses...)
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
		case <-p.respec:
			p.adopt()
		case r := <-answers:
			p.receive(r)
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
		p.expire(now)
		planned = p.send(now)
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
func (p *Prober) adopt() {
	p.mu.Lock()
	spec := p.spec
	p.mu.Unlock()
	old := p.current
	p.current = spec
	if spec != nil && old != nil && old.Series == spec.Series {
		if old.Source != spec.Source || old.Mark != spec.Mark {
			p.close() // the socket is bound to the old ones
			p.opened = time.Time{}
			for i := range p.targets {
				p.targets[i].abandon()
			}
		}
		for i := range p.targets { // the quorum may be another
			p.conclude(&p.targets[i], time.Now())
		}
		return
	}
	p.close()
	p.verdict, p.opened, p.connErr = Unknown, time.Time{}, ""
	p.targets = nil
	if spec != nil {
		p.targets = make([]target, len(spec.Targets))
		for i, addr := range spec.Targets {
			p.targets[i].addr = addr
		}
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
		if t.accept(r.answer, p.current.Pace) {
			p.conclude(t, r.answer.At)
		}
	}
}

// expire counts the probes whose time is up as missed, in the order they were sent.
func (p *Prober) expire(now time.Time) {
	for i := range p.targets {
		if t := &p.targets[i]; t.expire(p.current.Pace, now) {
			p.conclude(t, now)
		}
	}
}

// conclude looks whether the uplink's verdict follows that of its target.
func (p *Prober) conclude(t *target, now time.Time) {
	verdict := reach(p.current.Quorum, p.targets)
	if verdict == p.verdict || verdict == Unknown {
		return
	}
	p.verdict = verdict
	p.changed(Change{
		Series: p.current.Series, Verdict: verdict, At: now,
		FirstMiss: t.since, Misses: t.misses, LastRTT: t.last, Err: p.errorOf(t),
	})
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
		if !t.due(p.current.Pace).After(now) {
			p.sendTo(i, t, now)
		}
		next = earliest(next, t.due(p.current.Pace))
		if pending, ok := t.pending(); ok {
			next = earliest(next, pending.Add(p.current.Pace.Timeout))
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
	if err := p.conn.Send(i, seq); err != nil {
		t.err = err.Error()
	}
}

// publish makes what is known readable for Status.
func (p *Prober) publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.statuses = p.statuses[:0]
	for i := range p.targets {
		t := &p.targets[i]
		p.statuses = append(p.statuses, TargetStatus{
			Target: t.addr, Verdict: t.verdict, RTT: t.rtt.smoothed, Jitter: t.rtt.jitter,
			Sent: t.sends, Received: t.receives, Loss: t.history.loss(), Err: p.errorOf(t),
		})
	}
}
