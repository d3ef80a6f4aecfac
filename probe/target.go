package probe

import (
	"math/bits"
	"net/netip"
	"time"
)

// inFlight is how many probes to one target may wait for their answer; the
// oldest counts as missed when another is needed. It divides 65536, so that a
// sequence number's place stays the same when the numbers wrap.
const inFlight = 256

// A target is one address, the probes to it that are under way, and its judge.
type target struct {
	judge
	addr    netip.Addr
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
	err      string // why the last probe could not be sent
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

// accept takes an answer in and reports whether the verdict changed. Only a
// probe that is under way can be answered, once, and in time: after the timeout
// it has been missed, whichever of the two is looked at first.
func (t *target) accept(a Answer, pace Pace) bool {
	slot := a.Seq % inFlight
	if a.Seq-t.oldest >= t.next-t.oldest || t.answered[slot] || a.At.Sub(t.sent[slot]) > pace.Timeout {
		return false
	}
	t.answered[slot] = true
	t.newest = later(t.newest, a.Seq)
	t.settle()
	t.receives++
	t.decided++
	// The stamp that RTT comes from has been out of our hands; the wait has not.
	t.last = min(max(a.RTT, 0), a.At.Sub(t.sent[slot]))
	t.rtt.add(t.last)
	t.history.add(true)
	return t.answer(pace.UpAfter)
}

// expire counts what has waited too long as missed and reports whether the
// verdict changed. A miss that a later probe's answer has overtaken is lost, but
// judges no more: the link has shown since that it works.
func (t *target) expire(pace Pace, now time.Time) bool {
	changed := false
	for {
		t.settle()
		sent, ok := t.pending()
		full := t.next-t.oldest == inFlight
		if !ok || !full && now.Sub(sent) < pace.Timeout {
			return changed
		}
		overtaken := t.decided > 0 && later(t.oldest, t.newest) == t.newest
		if !overtaken {
			t.newest = t.oldest
			changed = t.miss(sent, pace.DownAfter) || changed
		}
		t.decided++
		t.oldest++
		t.history.add(false)
	}
}

// later returns the later of two sequence numbers, which wrap (RFC 1982).
func later(a, b uint16) uint16 {
	if int16(b-a) >= 0 {
		return b
	}
	return a
}

// due returns when to send the next probe. While the verdict is not clear that
// is at the pace of confirm. While it is, at the pace of interval, unless an
// answer is overdue: then at once, and after that at the pace of confirm, so
// that the verdict does not wait for the steady pace.
func (t *target) due(pace Pace) time.Time {
	if t.sends == 0 {
		return time.Time{}
	}
	last := t.sent[(t.next-1)%inFlight]
	confirm, steady := last.Add(min(pace.Confirm, pace.Interval)), last.Add(pace.Interval)
	if !t.clear() {
		return confirm
	}
	pending, ok := t.pending()
	if !ok || t.verdict == Down {
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

// loss returns how many of them were missed, in percent.
func (h *history) loss() float64 {
	if h.count == 0 {
		return 0
	}
	answered := bits.OnesCount64(h.low) + bits.OnesCount64(h.high)
	return 100 * float64(h.count-answered) / float64(h.count)
}
