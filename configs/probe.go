package configs

import (
	"net/netip"
	"slices"
	"strings"
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
	p.mapping(v, map[string]func(value){
		"targets":    noted("targets", func(v value) { p.readTargets(v, to) }),
		"interval":   pace("interval", &to.Interval),
		"timeout":    pace("timeout", &to.Timeout),
		"confirm":    pace("confirm", &to.Confirm),
		"down_after": streak(&to.DownAfter),
		"up_after":   streak(&to.UpAfter),
		"quorum":     noted("quorum", func(v value) { p.readQuorum(v, to) }),
	})
}

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
		target := Target{Gateway: s == "gateway"}
		if !target.Gateway {
			if strings.Contains(s, ":") && !isIP(s) {
				p.fail(v, "%q: this version probes by ICMP: name gateway or an IP address", s)
				return
			}
			if target.IP, ok = p.address(v, s, "gateway or an IP address"); !ok {
				return
			}
		}
		if slices.Contains(targets, target) {
			p.fail(v, "%s: named twice: keep one", target)
		}
		targets = append(targets, target)
	})
	if n := len(targets); n > targetMost {
		p.fail(v, "%d targets: at most %d", n, targetMost)
	} else if n == 0 && len(p.problems) == 0 {
		p.fail(v, "empty: name gateway or an IP address")
	}
	to.Targets = targets
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// checkProbe looks at what a probe's keys are together. at has the places of
// those that were given here; what was inherited has been looked at before.
func (p *parser) checkProbe(probe Probe, at map[string]value) {
	if place, ok := firstOf(at, "timeout", "confirm", "interval"); ok {
		if most := inFlightMost * min(probe.Confirm, probe.Interval); probe.Timeout > most {
			p.fail(place, "timeout %s with a probe every %s: more than %d would wait for their answer: "+
				"lower timeout or raise confirm", probe.Timeout, min(probe.Confirm, probe.Interval), inFlightMost)
		}
	}
	targets := len(probe.Targets)
	if place, ok := firstOf(at, "quorum", "targets"); ok && probe.Quorum > targets && targets > 0 {
		p.fail(place, "quorum %d of %d targets: must be at most as many as there are targets",
			probe.Quorum, targets)
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
