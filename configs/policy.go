package configs

import (
	"maps"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

// A Policy says by which uplink new connections leave.
type Policy struct {
	Name     string
	Match             // all of it holds
	Not      Match    // nothing of it does
	When     []Period // one of them holds; none: always
	Via      []string // uplinks, the first that is up; none: by weight
	Sticky   StickyKind
	For      time.Duration // how long a source sticks
	WhenDown WhenDown      // none of Via is up
	SLA      SLA           // of Via only those that keep it
	Prefer   Prefer        // of these
}

// An SLA is the service level that an uplink must keep to be of use to a policy. What is zero may be anything.
type SLA struct {
	MaxRTT, MaxJitter time.Duration
	MaxLoss           int // percent
}

// Asks reports whether anything is asked.
func (s *SLA) Asks() bool { return *s != SLA{} }

// ReturnRTT is what the round trip must come back to of an uplink that has been beyond: in the same proportion as that
// of probes.
func (s *SLA) ReturnRTT() time.Duration { return s.MaxRTT * 4 / 5 }

// ReturnJitter is as ReturnRTT.
func (s *SLA) ReturnJitter() time.Duration { return s.MaxJitter * 4 / 5 }

// ReturnLoss is as ReturnRTT.
func (s *SLA) ReturnLoss() int { return s.MaxLoss / 3 }

// Prefer says which uplink of a policy's is taken first.
type Prefer uint8

// The orders.
const (
	PreferOrder Prefer = iota // as they are named
	PreferRTT                 // the shortest round trip
	PreferJitter
	PreferLoss
)

// StickyKind says what keeps connections that go by weight on one uplink.
type StickyKind uint8

// The kinds.
const (
	StickyNone StickyKind = iota
	StickySource
	StickySourceDestination
)

// WhenDown says what becomes of connections when no uplink of a policy is up.
type WhenDown uint8

// The ways.
const (
	WhenDownNext     WhenDown = iota // the next policy is asked
	WhenDownProhibit                 // they are refused
	WhenDownBalance                  // they go by weight
)

const (
	policyMost    = 200
	defaultSticky = 10 * time.Minute
)

var policyName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// A rawPolicy is a policy as it stands in the file, with the places of its keys.
type rawPolicy struct {
	Policy
	at     map[string]value
	self   value
	viaSet bool
}

func (p *parser) readPolicy(v value) {
	raw := rawPolicy{at: map[string]value{}, self: v}
	raw.For = defaultSticky
	keys := p.matchKeys(&raw.Match)
	maps.Copy(keys, map[string]func(value){
		"name":       func(v value) { p.readName(v, &raw.Name, policyName, "1 to 32 letters, digits, '-' or '_'") },
		"not":        func(v value) { p.readNot(v, &raw.Not) },
		"when":       func(v value) { p.readPeriods(v, &raw.When) },
		"via":        func(v value) { p.readVia(v, &raw) },
		"sticky":     func(v value) { setWord(p, v, &raw.Sticky, "none", "source", "source-destination") },
		"sticky_for": func(v value) { setDuration(p, v, &raw.For, time.Second, 24*time.Hour) },
		"when_down":  func(v value) { setWord(p, v, &raw.WhenDown, "next", "prohibit", "balance") },
		"sla":        func(v value) { p.readSLA(v, &raw.SLA) },
		"prefer":     func(v value) { setWord(p, v, &raw.Prefer, "order", "rtt", "jitter", "loss") },
	})
	for key, read := range keys {
		keys[key] = func(v value) { raw.at[key] = v; read(v) }
	}
	p.mapping(v, keys)
	p.checkPolicy(&raw)
	p.policies = append(p.policies, raw)
}

func (p *parser) checkPolicy(raw *rawPolicy) {
	for _, key := range []string{"name", "via"} {
		if _, ok := raw.at[key]; !ok {
			p.fail(value{node: raw.self.node, path: raw.self.path + "." + key}, "missing: %s", map[string]string{
				"name": "give it 1 to 32 letters, digits, '-' or '_'",
				"via":  "name an uplink, a list of them in order of preference, or balance",
			}[key])
		}
	}
	if slices.ContainsFunc(p.policies, func(other rawPolicy) bool { return other.Name == raw.Name && raw.Name != "" }) {
		p.fail(raw.at["name"], "%s: an earlier policy has it: give each its own", raw.Name)
	}
	if v, ok := raw.at["sticky"]; ok && raw.viaSet && len(raw.Via) > 0 && raw.Sticky != StickyNone {
		p.fail(v, "only with via: balance: an uplink that is named is kept to anyhow")
	}
	for _, key := range []string{"sla", "prefer"} {
		if v, ok := raw.at[key]; ok && raw.viaSet && len(raw.Via) == 0 {
			p.fail(v, "not with via: balance: name the uplinks among which is chosen")
		}
	}
	p.checkMatch(&raw.Match, raw.at)
}

func (p *parser) readSLA(v value, to *SLA) {
	p.mapping(v, map[string]func(value){
		"max_rtt":    func(v value) { setDuration(p, v, &to.MaxRTT, time.Millisecond, time.Minute) },
		"max_jitter": func(v value) { setDuration(p, v, &to.MaxJitter, time.Millisecond, time.Minute) },
		"max_loss":   func(v value) { setInteger(p, v, &to.MaxLoss, 1, 100) },
	})
}

// checkVia wants every uplink that a policy names to be there.
func (p *parser) checkVia() {
	known := func(name string) bool {
		return slices.ContainsFunc(p.uplinks, func(u rawUplink) bool { return u.Name == name })
	}
	for _, raw := range p.policies {
		for _, name := range raw.Via {
			if !known(name) {
				p.fail(raw.at["via"], "%s: no such uplink", name)
			}
		}
	}
}

func (p *parser) readVia(v value, raw *rawPolicy) {
	raw.viaSet = true
	p.scalars(v, func(v value, s string) {
		if s == "balance" && resolve(v.node).Kind == yaml.ScalarNode && v.path == raw.at["via"].path {
			return
		}
		if slices.Contains(raw.Via, s) {
			p.fail(v, "%s: named twice: keep one", s)
			return
		}
		raw.Via = append(raw.Via, s)
	})
}
