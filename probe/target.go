package probe

import (
	"math/bits"
	"time"
)

// inFlight is how many probes to one target may wait for their answer; the
// oldest counts as missed when another is needed. It divides 65536, so that a
// sequence number's place stays the same when the numbers wrap.
const inFlight = 256

// A target is one thing to probe, the probes to it that are under way, and its
// judge.
type target struct {
	judge
	what    Target
	rtt     rtt
	last    time.Duration // the last answer's round trip
	history history

	oldest   uint16 // the oldest probe that is neither answered nor missed, or next
	next     uint16 // sequence number of the next probe
	newest   uint16 // the latest one answered or judged as missed, once decided > 0
	sent     [inFlight]time.Time
	answered [inFlight]bool
	further  [inFlight]bool // sent because another was overdue: a silence counts as lost once
	unsentAt [inFlight]bool // it could not be sent, for this host's own lack

	character Character
	figures   *Figures
	wait      wait
	wondered  bool      // somebody wants to know now
	excused   time.Time // silences that begin before it tell nothing of the link

	missed bool // the probe before the oldest was; those after it that are, too, are the same silence

	sends    uint64
	receives uint64
	decided  uint64 // answered or missed
	bytes    uint64 // of IP packets, both ways
	doubted  bool   // somebody says that it cannot be reached, and nothing has been decided since
	err      string // why the last probe could not be sent, or what came back instead of an answer
	advice   Advice // of the last answer
	unsent   bool   // the last probe could not be sent for this host's own lack
}

// count returns the figures of the target.
func (t *target) count() *Figures {
	if t.figures == nil {
		t.figures = &Figures{}
	}
	return t.figures
}

// begin notes that a probe is sent now, and returns its sequence number.
func (t *target) begin(now time.Time, pace Pace) uint16 {
	seq := t.next
	slot := seq % inFlight
	forgotten := t.unsentAt[slot]
	t.sent[slot], t.answered[slot], t.unsentAt[slot] = now, false, false
	t.further[slot] = t.learns(pace) && t.isLate(pace, now)
	if t.wait.first.IsZero() {
		t.wait.first = now
	}
	t.next++
	t.sends++
	if forgotten {
		t.listen()
	}
	t.wondered = false
	return seq
}

// pending returns when the oldest probe under way was sent, if one is.
func (t *target) pending() (time.Time, bool) {
	return t.sent[t.oldest%inFlight], t.oldest != t.next
}

// abandon forgets the probes under way: their answers could no longer be heard.
func (t *target) abandon() {
	t.oldest, t.missed = t.next, false
	t.wait.answered, t.wait.first, t.wait.unsent = t.next-1, time.Time{}, 0
}

// withdraw takes a probe back that this host could not send: it is neither answered nor
// missed, and is no part of a silence. Those that were sent before and after it are.
func (t *target) withdraw(seq uint16, why string) {
	t.answered[seq%inFlight], t.unsentAt[seq%inFlight] = true, true
	t.err, t.unsent = why, true
	t.sends--
	t.settle()
	t.listen()
}

// settle moves oldest past what has been answered.
func (t *target) settle() {
	for t.oldest != t.next && t.answered[t.oldest%inFlight] {
		t.missed = t.missed && t.unsentAt[t.oldest%inFlight]
		t.oldest++
	}
}

// accept takes an answer in. Only a probe that is under way can be answered,
// once, and in time: after the timeout it has been missed, whichever of the two
// is looked at first. What came back may also be a failure, which is a miss
// before its time.
func (t *target) accept(a Answer, pace Pace) {
	slot := a.Seq % inFlight
	t.bytes += uint64(a.Bytes)
	if t.answered[slot] || t.next-a.Seq > inFlight || t.next == a.Seq || a.At.Sub(t.sent[slot]) > t.timeout(pace) {
		return
	}
	switch {
	case a.Seq-t.oldest >= t.next-t.oldest:
		if a.Err == "" {
			t.acceptLate(a, pace)
		}
		return
	case a.Doubt:
		t.doubted = true
		return
	case a.Unsent:
		t.withdraw(a.Seq, a.Err)
		return
	}
	t.unsent = false
	t.answered[slot] = true
	t.doubted = false
	overtaken := t.overtaken(a.Seq)
	t.newest = later(t.newest, a.Seq)
	t.settle()
	t.decided++
	if !t.further[slot] {
		t.history.add(a.Err == "")
	}
	switch {
	case a.Err == "":
		t.err = ""
		t.receives++
		t.hear(a.Seq, a.At, pace)
		t.measure(a, slot)
		t.answer(pace.UpAfter, !t.further[slot])
	case overtaken:
		t.lost()
	case a.Hard:
		t.err = a.Err
		t.refuse(t.sent[slot], pace.DownAfter)
	default:
		t.err = a.Err
		t.miss(t.sent[slot], pace.DownAfter)
	}
	t.heed(a.Advice, a.Err == "")
}

// heed takes over what an agent says, and forgets what one has said that is down and says
// nothing.
func (t *target) heed(a Advice, answered bool) {
	if answered || a.Given || t.verdict() == Down {
		t.advice = a
	}
}

