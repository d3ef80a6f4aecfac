package replay

import (
	"math/rand/v2"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/uplink/api"
)

const (
	// wrongWithin is how soon after a verdict an answer shows that it was wrong.
	wrongWithin = 5 * time.Second

	// Kills is how often the link is cut at a random point.
	Kills = 100

	// betweenSessions is taken to lie between two sessions of a recording.
	betweenSessions = time.Second
)

// A Measure is what a rule makes of a recorded link.
type Measure struct {
	File              string    `json:"file"`
	Rule              string    `json:"rule"`
	Hours             float64   `json:"hours"`
	DownsPerHour      float64   `json:"downs_per_hour"`
	WrongDownsPerHour float64   `json:"wrong_downs_per_hour"` // an answer came back within 5 s
	DoubtfulPercent   float64   `json:"doubtful_percent"`     // of the time
	DownPercent       float64   `json:"down_percent"`
	Doubt             Quantiles `json:"doubt_ms"` // from the last answer to doubt, when the link dies
	Down              Quantiles `json:"down_ms"`
}

// Quantiles are of times, in milliseconds; -1: it never came to that.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
}

// A rule is how the links of a trace are judged: each session in turn, and then with
// deaths.
type rule interface {
	// judge returns the states of each session.
	judge(t *Trace) [][]span
	// kill cuts session n at a time, and returns how long after the last answer there
	// was doubt, and down. It reports false where the link was not up then.
	kill(t *Trace, n int, at time.Duration) (doubt, down time.Duration, ok bool)
}

// Run measures a trace under a configuration of one uplink (Subject).
func Run(c configs.Config, t *Trace) Measure {
	name := "learned"
	if c.Uplinks[0].Probe.Rule == configs.RuleFixed {
		name = "fixed"
	}
	return measure(&ours{config: c}, name, t)
}

func measure(r rule, name string, t *Trace) Measure {
	m := Measure{File: t.Name, Rule: name, Hours: t.Hours()}
	var downs, wrong int
	var doubtful, down time.Duration
	for n, spans := range r.judge(t) {
		s := t.Sessions[n]
		for i, x := range spans {
			switch x.state {
			case api.Doubtful:
				doubtful += x.to - x.from
			case api.Down:
				down += x.to - x.from
				if i > 0 && spans[i-1].state != api.Starting {
					downs++
					if s.answeredWithin(x.from, x.from+wrongWithin) {
						wrong++
					}
				}
			case api.Up, api.Starting, api.Drained, api.Disabled:
			}
		}
	}
	whole := m.Hours * float64(time.Hour)
	m.DownsPerHour, m.WrongDownsPerHour = float64(downs)/m.Hours, float64(wrong)/m.Hours
	m.DoubtfulPercent, m.DownPercent = 100*float64(doubtful)/whole, 100*float64(down)/whole
	m.Doubt, m.Down = deaths(r, t)
	return m
}

// answeredWithin reports whether an answer came in between two times.
func (s Session) answeredWithin(from, to time.Duration) bool {
	return slices.ContainsFunc(s, func(x Sample) bool { return !x.Lost && x.At+x.RTT > from && x.At+x.RTT <= to })
}

// deaths cuts the link at random points, which are the same for every rule.
func deaths(r rule, t *Trace) (doubt, down Quantiles) {
	random := rand.New(rand.NewPCG(1, 2))
	var doubts, downs []time.Duration
	for tries := 0; len(doubts) < Kills && tries < 20*Kills; tries++ {
		n, at := t.point(time.Duration(random.Float64() * t.Hours() * float64(time.Hour)))
		if d, w, ok := r.kill(t, n, at); ok {
			doubts, downs = append(doubts, d), append(downs, w)
		}
	}
	return quantiles(doubts), quantiles(downs)
}

// point returns the session, and the time in it, of a time in all sessions.
func (t *Trace) point(at time.Duration) (n int, in time.Duration) {
	for n, s := range t.Sessions {
		if at < s.length() {
			return n, at
		}
		at -= s.length()
	}
	last := len(t.Sessions) - 1
	return last, t.Sessions[last].length()
}

func quantiles(list []time.Duration) Quantiles {
	if len(list) == 0 {
		return Quantiles{-1, -1, -1}
	}
	slices.Sort(list)
	at := func(q float64) float64 {
		return float64(list[int(q*float64(len(list)-1)+0.5)]) / float64(time.Millisecond)
	}
	return Quantiles{at(0.5), at(0.95), at(1)}
}

// ours is the daemon's own rule.
type ours struct {
	config  configs.Config
	learned [][]probe.Character // before each session, once it has been judged
}

// begin returns when a session begins.
func begin(t *Trace, n int) time.Time {
	at := epoch
	for _, s := range t.Sessions[:n] {
		at = at.Add(s.length() + betweenSessions)
	}
	return at
}

func (r *ours) judge(t *Trace) [][]span {
	list := make([][]span, len(t.Sessions))
	r.learned = make([][]probe.Character, len(t.Sessions)+1)
	for n, s := range t.Sessions {
		start := begin(t, n)
		p := newPlayer(r.config, s, r.learned[n], start)
		p.play(start, s.length())
		list[n], r.learned[n+1] = p.spans, p.learned(start.Add(s.length()))
	}
	return list
}

func (r *ours) kill(t *Trace, n int, at time.Duration) (doubt, down time.Duration, ok bool) {
	start := begin(t, n)
	p := newPlayer(r.config, t.Sessions[n], r.learned[n], start)
	p.dead = at
	p.play(start, at)
	if state := p.spans[len(p.spans)-1].state; state != api.Up && state != api.Doubtful {
		return 0, 0, false
	}
	until := at + r.config.Uplinks[0].Probe.DownWithinMax + time.Minute
	for p.now < until && p.spans[len(p.spans)-1].state != api.Down {
		p.play(start, min(p.now+time.Second, until))
	}
	return sinceHeard(p.spans, p.heard)
}

// sinceHeard returns how long after the last answer the last states began.
func sinceHeard(spans []span, heard time.Duration) (doubt, down time.Duration, ok bool) {
	last := len(spans) - 1
	if last < 1 || spans[last].state != api.Down {
		return 0, 0, false
	}
	first := last
	for first > 0 && spans[first-1].state == api.Doubtful {
		first--
	}
	return max(spans[first].from-heard, 0), spans[last].from - heard, true
}
