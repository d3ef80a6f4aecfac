package probe

import (
	"fmt"
	"strconv"
	"strings"

	"uplinkd/internal/plain"
)

// Advice is what an agent says of how much is to be sent its way. Its zero value is nothing.
type Advice struct {
	Given   bool
	Percent int // of what it would get otherwise: 0 to 100
}

// String returns the advice as people say it, "" for none.
func (a Advice) String() string {
	switch {
	case !a.Given:
		return ""
	case a.Percent == 0:
		return "no new connections"
	}
	return fmt.Sprintf("%d %% of its weight", a.Percent)
}

// Drains reports whether no new connections are wanted.
func (a Advice) Drains() bool { return a.Given && a.Percent == 0 }

// adviceMost is how much of an agent's line is read, in bytes.
const adviceMost = 256

// parseAdvice reads an agent's line: a number of percent alone, or words as HAProxy's agent-check has them
// (HAProxy Configuration Manual, agent-check). An agent that is down is an error, and wants no
// new connections. Words that are not known, such as maxconn:30, say nothing here; a line
// without any that is known is no agent's.
func parseAdvice(line string) (Advice, error) {
	var a Advice
	known := false
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' || r == '\r' })
	for _, word := range words {
		state, why, _ := strings.Cut(strings.ToLower(word), "#")
		switch state {
		case "up", "ready":
			known = true
		case "drain", "maint":
			a, known = Advice{Given: true}, true
		case "down", "fail", "failed", "stopped":
			says := plain.Line(strings.TrimSuffix(state+", "+why, ", "), adviceMost)
			return Advice{Given: true}, fmt.Errorf("the agent says %s", says)
		default:
			digits, percent := strings.CutSuffix(state, "%")
			n, err := strconv.ParseUint(digits, 10, 16)
			if err != nil || !percent && len(words) > 1 {
				continue
			}
			known = true
			if !a.Given || int(n) < a.Percent {
				a = Advice{Given: true, Percent: int(min(n, 100))}
			}
		}
	}
	if !known {
		return Advice{}, fmt.Errorf("%q: no number or word of an agent", plain.Line(line, adviceMost))
	}
	return a, nil
}
