package replay

import (
	"slices"
	"time"

	"uplinkd/uplink/api"
)

// Others returns what the rules of other programs make of a trace, written from what
// their documentation says of them. They know up and down alone.
func Others(t *Trace) []Measure {
	list := []Measure{measure(bfd{}, "BFD 300 ms x 3", t)}
	for _, r := range others {
		list = append(list, measure(r, r.name, t))
	}
	return list
}

// A counter is a rule that sends a ping at a steady pace and goes by how many were
// answered in time.
type counter struct {
	name     string
	interval time.Duration // from one ping's end to the next
	timeout  time.Duration // when a ping's fate is known
	waits    bool          // the pause begins when the ping's fate is known
	tries    int           // pings in a row that must fail for one failure
	down     func(h *record) bool
	up       func(h *record) bool
}

var others = []counter{
	// dpinger(8) as OPNsense starts it: a ping a second, lost after 4 s; down at 20 % lost
	// of the last minute, or 500 ms on average.
	{
		name: "dpinger, OPNsense", interval: time.Second, timeout: 4 * time.Second, tries: 1,
		down: func(h *record) bool { return h.lossOf(60) >= 0.20 || h.meanOf(60) >= 500*time.Millisecond },
		up:   func(h *record) bool { return h.lossOf(60) < 0.20 && h.meanOf(60) < 500*time.Millisecond },
	},
	// mwan3 as shipped: four addresses in turn, 4 s each, every 10 s; five failures.
	{
		name: "mwan3, as shipped", interval: 10 * time.Second, timeout: 4 * time.Second, waits: true, tries: 4,
		down: func(h *record) bool { return h.lost >= 5 }, up: func(h *record) bool { return h.answered >= 5 },
	},
	// mwan3 as people set it: one address, 1 s, every 2 s; three failures.
	{
		name: "mwan3, tuned", interval: 2 * time.Second, timeout: time.Second, waits: true, tries: 1,
		down: func(h *record) bool { return h.lost >= 3 }, up: func(h *record) bool { return h.answered >= 3 },
	},
	// foolsm: a ping a second, lost after one; 7 in a row or 15 of the last 100, and back
	// with 10 in a row and 5 of 100 at most.
	{
		name: "foolsm", interval: time.Second, timeout: time.Second, tries: 1,
		down: func(h *record) bool { return h.lost >= 7 || h.lostOf(100) >= 15 },
		up:   func(h *record) bool { return h.answered >= 10 && h.lostOf(100) <= 5 },
	},
}

// A record is what became of pings, the newest last.
type record struct {
	rtts           []time.Duration // below zero: lost
	lost, answered int             // in a row
}

func (h *record) add(rtt time.Duration, ok bool) {
	if ok {
		h.rtts, h.lost, h.answered = append(h.rtts, rtt), 0, h.answered+1
		return
	}
	h.rtts, h.lost, h.answered = append(h.rtts, -1), h.lost+1, 0
}

func (h *record) last(n int) []time.Duration { return h.rtts[max(len(h.rtts)-n, 0):] }

func (h *record) lostOf(n int) (lost int) {
	for _, rtt := range h.last(n) {
		if rtt < 0 {
			lost++
		}
	}
	return lost
}

func (h *record) lossOf(n int) float64 {
	return float64(h.lostOf(n)) / float64(max(len(h.last(n)), n/2)) // a window that is not full says less
}

func (h *record) meanOf(n int) time.Duration {
	sum, count := time.Duration(0), 0
	for _, rtt := range h.last(n) {
		if rtt >= 0 {
			sum += rtt
			count++
		}
	}
	return sum / time.Duration(max(count, 1))
}

// ping returns what becomes of a ping that is sent at a time over a link that is dead from
// dead on; 0: never.
func ping(s Session, at, dead time.Duration) (rtt time.Duration, ok bool) {
	rtt, ok = s.at(at)
	return rtt, ok && (dead == 0 || at+rtt < dead)
}

// run plays the rule until a time, and returns its states, and when it last heard.
func (r counter) run(s Session, dead, until time.Duration) (spans []span, heard time.Duration) {
	var h record
	spans = []span{{state: api.Up}}
	for at := time.Duration(0); at < until; {
		ok := false
		var rtt time.Duration
		began := at
		for range r.tries {
			rtt, ok = ping(s, at, dead)
			ok = ok && rtt <= r.timeout
			if ok {
				heard = max(heard, at+rtt)
				break
			}
			if r.waits {
				at += r.timeout
			}
		}
		h.add(rtt, ok)
		known := at
		switch {
		case ok:
			known = at + rtt
		case !r.waits:
			known = began + r.timeout
		}
		spans = r.turn(spans, &h, known)
		if r.waits {
			at = known + r.interval
		} else {
			at = began + r.interval
		}
	}
	spans[len(spans)-1].to = until
	return spans, heard
}

// turn changes the state if the rule says so.
func (r counter) turn(spans []span, h *record, at time.Duration) []span {
	current := &spans[len(spans)-1]
	next := current.state
	switch {
	case current.state == api.Up && r.down(h):
		next = api.Down
	case current.state == api.Down && r.up(h):
		next = api.Up
	}
	if next == current.state {
		return spans
	}
	at = max(at, current.from)
	current.to = at
	return append(spans, span{state: next, from: at})
}

func (r counter) judge(t *Trace) [][]span {
	list := make([][]span, len(t.Sessions))
	for n, s := range t.Sessions {
		list[n], _ = r.run(s, 0, s.length())
	}
	return list
}

// otherLimit is how long after a death a rule is waited for.
const otherLimit = 5 * time.Minute

func (r counter) kill(t *Trace, n int, at time.Duration) (doubt, down time.Duration, ok bool) {
	before, _ := r.run(t.Sessions[n], 0, at)
	if before[len(before)-1].state != api.Up {
		return 0, 0, false
	}
	spans, heard := r.run(t.Sessions[n], at, at+otherLimit)
	return sinceHeard(spans, heard)
}

// bfd is RFC 5880 with a packet each 300 ms and a detection multiplier of 3 (section
// 6.8.4). That it sends more slowly while it is down (6.8.3) is left out.
type bfd struct{}

func (bfd) run(s Session, dead, until time.Duration) (spans []span, heard time.Duration) {
	const every, detect = 300 * time.Millisecond, 900 * time.Millisecond
	var arrivals []time.Duration
	for at := time.Duration(0); at < until; at += every {
		if rtt, ok := ping(s, at, dead); ok && at+rtt < until {
			arrivals = append(arrivals, at+rtt)
		}
	}
	slices.Sort(arrivals)
	spans = []span{{state: api.Up}}
	turn := func(to api.OperState, at time.Duration) {
		spans[len(spans)-1].to = at
		spans = append(spans, span{state: to, from: at})
	}
	for _, at := range append(arrivals, until) {
		if at-heard > detect {
			turn(api.Down, heard+detect)
			if at < until {
				turn(api.Up, at)
			}
		}
		if at < until {
			heard = at
		}
	}
	spans[len(spans)-1].to = until
	return spans, heard
}

func (r bfd) judge(t *Trace) [][]span {
	list := make([][]span, len(t.Sessions))
	for n, s := range t.Sessions {
		list[n], _ = r.run(s, 0, s.length())
	}
	return list
}

func (r bfd) kill(t *Trace, n int, at time.Duration) (doubt, down time.Duration, ok bool) {
	before, _ := r.run(t.Sessions[n], 0, at)
	if before[len(before)-1].state != api.Up {
		return 0, 0, false
	}
	spans, heard := r.run(t.Sessions[n], at, at+otherLimit)
	return sinceHeard(spans, heard)
}
