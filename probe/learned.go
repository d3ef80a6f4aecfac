package probe

import "time"

// A Rule is how misses lead to a verdict.
type Rule uint8

// The rules.
const (
	Fixed   Rule = iota // by timeout, confirm and down_after
	Learned             // by what the link has been like
)

const (
	// quickest is the pace at which a link that answers at once is asked in doubt.
	quickest = 20 * time.Millisecond

	// quickFor is how long that pace is kept. Who is silent for longer is asked at
	// the pace of confirm.
	quickFor = time.Second

	// doubtMost is how much longer than the smoothed round trip an answer may take, at the
	// most, before there is doubt: by then new connections are better led elsewhere,
	// whatever the link is like.
	doubtMost = 300 * time.Millisecond

	// doubtMisses is how many answers in a row must be overdue for doubt before doubtMost
	// has passed. Of 3 in 100 lost at random, three in a row are once in 37,000.
	doubtMisses = 3

	// downMisses is how many probes must have gone unanswered for a verdict.
	downMisses = 3

	// lostAfter is when a probe that is not answered counts as lost for the slow path,
	// though its answer may still come.
	lostAfter = time.Second

	// survivedFactor is how much longer a silence than the longest one that the link
	// has survived means that it is dead.
	survivedFactor = 3

	// unsteadyFactor makes a bound of how much round trips vary. A link that holds
	// packets back for some milliseconds each, as radio does, will one day hold them
	// back for seconds.
	unsteadyFactor = 400

	// forgetHalf is how long it takes until a survived silence counts for half.
	forgetHalf = time.Hour

	// spreadMost is over how many round trips their mean deviation is averaged.
	spreadMost = 32
)

// A Character is what a link is like towards one target, as it has been learned. It
// outlives the process.
type Character struct {
	Spread   time.Duration `json:"spread_ns"`   // mean deviation of round trips, over some dozens of them
	Samples  int           `json:"samples"`     // how many of those there were, up to spreadMost
	Survived time.Duration `json:"survived_ns"` // the longest silence that an answer ended, as it was at At
	At       time.Time     `json:"at"`
}

// Valid reports whether a Character that comes from a file can be true.
func (c *Character) Valid(now time.Time) bool {
	return c.Spread >= 0 && c.Spread <= time.Minute && c.Samples >= 0 && c.Samples <= spreadMost &&
		c.Survived >= 0 && c.Survived <= time.Minute && !c.At.After(now.Add(time.Minute))
}

// learnRTT takes one round trip in, that differs from the smoothed one by deviation.
// Outliers count for some times the mean: one busy moment of this host tells little.
func (c *Character) learnRTT(deviation time.Duration) {
	if c.Samples > 2 {
		deviation = min(deviation, 8*c.Spread+time.Millisecond)
	}
	c.Samples = min(c.Samples+1, spreadMost)
	c.Spread += (deviation - c.Spread) / time.Duration(c.Samples)
}

// survived returns the longest silence that was survived, as much of it as still counts:
// half after forgetHalf, a quarter after twice that. Between it is a straight line.
func (c *Character) survived(now time.Time) time.Duration {
	left, age := c.Survived, now.Sub(c.At)
	for age >= forgetHalf && left > time.Millisecond {
		left /= 2
		age -= forgetHalf
	}
	return left - time.Duration(float64(left)/2*max(age.Seconds(), 0)/forgetHalf.Seconds())
}

// survive takes in that an answer has ended a silence. One of more than most was a death.
func (c *Character) survive(now time.Time, silence, most time.Duration) {
	if silence <= most && silence > c.survived(now) {
		c.Survived, c.At = silence, now
	}
}

// bound returns how long a silence means that the link is dead.
func (c *Character) bound(p Pace, now time.Time) time.Duration {
	bound := max(p.DownWithin, survivedFactor*c.survived(now))
	if c.Samples > 2 {
		bound = max(bound, unsteadyFactor*c.Spread)
	}
	return min(bound, p.DownWithinMax)
}

// lateness returns how long after sending an answer is overdue.
func (r *rtt) lateness(p Pace) time.Duration {
	return max(r.smoothed+min(4*r.variation, doubtMost), p.Confirm/5)
}

// A wait is the probes sent since the last one that was answered: the silence, as far as
// we have listened into it.
type wait struct {
	heard    time.Time // when the last answer came; zero: none ever
	answered uint16    // the latest probe that was answered
	first    time.Time // when the first of those after it was sent; zero: none was
	unsent   int       // how many of those could not be sent
	wondered bool      // since the last answer somebody has said that what is sent gets none
}

// learns reports whether the target is judged by the learned rule. A program has no
// round trip to learn from.
func (t *target) learns(p Pace) bool { return p.Rule == Learned && t.what.Kind != Exec }

// limit returns how long a check of a service may take.
func (p Pace) limit() time.Duration {
	if p.Rule == Learned {
		return max(p.Timeout, p.DownWithinMax)
	}
	return p.Timeout
}

// waiting returns how many probes were sent after the last one that was answered.
func (t *target) waiting() int {
	if t.wait.first.IsZero() {
		return 0
	}
	return min(min(int(t.next-t.wait.answered-1), inFlight)-t.wait.unsent, inFlight-1)
}

