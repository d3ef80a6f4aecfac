package configs

import (
	"regexp"
	"slices"
	"time"
)

const (
	targetMost = 64
	// inFlightMost is how many probes to one target may wait for their answer.
	inFlightMost = 200
)

// While the file is read a quorum may be a word; fillIn turns it into a number.
const (
	quorumAny = -1
	quorumAll = -2
)

func (p *parser) readProbe(v value, to *Probe, at map[string]value) {
	streak := func(to *int) func(value) { return func(v value) { setInteger(p, v, to, 1, 100) } }
	noted := func(key string, read func(value)) func(value) {
		return func(v value) { at[key] = v; read(v) }
	}
	pace := func(key string, to *time.Duration) func(value) {
		return noted(key, func(v value) {
			if d, ok := p.duration(v, 10*time.Millisecond, time.Hour); ok {
				*to = d
			}
		})
	}
	limit := func(key string, to *time.Duration) func(value) {
		return noted(key, func(v value) { setDuration(p, v, to, 0, time.Minute) })
	}
	silence := func(key string, to *time.Duration) func(value) {
		return noted(key, func(v value) { setDuration(p, v, to, downWithinLeast, time.Minute) })
	}
	p.mapping(v, map[string]func(value){
		"targets":    noted("targets", func(v value) { p.readTargets(v, to) }),
		"interval":   pace("interval", &to.Interval),
		"timeout":    pace("timeout", &to.Timeout),
		"confirm":    pace("confirm", &to.Confirm),
		"down_after": streak(&to.DownAfter),
		"up_after":   streak(&to.UpAfter),
		"quorum":     noted("quorum", func(v value) { p.readQuorum(v, to) }),

		"rule":            noted("rule", func(v value) { setWord(p, v, &to.Rule, "learned", "fixed") }),
		"down_within":     silence("down_within", &to.DownWithin),
		"down_within_max": silence("down_within_max", &to.DownWithinMax),

		"max_loss":      noted("max_loss", func(v value) { setInteger(p, v, &to.MaxLoss, 0, 100) }),
		"return_loss":   noted("return_loss", func(v value) { setInteger(p, v, &to.ReturnLoss, 0, 100) }),
		"max_rtt":       limit("max_rtt", &to.MaxRTT),
		"return_rtt":    limit("return_rtt", &to.ReturnRTT),
		"max_jitter":    limit("max_jitter", &to.MaxJitter),
		"return_jitter": limit("return_jitter", &to.ReturnJitter),
		"expect":        func(v value) { p.readExpect(v, &to.Expect) },
		"exec_timeout":  pace("exec_timeout", &to.ExecTimeout),
		"passive":       func(v value) { setFlag(p, v, &to.Passive) },
		"budget":        func(v value) { p.readBytes(v, &to.Budget) },
		"hold_down":     noted("hold_down", func(v value) { setDuration(p, v, &to.HoldDown, 0, time.Hour) }),
		"hold_down_max": noted("hold_down_max", func(v value) { setDuration(p, v, &to.HoldDownMax, 0, 24*time.Hour) }),
		"flap_window":   func(v value) { setDuration(p, v, &to.FlapWindow, time.Second, 24*time.Hour) },
	})
}

// downWithinLeast is what three probes and a link that answers in no time take.
const downWithinLeast = 200 * time.Millisecond

// returnUnset is a return_loss that the file does not give.
const returnUnset = -1

// fillLimits gives values to come back to where the file has none: a third of
// the loss, four fifths of the times.
func (c *Probe) fillLimits() {
	if c.ReturnLoss == returnUnset {
		c.ReturnLoss = c.MaxLoss / 3
	}
	if c.ReturnRTT == 0 {
		c.ReturnRTT = c.MaxRTT * 4 / 5
	}
	if c.ReturnJitter == 0 {
		c.ReturnJitter = c.MaxJitter * 4 / 5
	}
}

func (p *parser) readExpect(v value, to *Expect) {
	p.mapping(v, map[string]func(value){
		"status": func(v value) { setInteger(p, v, &to.Status, 100, 599) },
		"body": func(v value) {
			s, ok := p.text(v)
			if ok && (s == "" || len(s) > bodyMost) {
				p.fail(v, "%q: must be 1 to %d bytes", s, bodyMost)
			}
			to.Body = s
		},
	})
}

