package uplink

import (
	"fmt"
	"time"

	"uplinkd/uplink/api"
)

const (
	// TrafficEvery is how often counters are read while there is traffic.
	TrafficEvery = 50 * time.Millisecond
	// TrafficIdle is how often they are read while there is none.
	TrafficIdle = time.Second

	// busyKept is how long after the last traffic there counts as some still: when a link
	// falls silent there is little to see but what is asked again.
	busyKept = time.Second

	// answerMost is how long the answer to a question, or the doubt about it, takes.
	answerMost = time.Second

	// patienceMost bounds how long packets go out without any coming in before somebody
	// asks, patienceHalf is how soon it forgets what made it longer.
	patienceMost = 10 * time.Second
	patienceHalf = 10 * time.Second
)

// answered is how many packets may go out for one that comes in: the other end
// acknowledges every second one, and what it sends again is no answer.
const answered = 4

// A Silence watches the counters of an uplink's interface: that packets go out and hardly
// any comes in is a reason to ask, and no more. A silence that an answer has disproved makes
// it more patient: who only sends is not asked about again and again.
type Silence struct {
	Paths int // how many are probed by the interface; 0: one

	read     bool
	rx, tx   uint64
	at       time.Time // of the last look
	since    time.Time // packets have gone out since then, and hardly any came in; zero: not so
	unheard  uint64    // how many went out
	heard    uint64    // how few came in meanwhile
	asked    bool      // in this silence
	askedAt  time.Time
	patience time.Duration
	changed  time.Time // when it last became longer or shorter
	busy     time.Time // when there last was more than probes make
}

// Look takes the counters in, and reports whether somebody should ask now, and whether
// there is traffic, or was shortly before: more than probes make. doubted says whether the
// link has been doubted since a time: then the silence was a true one.
func (s *Silence) Look(rx, tx uint64, now time.Time, doubted func(since time.Time) bool) (ask, busy bool) {
	in, out := rx-s.rx, tx-s.tx
	before, first := s.at, !s.read
	s.read, s.rx, s.tx, s.at = true, rx, tx, now
	if first {
		s.patience = TrafficEvery
		return false, false
	}
	if in+out > s.probesMost(now.Sub(before)) {
		s.busy = now
	}
	if in > 0 && in*answered > out {
		s.end(now, doubted)
		return false, now.Sub(s.busy) <= busyKept
	}
	if s.disproved(now) && !doubted(s.since) {
		s.end(now, doubted)
	}
	if s.since.IsZero() && out > 0 {
		s.since = now
		if now.Sub(before) < 2*TrafficEvery {
			s.since = before // after a longer pause it may have been sent just now
		}
	}
	s.unheard += out
	s.heard += in
	// Looks are not quite as far apart as they should be.
	quiet := s.unheard >= s.unheardLeast() && now.Sub(s.since) >= s.patience-TrafficEvery/4
	ask = quiet && !s.asked
	if ask {
		s.asked, s.askedAt = true, now
	}
	return ask, now.Sub(s.busy) <= busyKept || s.unheard >= s.unheardLeast() && !s.asked
}

// disproved reports whether it is so long ago that somebody asked that there has been an
// answer, unless there is doubt: what is sent is not meant to be answered.
func (s *Silence) disproved(now time.Time) bool {
	return s.asked && now.Sub(s.askedAt) > max(s.patience, answerMost)
}

// end takes in that enough has come in.
func (s *Silence) end(now time.Time, doubted func(since time.Time) bool) {
	if s.asked && !doubted(s.since) {
		s.patience, s.changed = min(2*s.patience, patienceMost), now
	} else if now.Sub(s.changed) > patienceHalf {
		s.patience, s.changed = max(s.patience/2, TrafficEvery), now
	}
	s.since, s.unheard, s.heard, s.asked = time.Time{}, 0, 0, false
}

// Unheard returns what went out, and hardly anything came in for, until the last look.
func (s *Silence) Unheard() Unheard { return Unheard{Since: s.since, Out: s.unheard, In: s.heard} }

// Unheard is how many packets have gone out by an interface, and how few have come in, since a time.
type Unheard struct {
	Since   time.Time // zero: what goes out is answered
	Out, In uint64    // packets
}

// text puts it in words; "" when what goes out is answered.
func (u Unheard) text(iface string) string {
	if u.Since.IsZero() || u.Out == 0 {
		return ""
	}
	return fmt.Sprintf("%s: %d packets out and %d in since %s", iface, u.Out, u.In, u.Since.Format(api.Clock))
}

// unheardLeast is how many packets must have gone out: a single one may be a probe, one of each path, or
// something that wants no answer.
func (s *Silence) unheardLeast() uint64 { return uint64(max(s.Paths, 1)) + 1 }

// probesMost is how many packets the probes make between two looks so far apart, at most: those of a path are four,
// and eight in a second.
func (s *Silence) probesMost(apart time.Duration) uint64 {
	return uint64(max(4, 8*apart.Seconds())) * uint64(max(s.Paths, 1))
}
