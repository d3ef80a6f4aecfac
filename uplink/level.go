package uplink

import (
	"fmt"
	"slices"
	"time"

	"uplinkd/configs"
)

// Quality is what probes have measured of a path, by the best of its targets.
type Quality struct {
	Known  bool
	RTT    time.Duration // smoothed
	Jitter time.Duration // mean deviation
	Loss   float64       // percent, of the last 100 probes
}

// qualityGain is how much of a new measurement counts beside those before, one a second: a single answer that is
// late is no jitter.
const qualityGain = 0.3

// smooth returns the quality with a new measurement taken in.
func (q Quality) smooth(now Quality) Quality {
	if !q.Known || !now.Known {
		return now
	}
	towards := func(was, now time.Duration) time.Duration { return was + time.Duration(qualityGain*float64(now-was)) }
	return Quality{Known: true, RTT: towards(q.RTT, now.RTT), Jitter: towards(q.Jitter, now.Jitter), Loss: now.Loss}
}

// levelReturn is how long a path must be back within what a service level asks, all the time, before it is of
// use again: what goes up and down is not.
const levelReturn = 10 * time.Second

// A level is which bounds of a policy's service level a path is beyond. It is a threshold with hysteresis, as the
// judge's of probes: reached at the bound, left at what is to come back to.
type level struct {
	slow, unsteady, lossy bool
	passed                bool      // it is of no use
	goodSince             time.Time // it has been found within what it is to come back to all the time since then
}

func (l level) broken() bool { return l.passed }

// next returns the level after a measurement. One that is not known is not good.
func (l level) next(s *configs.SLA, q Quality, now time.Time) level {
	if !q.Known {
		l.goodSince = time.Time{}
		return l
	}
	beyond := func(was bool, value, most, back float64) bool {
		if most == 0 {
			return false
		}
		return value >= most || was && value > back
	}
	was := l
	l.slow = beyond(was.slow, q.RTT.Seconds(), s.MaxRTT.Seconds(), s.ReturnRTT().Seconds())
	l.unsteady = beyond(was.unsteady, q.Jitter.Seconds(), s.MaxJitter.Seconds(), s.ReturnJitter().Seconds())
	l.lossy = beyond(was.lossy, q.Loss, float64(s.MaxLoss), float64(s.ReturnLoss()))
	switch {
	case l.slow || l.unsteady || l.lossy:
		l.passed, l.goodSince = true, time.Time{}
	case l.passed && l.goodSince.IsZero():
		l.goodSince = now
	case l.passed && now.Sub(l.goodSince) >= levelReturn:
		l.passed, l.goodSince = false, time.Time{}
	}
	return l
}

// text says what is beyond, and where it must be.
func (l level) text(s *configs.SLA, q Quality) string {
	switch {
	case !q.Known || l.goodSince.IsZero() && !l.lossy && !l.slow && !l.unsteady:
		return "was beyond what it must keep, and is not measured now"
	case l.lossy && q.Loss >= float64(s.MaxLoss):
		return fmt.Sprintf("loss %.0f%%, must be less than %d%%", q.Loss, s.MaxLoss)
	case l.lossy:
		return fmt.Sprintf("loss %.1f%%, must come back to %d%%", q.Loss, s.ReturnLoss())
	case l.slow:
		return "round trip " + outOf(q.RTT, s.MaxRTT, s.ReturnRTT())
	case l.unsteady:
		return "jitter " + outOf(q.Jitter, s.MaxJitter, s.ReturnJitter())
	}
	return "was beyond what it must keep until " + l.goodSince.Format(time.TimeOnly)
}

// outOf says a time that is not what it must be: beyond the most, or not yet back.
func outOf(is, most, back time.Duration) string {
	must := fmt.Sprintf("must be less than %s", most)
	if is < most {
		must = fmt.Sprintf("must come back to %s", back)
	}
	return fmt.Sprintf("%s, %s", is.Round(100*time.Microsecond), must)
}

// decideLevels brings the levels of all paths up to date with what was measured last.
func (s *State) decideLevels(now time.Time) {
	if !slices.ContainsFunc(s.Config.Policies, func(p configs.Policy) bool { return p.SLA.Asks() }) {
		return
	}
	for _, p := range s.paths() {
		p.decideLevels(s.Config.Policies, now)
	}
}

func (p *Path) decideLevels(policies []configs.Policy, now time.Time) {
	own := false
	for i := range policies {
		if !policies[i].SLA.Asks() {
			continue
		}
		was := p.level(i)
		is := was.next(&policies[i].SLA, p.Quality, now)
		if is == was {
			continue
		}
		if !own { // states share what is there
			before := p.levels
			p.levels, own = make([]level, len(policies)), true
			copy(p.levels, before)
		}
		p.levels[i] = is
	}
}

// carryLevels keeps what is known of the paths under new policies: of those that ask the same as before under their
// name.
func (u *Uplink) carryLevels(before, after []configs.Policy) {
	for f := range families {
		p := &u.Paths[f]
		if len(p.levels) == 0 {
			continue
		}
		levels := make([]level, len(after))
		for i := range after {
			same := func(old configs.Policy) bool { return old.Name == after[i].Name && old.SLA == after[i].SLA }
			if n := slices.IndexFunc(before, same); n >= 0 {
				levels[i] = p.level(n)
			}
		}
		p.levels = levels
	}
}

// level returns how a path keeps the service level of the i-th policy.
func (p *Path) level(i int) level {
	if i < len(p.levels) {
		return p.levels[i]
	}
	return level{}
}
