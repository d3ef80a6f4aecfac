package replay

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// epoch is when every replay begins. Any time does.
var epoch = time.Unix(1_700_000_000, 0)

// tick is how often the engine looks at the clock.
const tick = time.Second

// A Span is a time that an uplink was in a state.
type span struct {
	state    api.OperState
	from, to time.Duration
}

// A player plays one session to the prober and the decision of one uplink.
type player struct {
	session Session
	dead    time.Duration // from then on nothing comes back; 0: never

	state   uplink.State
	machine probe.Machine
	spec    *probe.Spec
	answers []pending // by when they come in
	now     time.Duration
	heard   time.Duration // when the last answer came in
	spans   []span
}

type pending struct {
	at     time.Duration
	answer probe.Answer
}

// newPlayer begins a session with what was learned before. The configuration has one
// uplink, whose address and gateway do not matter.
func newPlayer(c configs.Config, s Session, learned []probe.Character, start time.Time) *player {
	p := &player{session: s, state: uplink.New(c, start)}
	u := &c.Uplinks[0]
	have := routes.State{
		At:        start,
		Links:     []routes.Link{{Name: u.Interface, Index: 2, Up: true, Carrier: true, MAC: "02:00:00:00:00:01"}},
		Addresses: []routes.Address{{Interface: u.Interface, Prefix: u.Prefixes[0]}},
	}
	p.step(start, uplink.Observed{Applied: routes.Applied{State: have, Observed: []string{u.Interface}}})
	if p.spec != nil {
		p.spec.Learned = learned
		p.machine.Set(p.spec)
	}
	return p
}

// step takes an event in, and what is to be probed after it.
func (p *player) step(at time.Time, e uplink.Event) {
	p.state = uplink.Step(p.state, e, at)
	path := &p.state.Uplinks[0].Paths[uplink.IPv4]
	if path.Probe != nil && path.Probe != p.spec {
		first := p.spec == nil
		fresh := *path.Probe
		p.spec = &fresh
		if !first {
			p.machine.Set(p.spec)
		}
	}
	if n := len(p.spans); n == 0 || p.spans[n-1].state != path.OperState {
		p.spans = append(p.spans, span{state: path.OperState, from: p.now})
	}
}

// play plays until a time.
func (p *player) play(start time.Time, until time.Duration) {
	next, ticks := time.Duration(0), tick
	for p.now < until {
		at := min(next, ticks, until)
		if len(p.answers) > 0 {
			at = min(at, p.answers[0].at)
		}
		p.now = max(at, p.now)
		now := start.Add(p.now)
		for len(p.answers) > 0 && p.answers[0].at <= p.now {
			a := p.answers[0].answer
			p.answers = p.answers[1:]
			a.At = now
			p.heard = p.now
			p.machine.Receive(a)
		}
		next = p.machine.Turn(now, p.send).Sub(start)
		if change, ok := p.machine.News(now); ok {
			p.step(now, uplink.ProbeChanged{Interface: p.state.Uplinks[0].Config.Interface, Change: change})
			next = p.now // as the daemon's prober looks at once at what is to be probed now
		}
		if p.now >= ticks {
			ticks += tick
			p.step(now, uplink.Sampled{})
		}
		next = max(next, p.now+time.Microsecond)
	}
	if n := len(p.spans); n > 0 {
		for i := range p.spans[:n-1] {
			p.spans[i].to = p.spans[i+1].from
		}
		p.spans[n-1].to = p.now
	}
}

// send has a probe answered as the recording has it.
func (p *player) send(target int, seq uint16) error {
	rtt, ok := p.session.at(p.now)
	if !ok || p.dead > 0 && p.now+rtt >= p.dead {
		return nil
	}
	a := pending{p.now + rtt, probe.Answer{Target: target, Seq: seq, RTT: rtt}}
	i, _ := slices.BinarySearchFunc(p.answers, a.at, func(x pending, at time.Duration) int {
		if x.at <= at {
			return -1
		}
		return 1
	})
	p.answers = slices.Insert(p.answers, i, a)
	return nil
}

// learned returns what has been learned of each target.
func (p *player) learned(now time.Time) []probe.Character {
	var list []probe.Character
	for _, t := range p.machine.Statuses(now) {
		list = append(list, t.Learned)
	}
	return list
}

// Subject returns a configuration of one uplink that is probed as the named one of c is,
// "" for the first; or as the defaults say where c has none.
func Subject(c configs.Config, name string) (configs.Config, bool) {
	c.Policies, c.Hooks = nil, nil
	for _, u := range c.Uplinks {
		if name == "" || u.Name == name {
			u.Address, u.Prefixes = configs.AddressStatic, []netip.Prefix{netip.MustParsePrefix("192.0.2.5/24")}
			u.Gateway, u.GatewayIP = configs.GatewayFixed, netip.MustParseAddr("192.0.2.1")
			c.Uplinks = []configs.Uplink{u}
			return c, true
		}
	}
	return c, false
}
