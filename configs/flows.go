package configs

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// OnDown says what becomes of an uplink's connections when it goes down, after
// the routes have changed.
type OnDown struct {
	Conntrack bool // its flows are forgotten, so that they begin anew elsewhere
	Sockets   bool // connections of this host that have its address are ended
	Again     bool // both once more a second later, for what slipped between
}

// OnReturn says what becomes of connections on worse tiers when a better one is
// back.
type OnReturn uint8

// The ways.
const (
	OnReturnKeep OnReturn = iota
	OnReturnMove
)

// A Hook is a program that is run on events.
type Hook struct {
	Run     []string      // the program's path, and its arguments
	On      []string      // of HookEvents
	Uplinks []string      // only of these; none: of all
	Timeout time.Duration // it is ended after
}

// HookEvents are what hooks may be run on.
var HookEvents = []string{"lease", "address", "up", "down", "doubtful", "switch", "dns", "prefix", "quota"}

const (
	hookMost           = 20
	argumentMost       = 50
	defaultHookTimeout = 10 * time.Second
)

func (p *parser) readOnDown(v value) {
	o := &p.whole.OnDown
	p.mapping(v, map[string]func(value){
		"conntrack": func(v value) { setFlag(p, v, &o.Conntrack) },
		"sockets":   func(v value) { setFlag(p, v, &o.Sockets) },
		"again":     func(v value) { setFlag(p, v, &o.Again) },
	})
}

func (p *parser) readHook(v value) {
	h := Hook{Timeout: defaultHookTimeout}
	seen := map[string]value{}
	words := func(key string, to *[]string) func(value) {
		return func(v value) {
			seen[key] = v
			p.scalars(v, func(_ value, s string) { *to = append(*to, s) })
		}
	}
	p.mapping(v, map[string]func(value){
		"run":     words("run", &h.Run),
		"on":      words("on", &h.On),
		"uplinks": words("uplinks", &h.Uplinks),
		"timeout": func(v value) { setDuration(p, v, &h.Timeout, 100*time.Millisecond, 10*time.Minute) },
	})
	at := func(key string) value {
		if place, ok := seen[key]; ok {
			return place
		}
		return value{node: v.node, path: v.path + "." + key}
	}
	if len(h.Run) == 0 || !filepath.IsAbs(h.Run[0]) || len(h.Run) > argumentMost {
		p.fail(at("run"), "must be the absolute path of a program, or a list of it and its arguments: no shell")
	}
	if len(h.On) == 0 {
		p.fail(at("on"), "missing: name one or more of %s", strings.Join(HookEvents, ", "))
	}
	for _, event := range h.On {
		if !slices.Contains(HookEvents, event) {
			p.fail(at("on"), "%q: must be one or more of %s", event, strings.Join(HookEvents, ", "))
		}
	}
	p.hooks = append(p.hooks, h)
	p.hooksAt = append(p.hooksAt, at("uplinks"))
	if len(p.hooks) > hookMost {
		p.fail(v, "more than %d hooks", hookMost)
	}
}

// checkHooks wants every uplink that a hook names to be there.
func (p *parser) checkHooks() {
	for i, h := range p.hooks {
		for _, name := range h.Uplinks {
			if !slices.ContainsFunc(p.uplinks, func(u rawUplink) bool { return u.Name == name }) {
				p.fail(p.hooksAt[i], "%s: no such uplink", name)
			}
		}
	}
}
