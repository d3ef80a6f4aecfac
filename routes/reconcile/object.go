package reconcile

import (
	"slices"
	"time"

	"uplinkd/routes"
)

const (
	retryFirst = 50 * time.Millisecond // pause after the first failure, or in a fight; doubles
	retryMost  = 10 * time.Second

	// defaultMost is the longest pause of the shared default route: without it no
	// new connection leaves this host.
	defaultMost = time.Second
)

// A status is how one object stands that has been refused or put back lately.
type status struct {
	effect   string    // of the last operation
	err      error     // of that; nil: it was carried out
	failures int       // in a row
	nextTry  time.Time // before then it is left as it is
	attack
}

// objects knows what is wanted of each object, and the status of those that have
// been refused or put back lately. It grows with what is ours, and for a minute with what others
// put under our tag.
type objects struct {
	generation uint64
	effects    map[routes.Key]string // of what is wanted, by now
	carried    map[routes.Key]string // of what was wanted when a pass was last made; nil: none was
	pruned     bool                  // what carried does not name was to go
	prune      bool                  // what effects does not name is to go
	shared     map[routes.Key]bool   // the default route all uplinks share
	statuses   map[routes.Key]*status
	failures   int // reads in a row
}

func newObjects() objects { return objects{statuses: map[routes.Key]*status{}} }

// want takes a Set over, once.
func (o *objects) want(w wanted) {
	o.failures = 0
	if w.generation == o.generation {
		return
	}
	o.generation, o.effects, o.prune = w.generation, effectsOf(w.set), w.set.Prune
	o.shared = map[routes.Key]bool{}
	for _, r := range w.set.Default {
		o.shared[r.Key()] = true
	}
	// What was refused may not be now: something else is wanted beside it.
	for _, s := range o.statuses {
		if s.err != nil {
			s.nextTry = time.Time{}
		}
	}
}

// effectsOf returns what each object of a Set is to be.
func effectsOf(set routes.Set) map[routes.Key]string {
	effects := make(map[routes.Key]string, len(set.Settings)+len(set.Rules)+len(set.Tables)+len(set.Addresses)+2)
	add := func(op routes.Op) { effects[routes.KeyOf(op)] = routes.EffectOf(op) }
	for _, name := range set.Links {
		add(routes.SetLinkUp{Interface: name})
	}
	for _, s := range set.Settings {
		add(routes.WriteSetting{Setting: s})
	}
	for _, a := range set.Addresses {
		add(routes.PutAddress{Address: a})
	}
	for _, r := range set.Routes() {
		add(routes.AddRoute{Route: r})
	}
	for _, r := range set.Rules {
		add(routes.AddRule{Rule: r})
	}
	for _, e := range set.Endpoints {
		add(routes.PutEndpoint{Endpoint: e})
	}
	if set.Firewall != nil {
		add(routes.PutFirewall{Firewall: *set.Firewall})
	}
	return effects
}

// readFailed counts a read that failed, and returns the pause after it: the default route
// waits for the next one (it waited 10 s; found by TestPromises).
func (o *objects) readFailed() time.Duration {
	o.failures++
	return backoff(o.failures-1, defaultMost)
}

// asBefore reports whether an operation leads to what was wanted of its object when
// the last pass was made. It is then a repair, or another try.
func (o *objects) asBefore(op routes.Op) bool {
	was, wanted := o.carried[routes.KeyOf(op)]
	if routes.EffectOf(op) == "" {
		return o.pruned && !wanted
	}
	return wanted && was == routes.EffectOf(op)
}

// most returns the longest pause of an object.
func (o *objects) most(key routes.Key) time.Duration {
	if o.shared[key] {
		return defaultMost
	}
	return retryMost
}

// A pass is one walk through a plan.
type pass struct {
	*objects
	now     time.Time
	have    routes.State
	pending []routes.Pending    // what is not carried out
	keys    map[routes.Key]bool // of pending
	touched map[string]bool     // interfaces on which something has been done
}

func (o *objects) begin(have routes.State, now time.Time) *pass {
	return &pass{objects: o, now: now, have: have, keys: map[routes.Key]bool{}, touched: map[string]bool{}}
}

// mustWait reports whether an operation is not to be carried out in this pass, and
// why.
func (p *pass) mustWait(op routes.Op) (routes.Pending, bool) {
	if slices.ContainsFunc(p.pending, func(other routes.Pending) bool { return p.depends(op, other.Op) }) {
		return p.wait(routes.Pending{Op: op}), true
	}
	s := p.statuses[routes.KeyOf(op)]
	if s == nil {
		return routes.Pending{}, false
	}
	if s.effect != routes.EffectOf(op) || s.err == nil && !p.asBefore(op) {
		*s = status{attack: s.attack} // a changed object starts over
		return routes.Pending{}, false
	}
	switch {
	case s.err != nil && !p.isTouched(op):
	case s.err == nil && s.fight && p.restores(op) && !s.isOver(p.now):
		s.nextTry = s.pause(p.most(routes.KeyOf(op)))
	default:
		return routes.Pending{}, false
	}
	if !p.now.Before(s.nextTry) {
		return routes.Pending{}, false
	}
	return p.wait(routes.Pending{Op: op, Err: s.err, NextTry: s.nextTry, By: s.by}), true
}