// bodyMost bounds the text that an answer must have, in bytes.
const bodyMost = 1000

var bytesText = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(|k|M|G|T)B$`)

// readBytes reads an amount of data: 500MB, 2GB; units are powers of ten.
func (p *parser) readBytes(v value, to *uint64) {
	s, ok := p.text(v)
	if !ok {
		return
	}
	*to = 0
	if s == "0" {
		return
	}
	if n, ok := ParseBytes(s); ok && n >= budgetLeast {
		*to = n
		return
	}
	p.fail(v, "%q: must be bytes a month with their unit, such as 500MB, 100kB at least, or 0", s)
}

// budgetLeast buys a probe every half hour.
const budgetLeast = 100_000

func (p *parser) readQuorum(v value, to *Probe) {
	switch s, ok := p.text(v); {
	case !ok:
	case s == "any":
		to.Quorum = quorumAny
	case s == "all":
		to.Quorum = quorumAll
	case s == "" || s[0] < '0' || s[0] > '9':
		p.fail(v, "%q: must be any, all or a number of targets", s)
	default:
		setInteger(p, v, &to.Quorum, 1, targetMost)
	}
}

func (p *parser) readTargets(v value, to *Probe) {
	var targets []Target
	p.list(v, func(v value) {
		s, ok := p.text(v)
		if !ok {
			return
		}
		target, ok := p.target(v, s)
		if !ok {
			return
		}
		if slices.Contains(targets, target) {
			p.fail(v, "%s: named twice: keep one", target)
		}
		targets = append(targets, target)
	})
	if n := len(targets); n > targetMost {
		p.fail(v, "%d targets: at most %d", n, targetMost)
	} else if n == 0 && len(p.problems) == 0 {
		p.fail(v, "empty: name %s", targetForms)
	}
	to.Targets = targets
}

// checkProbe looks at what a probe's keys are together. at has the places of
// those that were given here; what was inherited has been looked at before.
func (p *parser) checkProbe(probe Probe, at map[string]value) {
	if place, ok := firstOf(at, "timeout", "confirm", "interval", "rule"); ok && probe.Rule == RuleFixed {
		if most := inFlightMost * min(probe.Confirm, probe.Interval); probe.Timeout > most {
			p.fail(place, "timeout %s with a probe every %s: more than %d would wait for their answer: "+
				"lower timeout or raise confirm", probe.Timeout, min(probe.Confirm, probe.Interval), inFlightMost)
		}
	}
	p.checkLimits(probe, at)
	targets := len(probe.Targets)
	if v, ok := at["targets"]; ok {
		targets = max(targets, len(v.node.Content)) // those that are wrong have been told
	}
	if place, ok := firstOf(at, "quorum", "targets"); ok && probe.Quorum > targets && targets > 0 {
		p.fail(place, "quorum %d of %d targets: must be at most as many as there are targets",
			probe.Quorum, targets)
	}
}

// checkLimits wants each limit to lie above what its value must come back to.
func (p *parser) checkLimits(probe Probe, at map[string]value) {
	for _, l := range []struct {
		limit, back string
		ok          bool
	}{
		{"max_loss", "return_loss", probe.MaxLoss == 0 || probe.ReturnLoss < probe.MaxLoss},
		{"max_rtt", "return_rtt", probe.MaxRTT == 0 || probe.ReturnRTT < probe.MaxRTT},
		{"max_jitter", "return_jitter", probe.MaxJitter == 0 || probe.ReturnJitter < probe.MaxJitter},
		{"hold_down_max", "hold_down", probe.HoldDown <= probe.HoldDownMax},
		{"down_within_max", "down_within", probe.DownWithin <= probe.DownWithinMax},
	} {
		if place, found := firstOf(at, l.back, l.limit); found && !l.ok {
			p.fail(place, "%s must lie below %s", l.back, l.limit)
		}
	}
}

func firstOf(at map[string]value, keys ...string) (value, bool) {
	for _, key := range keys {
		if v, ok := at[key]; ok {
			return v, true
		}
	}
	return value{}, false
}