// acceptLate takes an answer in to a probe that was given up before its time. Missed it
// stays, but the link lives.
func (t *target) acceptLate(a Answer, pace Pace) {
	slot := a.Seq % inFlight
	if t.run != Down {
		t.answered[slot], t.misses, t.since = true, 0, time.Time{}
	}
	if t.learns(pace) {
		t.measure(a, slot)
		t.hear(a.Seq, a.At, pace)
	}
}

// measure takes the round trip of an answer in.
func (t *target) measure(a Answer, slot uint16) {
	// The stamp that RTT comes from has been out of our hands; the wait has not.
	t.last = min(max(a.RTT, 0), a.At.Sub(t.sent[slot]))
	if t.rtt.answers > 1 { // the first may have waited for ARP
		t.character.learnRTT((t.last - t.rtt.smoothed).Abs())
	}
	t.rtt.add(t.last)
	t.count().RTTs.Add(t.last)
}

// overtaken reports whether a later probe than seq has been decided already.
func (t *target) overtaken(seq uint16) bool {
	return t.decided > 0 && seq != t.newest && later(seq, t.newest) == t.newest
}

// timeout is how long a probe may take. A program has a limit of its own.
func (t *target) timeout(pace Pace) time.Duration {
	switch {
	case t.what.Kind == Exec:
		return t.what.Limit
	case t.learns(pace):
		return pace.DownWithinMax
	}
	return pace.Timeout
}

// deadline returns when a probe counts as missed: after the timeout. The later
// ones of a run of misses have half of it at least, and need not wait for more
// once the first has had all of it; unless answers usually take that long, or the
// verdict has been reached already.
func (t *target) deadline(sent time.Time, pace Pace) time.Time {
	if t.learns(pace) {
		return sent.Add(max(lostAfter, 2*t.rtt.lateness(pace)))
	}
	timeout := t.timeout(pace)
	whole := sent.Add(timeout)
	if t.misses == 0 || t.run == Down || t.rtt.late(pace) > timeout/2 {
		return whole
	}
	first, half := t.since.Add(timeout), sent.Add(timeout/2)
	if half.Before(first) {
		half = first
	}
	return earliest(whole, half)
}

// expire counts what has waited too long as missed. A miss that a later probe's
// answer has overtaken is lost, but ends no run: the link has shown since that it
// works.
func (t *target) expire(pace Pace, now time.Time) {
	if t.learns(pace) && t.run == Up && !now.Before(t.downAt(pace, now)) {
		t.fall()
	}
	for {
		t.settle()
		sent, ok := t.pending()
		full := t.next-t.oldest == inFlight
		if !ok || !full && now.Before(t.deadline(sent, pace)) {
			return
		}
		further := t.further[t.oldest%inFlight] || t.learns(pace) && t.missed
		switch {
		case t.overtaken(t.oldest):
			if !further {
				t.lost()
			}
		case t.learns(pace):
			t.newest = t.oldest
			t.overdue(sent, pace.DownAfter, !further)
		default:
			t.newest = t.oldest
			t.miss(sent, pace.DownAfter)
		}
		t.doubted, t.unsent = false, false
		t.heed(Advice{}, false)
		t.decided++
		t.oldest++
		t.missed = true
		if !further {
			t.history.add(false)
		}
	}
}

// isLate reports whether the first answer after the last one is overdue, by the learned rule.
func (t *target) isLate(pace Pace, now time.Time) bool {
	return !t.wait.first.IsZero() && !now.Before(t.wait.first.Add(t.rtt.lateness(pace)))
}

// suspect reports whether the verdict may be about to change: a run of the other
// kind has begun, or an answer is overdue.
func (t *target) suspect(pace Pace, now time.Time) bool {
	if t.doubted || !t.clear() {
		return true
	}
	if t.learns(pace) {
		return t.run == Up && t.isLate(pace, now)
	}
	pending, ok := t.pending()
	return ok && t.run == Up && !now.Before(pending.Add(t.rtt.late(pace)))
}

// later returns the later of two sequence numbers, which wrap (RFC 1982).
func later(a, b uint16) uint16 {
	if int16(b-a) >= 0 {
		return b
	}
	return a
}

// A history is whether each of the last 100 probes was answered, newest first.
type history struct {
	low, high uint64 // answered: bit 0 of low is the newest
	count     int
}

const historyLength = 100

func (h *history) add(answered bool) {
	h.high = h.high<<1 | h.low>>63
	h.low <<= 1
	if answered {
		h.low |= 1
	}
	h.high &= 1<<(historyLength-64) - 1
	h.count = min(h.count+1, historyLength)
}

// missed returns how many of them were missed.
func (h *history) missed() int {
	return h.count - bits.OnesCount64(h.low) - bits.OnesCount64(h.high)
}

// loss returns how many of them were missed, in percent.
func (h *history) loss() float64 {
	if h.count == 0 {
		return 0
	}
	return 100 * float64(h.missed()) / float64(h.count)
}