// hear takes in that a probe was answered at a time. A silence that has ended so was
// survived.
func (t *target) hear(seq uint16, at time.Time, p Pace) {
	w := &t.wait
	tells := t.learns(p) && !w.heard.IsZero() && !w.first.IsZero() && !w.first.Before(t.excused)
	if tells && at.Sub(w.first) >= t.rtt.lateness(p) {
		t.character.survive(at, at.Sub(t.silentSince(p)), p.DownWithinMax)
	}
	if t.next-seq < t.next-w.answered { // they wrap
		w.answered = seq
	}
	t.listen()
	if w.heard.Before(at) {
		if !w.heard.IsZero() {
			t.count().Silences.Add(at.Sub(w.heard))
		}
		w.heard = at
	}
	w.wondered = false
}

// listen finds out when the silence after the last answer begins: with the first probe that
// could be sent.
func (t *target) listen() {
	w := &t.wait
	w.first, w.unsent = time.Time{}, 0
	for seq := t.waitingFrom(); seq != t.next; seq++ {
		switch slot := seq % inFlight; {
		case t.unsentAt[slot]:
			w.unsent++
		case w.first.IsZero():
			w.first = t.sent[slot]
		}
	}
}

// waitingFrom returns the first probe after the last one that was answered, of those that
// are remembered.
func (t *target) waitingFrom() uint16 {
	if t.next-t.wait.answered-1 > inFlight {
		return t.next - inFlight
	}
	return t.wait.answered + 1
}

// waitingAt returns when the n-th of the probes was sent that wait for an answer, from 1 on.
func (t *target) waitingAt(n int) time.Time {
	if t.wait.unsent == 0 {
		return t.sent[(t.wait.answered+uint16(n))%inFlight]
	}
	for seq := t.waitingFrom(); seq != t.next; seq++ {
		if t.unsentAt[seq%inFlight] {
			continue
		}
		if n--; n == 0 {
			return t.sent[seq%inFlight]
		}
	}
	return never
}

// silentSince returns since when the link says nothing: since the last answer, or, where
// it is asked rarely, since shortly before it was asked.
func (t *target) silentSince(p Pace) time.Time {
	asked := t.wait.first.Add(-min(p.Interval, p.DownWithin/2))
	if t.wait.heard.After(asked) {
		return t.wait.heard
	}
	return asked
}

// never is a time that does not come.
var never = time.Unix(1<<40, 0)

// doubtAt returns when there is doubt if nothing is heard until then. One lost probe is
// none, nor is an answer that is late while others come in.
func (t *target) doubtAt(p Pace) time.Time {
	n := t.waiting()
	if n < 2 || t.wait.heard.IsZero() {
		return never
	}
	late := t.rtt.lateness(p)
	at := t.wait.first.Add(t.rtt.smoothed + doubtMost)
	misses := doubtMisses
	if t.wait.wondered { // what this host sends gets no answer either
		late = max(t.rtt.smoothed+min(4*t.rtt.variation, doubtMost), quickest/2)
		misses--
	}
	if n >= misses {
		at = earliest(at, t.waitingAt(misses).Add(late))
	}
	if quiet := t.wait.heard.Add(late); quiet.After(at) {
		return quiet
	}
	return at
}

// downAt returns when the silence means down if nothing is heard until then.
func (t *target) downAt(p Pace, now time.Time) time.Time {
	if t.waiting() < downMisses || t.wait.heard.IsZero() {
		return never
	}
	return t.silentSince(p).Add(t.character.bound(p, now))
}

// doubtful reports whether new connections are better led elsewhere.
func (t *target) doubtful(p Pace, now time.Time) bool {
	return t.learns(p) && t.run == Up && !now.Before(t.doubtAt(p))
}

// turning returns when something is to be decided about the target if nothing is heard
// until then.
func (t *target) turning(p Pace, now time.Time) time.Time {
	at := never
	if sent, ok := t.pending(); ok {
		at = t.deadline(sent, p)
	}
	if !t.learns(p) || t.run != Up {
		return at
	}
	if doubt := t.doubtAt(p); doubt.After(now) {
		at = earliest(at, doubt)
	}
	return earliest(at, t.downAt(p, now))
}

// quick returns when to ask again in doubt: no faster than the link can answer, and no
// faster than confirm once the silence has lasted.
func (t *target) quick(p Pace, last time.Time) time.Time {
	pause := max(quickest, t.rtt.smoothed)
	if last.Sub(t.wait.first) >= quickFor || p.Confirm >= p.Interval {
		pause = max(pause, p.Confirm)
	}
	return last.Add(min(pause, p.Interval))
}

// bounds returns how late an answer makes doubt, and how long a silence means down; zero
// where the rule is fixed, or nothing was ever heard.
func (t *target) bounds(p Pace, now time.Time) (doubt, down time.Duration) {
	if !t.learns(p) || t.wait.heard.IsZero() {
		return 0, 0
	}
	return t.rtt.lateness(p), t.character.bound(p, now)
}

// ask has the target asked at once, unless an answer is awaited already.
func (t *target) ask() { t.wondered = t.wait.first.IsZero() }

// wonder has it asked, too, and is one reason more for doubt if it does not answer.
func (t *target) wonder() {
	t.ask()
	t.wait.wondered = true
}
