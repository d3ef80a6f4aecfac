package probe

import (
	"slices"
	"time"
)

// A Machine is a prober without sockets, goroutines or a clock: it decides when what is
// sent, and what follows from what comes back. It is a value of one goroutine's; time and
// answers come from outside, so that a recorded link can be replayed through it.
type Machine struct {
	current *Spec
	targets []target
	told    []Evidence
	connErr error // why nothing can be sent at all
	purse   purse
	paced   Pace // of current, after the budget
	figures map[Target]*Figures
}

// Set takes another Spec over; nil: nothing is probed. It reports whether the sockets
// of the old one serve no longer.
func (m *Machine) Set(spec *Spec) (reopen bool) {
	old := m.current
	m.current = spec
	if spec != nil && old != nil && old.Series == spec.Series {
		for i := range m.targets {
			if spec.Hurry&^old.Hurry&(1<<i) != 0 {
				m.targets[i].ask() // at once, so that it is known in time whose fault it is
			}
		}
		if old.sameSockets(spec) {
			return false
		}
		for i := range m.targets {
			m.targets[i].abandon()
		}
		return true
	}
	before := m.targets
	m.connErr = nil
	m.targets, m.told = nil, nil
	if spec == nil {
		return true
	}
	m.targets, m.told = make([]target, len(spec.Targets)), make([]Evidence, len(spec.Targets))
	for i, what := range spec.Targets {
		m.targets[i].what, m.targets[i].figures = what, m.figures[what]
		if i < len(spec.Learned) {
			m.targets[i].character = spec.Learned[i]
		}
		// Another series may prove the same target: what it is like stays known.
		for n := range before {
			if before[n].what == what {
				m.targets[i].character = before[n].character
			}
		}
	}
	// What was counted stays while the target does, also over a time in which nothing could be probed.
	m.figures = make(map[Target]*Figures, len(m.targets))
	for i := range m.targets {
		m.figures[m.targets[i].what] = m.targets[i].count()
	}
	return true
}

// Receive takes an answer in.
func (m *Machine) Receive(a Answer) {
	if m.current == nil || a.Target < 0 || a.Target >= len(m.targets) {
		return
	}
	t := &m.targets[a.Target]
	m.purse.spend(uint64(a.Bytes))
	t.accept(a, m.current.Pace)
	t.weigh(m.current.Limits, &t.rtt)
}

// Refuse takes in that no target can be reached, as who knows better than a probe does.
func (m *Machine) Refuse(now time.Time, reason string) {
	for i := range m.targets {
		m.targets[i].err = reason
		m.targets[i].refuse(now, m.current.Pace.DownAfter)
	}
}

// Wonder has all targets asked at once: what this host sends gets no answer.
func (m *Machine) Wonder() {
	for i := range m.targets {
		m.targets[i].wonder()
	}
}

// Excuse has nothing learned from a silence that begins before a time: it is made on purpose, and the link would
// pass for one that survives such.
func (m *Machine) Excuse(until time.Time) {
	for i := range m.targets {
		m.targets[i].excused = until
	}
}

// Turn counts what is overdue, sends what is due by send, all of it in one burst, and
// returns when to turn again.
func (m *Machine) Turn(now time.Time, send func(target int, seq uint16) error) time.Time {
	m.repace(now)
	m.expire(now)
	next := now.Add(time.Hour)
	for i := range m.targets {
		t := &m.targets[i]
		hurry := m.current.Hurry&(1<<i) != 0
		if !t.due(m.paced, hurry).After(now) {
			m.sendTo(i, t, now, send)
		}
		next = earliest(next, t.due(m.paced, hurry))
		next = earliest(next, t.turning(m.current.Pace, now))
	}
	return next
}

func (m *Machine) sendTo(i int, t *target, now time.Time, send func(int, uint16) error) {
	seq := t.begin(now, m.current.Pace)
	err := m.connErr
	if err == nil {
		err = send(i, seq)
	}
	switch {
	case err == nil:
		t.err = ""
	case scarce(err):
		t.withdraw(seq, lackOf(err))
		return
	default:
		t.err = err.Error()
	}
	if t.what.Kind == ICMP && m.connErr == nil {
		t.bytes += ipv4Header + echoSize // and as much again when it is answered
		m.purse.spend(ipv4Header + echoSize)
	}
}

// repace follows the budget.
func (m *Machine) repace(now time.Time) {
	if m.current == nil {
		m.paced = Pace{}
		return
	}
	m.purse.budget = m.current.Budget
	m.purse.fill(now)
	sends, bytes := uint64(0), uint64(0)
	for i := range m.targets {
		sends += m.targets[i].sends
		bytes += m.targets[i].bytes
	}
	cost := float64(probeCost)
	if sends > 0 {
		cost = max(cost/2, float64(bytes)/float64(sends))
	}
	m.paced = m.purse.pace(m.current.Pace, len(m.targets), cost)
}

// expire counts the probes whose time is up as missed, in the order they were sent.
func (m *Machine) expire(now time.Time) {
	for i := range m.targets {
		t := &m.targets[i]
		t.expire(m.current.Pace, now)
		if m.current.Void&(1<<i) != 0 {
			t.recent = history{}
		}
		t.weigh(m.current.Limits, &t.rtt)
	}
}

// News returns what is known of all targets, and whether any verdict, the doubt about
// it, or an agent's advice is another than when News last said so.
func (m *Machine) News(now time.Time) (Change, bool) {
	changed := false
	for i := range m.targets {
		t, told := &m.targets[i], &m.told[i]
		verdict, suspect, doubtful := t.verdict(), t.suspect(m.paced, now), t.doubtful(m.current.Pace, now)
		if verdict != told.Verdict || suspect != told.Suspect || doubtful != told.Doubtful || t.unsent != told.Unsent ||
			t.advice != told.Advice {
			changed = true
			*told = Evidence{
				Verdict: verdict, Suspect: suspect, Doubtful: doubtful, Reason: t.reason(&t.rtt), FirstMiss: t.since,
				Misses: t.misses, LastRTT: t.last, Err: m.errorOf(t), Unsent: t.unsent, Advice: t.advice,
			}
			if doubtful || t.silence {
				told.FirstMiss, told.Misses = t.wait.first, t.waiting()
			}
		}
	}
	if !changed {
		return Change{}, false
	}
	return Change{Series: m.current.Series, At: now, Targets: slices.Clone(m.told)}, true
}

// doubts reports whether there is doubt about any target, as News last said.
func (m *Machine) doubts() bool {
	return slices.ContainsFunc(m.told, func(e Evidence) bool { return e.Doubtful })
}

func (m *Machine) errorOf(t *target) string {
	if m.connErr != nil {
		return m.connErr.Error()
	}
	return t.err
}

// Statuses returns what is known of each target.
func (m *Machine) Statuses(now time.Time) []TargetStatus { return m.statuses(nil, now) }

// statuses adds what is known of each target to a list.
func (m *Machine) statuses(list []TargetStatus, now time.Time) []TargetStatus {
	for i := range m.targets {
		t := &m.targets[i]
		doubt, down := t.bounds(m.current.Pace, now)
		list = append(list, TargetStatus{
			Target: t.what.Name, Verdict: t.verdict(), Reason: t.reason(&t.rtt),
			RTT: t.rtt.smoothed, Jitter: t.rtt.jitter,
			Sent: t.sends, Received: t.receives, Bytes: t.bytes, Loss: t.history.loss(), Err: m.errorOf(t),
			LateAfter: doubt, DownAfter: down, Learned: t.character, Heard: t.wait.heard, Figures: t.count(),
		})
	}
	return list
}