func (p *pass) wait(pending routes.Pending) routes.Pending {
	p.pending = append(p.pending, pending)
	p.keys[routes.KeyOf(pending.Op)] = true
	return pending
}

// isTouched reports whether something that the operation rests on has been changed
// in this pass: then it need not wait for another try.
func (p *pass) isTouched(op routes.Op) bool {
	return slices.ContainsFunc(routes.Interfaces(op), func(name string) bool { return p.touched[name] })
}

// restores reports whether an operation puts something back. Bringing an address
// that is there up to its lease's end does not: that is due as time goes by.
func (p *pass) restores(op routes.Op) bool {
	put, ok := op.(routes.PutAddress)
	return !ok || !p.have.HasAddress(put.Address.Interface, put.Address.Prefix)
}

// done notes that an operation has been carried out, and reports whether that was a
// repair of what others had changed, who are by; "": that is not known.
func (p *pass) done(op routes.Op, by func(routes.Key) string) (repair bool, who string) {
	key := routes.KeyOf(op)
	for _, name := range routes.Interfaces(op) {
		p.touched[name] = true
	}
	s := p.statuses[key]
	repair = p.asBefore(op) && p.restores(op) && (s == nil || s.err == nil)
	if s != nil {
		s.effect, s.err, s.failures, s.nextTry = routes.EffectOf(op), nil, 0, time.Time{}
	}
	if !repair {
		return false, ""
	}
	if s == nil || s.isOver(p.now) {
		s = &status{effect: routes.EffectOf(op)}
		p.statuses[key] = s
	}
	s.repaired(p.now, by(key))
	return true, s.by
}

// named notes who made the last repair of an object necessary, which was not known when it was made.
func (o *objects) named(key routes.Key, by string) {
	if s := o.statuses[key]; s != nil && by != "" {
		s.by = by
	}
}

// failed notes that the kernel has refused an operation.
func (p *pass) failed(op routes.Op, err error) routes.Pending {
	key := routes.KeyOf(op)
	s := p.statuses[key]
	if s == nil {
		s = &status{}
		p.statuses[key] = s
	}
	s.effect, s.err = routes.EffectOf(op), err
	s.nextTry = p.now.Add(backoff(s.failures, p.most(key)))
	s.failures++
	return p.wait(routes.Pending{Op: op, Err: err, NextTry: s.nextTry})
}

// end closes the pass, and returns when to look again: when something that waits is due,
// and when a fight may be over. What waits with something else has no time of its own.
func (p *pass) end() time.Duration {
	p.carried, p.pruned = p.effects, p.prune
	next := resyncEvery
	for _, pending := range p.pending {
		if !pending.NextTry.IsZero() {
			next = min(next, pending.NextTry.Sub(p.now))
		}
	}
	for key, s := range p.statuses {
		switch {
		case p.keys[key]:
			if s.isOver(p.now) {
				s.attack = attack{} // others leave it alone; the kernel, or what it rests on, is another matter
			}
		case s.isOver(p.now):
			delete(p.statuses, key) // all is well, and has been
		default:
			s.err, s.failures, s.nextTry = nil, 0, time.Time{}
			if s.fight {
				next = min(next, s.times[0].Add(fightWithin+time.Millisecond).Sub(p.now))
			}
		}
	}
	return max(next, time.Millisecond)
}

// depends reports whether an operation must wait because another one of the plan
// does: a deletion for what is to take its place, a route and an address for what
// they stand on. A route with several ways stands on none of them alone.
func (p *pass) depends(op, pending routes.Op) bool {
	if routes.EffectOf(op) == "" {
		return shields(pending, op)
	}
	on := routes.Interfaces(op)
	if len(on) != 1 || !slices.Equal(on, routes.Interfaces(pending)) {
		return false
	}
	switch pending := pending.(type) {
	case routes.SetLinkUp:
		return routes.KeyOf(op).Kind != routes.KindLink
	case routes.PutAddress:
		return p.needs(op, pending.Address)
	}
	return false
}

// needs reports whether a route's gateway can be reached by a pending address alone.
// Another address of the interface is no reason to wait, and the kernel says no to what
// it cannot take.
func (p *pass) needs(op routes.Op, pending routes.Address) bool {
	var route routes.Route
	switch op := op.(type) {
	case routes.AddRoute:
		route = op.Route
	case routes.ReplaceRoute:
		route = op.Route
	}
	return slices.ContainsFunc(route.NextHops, func(h routes.NextHop) bool {
		return h.Gateway.IsValid() && pending.Prefix.Masked().Contains(h.Gateway) &&
			!slices.ContainsFunc(p.have.Addresses, func(a routes.Address) bool {
				return a.Interface == h.Interface && a.Prefix.Masked().Contains(h.Gateway)
			})
	})
}

// shields reports whether a deletion must wait for an operation that was to replace
// what it deletes.
func shields(pending, deletion routes.Op) bool {
	if routes.EffectOf(pending) == "" {
		return false
	}
	switch d := deletion.(type) {
	case routes.DeleteRule:
		return routes.KeyOf(pending).Kind == routes.KindRule
	case routes.DeleteAddress, routes.DeleteRoute:
		return slices.ContainsFunc(routes.Interfaces(d), func(name string) bool {
			return slices.Contains(routes.Interfaces(pending), name)
		})
	}
	return false
}

func backoff(n int, most time.Duration) time.Duration {
	if n > 10 {
		return most
	}
	return min(retryFirst<<n, most)
}
