package uplink

import "time"

const (
	// TrafficEvery is how often counters are read while there is traffic.
	TrafficEvery = 50 * time.Millisecond
	// TrafficIdle is how often they are read while there is none.
	TrafficIdle = 500 * time.Millisecond

	// patienceMost bounds how long packets go out without any coming in before somebody
	// asks, patienceKept how long it stays as long as it has become.
	patienceMost = 10 * time.Second
	patienceKept = time.Minute
)

// answered is how many packets may go out for one that comes in: the other end
// acknowledges every second one, and what it sends again is no answer.
const answered = 4

// A Silence watches the counters of an uplink's interface: that packets go out and hardly
// any comes in is a reason to ask, and no more. A silence that an answer has disproved makes
// it more patient: who only sends is not asked about again and again.
type Silence struct {
	read     bool
	rx, tx   uint64
	at       time.Time // of the last look
	since    time.Time // packets have gone out since then, and hardly any came in; zero: not so
	asked    bool      // in this silence
	patience time.Duration
	longer   time.Time // when it last became longer
}

// Look takes the counters in, and reports whether somebody should ask now, and whether
// there is traffic: more than probes make. doubted says whether there has been doubt since
// somebody was last asked: then the silence was a true one.
func (s *Silence) Look(rx, tx uint64, now time.Time, doubted func() bool) (ask, busy bool) {
	in, out := rx-s.rx, tx-s.tx
	before, first := s.at, !s.read
	s.read, s.rx, s.tx, s.at = true, rx, tx, now
	if first || s.patience == 0 {
		s.patience = TrafficEvery
		return false, false
	}
	switch {
	case out == 0 && in == 0:
	case in*answered > out:
		if s.asked && !doubted() {
			s.patience, s.longer = min(2*s.patience, patienceMost), now
		} else if now.Sub(s.longer) > patienceKept {
			s.patience = TrafficEvery
		}
		s.since, s.asked = time.Time{}, false
	case s.since.IsZero():
		s.since = before
	}
	quiet := !s.since.IsZero() && !s.asked && now.Sub(s.since) >= s.patience
	s.asked = s.asked || quiet
	return quiet, in+out > probesMost
}

// probesMost is how many packets probes make between two looks, at most.
const probesMost = 4
