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

	sends    uint64
	receives uint64
	decided  uint64 // answered or missed
	bytes    uint64 // of IP packets, both ways
	doubted  bool   // somebody says that it cannot be reached, and nothing has been decided since
	err      string // why the last probe could not be sent, or what came back instead of an answer
}

// begin notes that a probe is sent now, and returns its sequence number.
func (t *target) begin(now time.Time) uint16 {
	seq := t.next
	t.sent[seq%inFlight], t.answered[seq%inFlight] = now, false
	t.next++
	t.sends++
	return seq
}

// pending returns when the oldest probe under way was sent, if one is.
func (t *target) pending() (time.Time, bool) {
	return t.sent[t.oldest%inFlight], t.oldest != t.next
}

// abandon forgets the probes under way: their answers could no longer be heard.
func (t *target) abandon() { t.oldest = t.next }

// settle moves oldest past what has been answered.
func (t *target) settle() {
	for t.oldest != t.next && t.answered[t.oldest%inFlight] {
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
	if a.Seq-t.oldest >= t.next-t.oldest {
		// It was given up before its time. Missed it stays, but the link lives.
		if a.Err == "" && t.run != Down {
			t.answered[slot], t.misses, t.since = true, 0, time.Time{}
		}
		return
	}
	if a.Doubt {
		t.doubted = true
		return
	}
	t.answered[slot] = true
	t.doubted = false
	overtaken := t.overtaken(a.Seq)
	t.newest = later(t.newest, a.Seq)
	t.settle()
	t.decided++
	t.history.add(a.Err == "")
	switch {
	case a.Err == "":
		t.err = ""
		t.receives++
		// The stamp that RTT comes from has been out of our hands; the wait has not.
		t.last = min(max(a.RTT, 0), a.At.Sub(t.sent[slot]))
		t.rtt.add(t.last)
		t.answer(pace.UpAfter)
	case overtaken:
		t.lost()
	case a.Hard:
		t.err = a.Err
		t.refuse(t.sent[slot], pace.DownAfter)
	default:
		t.err = a.Err
		t.miss(t.sent[slot], pace.DownAfter)
	}
}

// overtaken reports whether a later probe than seq has been decided already.
func (t *target) overtaken(seq uint16) bool {
	return t.decided > 0 && seq != t.newest && later(seq, t.newest) == t.newest
}

// timeout is how long a probe may take. A program has a limit of its own.
func (t *target) timeout(pace Pace) time.Duration {
	if t.what.Kind == Exec {
		return t.what.Limit
	}
	return pace.Timeout
}

// deadline returns when a probe counts as missed: after the timeout. The later
// ones of a run of misses have half of it at least, and need not wait for more
// once the first has had all of it; unless answers usually take that long, or the
// verdict has been reached already.
func (t *target) deadline(sent time.Time, pace Pace) time.Time {
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
	for {
		t.settle()
		sent, ok := t.pending()
		full := t.next-t.oldest == inFlight
		if !ok || !full && now.Before(t.deadline(sent, pace)) {
			return
		}
		if t.overtaken(t.oldest) {
			t.lost()
		} else {
			t.newest = t.oldest
			t.miss(sent, pace.DownAfter)
		}
		t.doubted = false
		t.decided++
		t.oldest++
		t.history.add(false)
	}
}

// suspect reports whether the verdict may be about to change: a run of the other
// kind has begun, or an answer is overdue.
func (t *target) suspect(pace Pace, now time.Time) bool {
	if t.doubted || !t.clear() {
		return true
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

// due returns when to send the next probe. While the verdict is not clear, the
// loss is being watched, or others want to know (hurry), that is at the pace of
// confirm. Otherwise it is at the pace of interval, unless an answer is overdue:
// then at once, and after that at the pace of confirm, so that the verdict does
// not wait for the steady pace.
func (t *target) due(pace Pace, hurry bool) time.Time {
	if t.sends == 0 {
		return time.Time{}
	}
	last := t.sent[(t.next-1)%inFlight]
	confirm, steady := last.Add(min(pace.Confirm, pace.Interval)), last.Add(pace.Interval)
	pending, ok := t.pending()
	if ok && int(t.next-t.oldest) >= t.what.most() {
		return pending.Add(t.timeout(pace)) // it is done or given up by then
	}
	if hurry || t.doubted || t.lossy || !t.clear() {
		return confirm
	}
	if !ok || t.run == Down {
		return steady
	}
	overdue := pending.Add(t.rtt.late(pace))
	if t.next-t.oldest > 1 && overdue.Before(confirm) {
		overdue = confirm
	}
	return earliest(steady, overdue)
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
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
