package engine

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"uplinkd/internal/latest"
	"uplinkd/routes/flows"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// Meters are what asks the kernel. Each blocks for as long as the kernel takes to
// answer, and returns an error when that is longer than ctx lasts. nil: that cannot
// be measured here.
type Meters struct {
	// Connections counts TCP sockets of this host by their own address, Flows those
	// that connection tracking translates to it.
	Connections func(context.Context, []netip.Addr) (map[netip.Addr]int, error)
	Flows       func(context.Context, []netip.Addr) (map[netip.Addr]int, error)
	// Sockets counts connections by their own address, those that came from outside too.
	Sockets func(context.Context, []netip.Addr) (map[netip.Addr]int, error)
	// Stalled says whether connections of an address get no answer.
	Stalled func(context.Context, []netip.Addr) (map[netip.Addr]bool, error)
	// Counters are those of policies, by name.
	Counters func(ctx context.Context, table string) (map[string]flows.Counter, error)
}

// A meter measures what uplinks carry but for their traffic, each kind of figure by a gauge of its own. A
// kernel that does not answer one holds up neither the others nor the engine, which
// reads the last readings.
type meter struct {
	connections *gauge[map[netip.Addr]int]
	flows       *gauge[map[netip.Addr]int]
	stalled     *gauge[map[netip.Addr]bool]
	counters    *gauge[map[string]flows.Counter]
	stirred     latest.Wake  // other connections than before get no answer
	shown       atomic.Int64 // when somebody last looked at what is only shown, in Unix nanoseconds

	// Owned by the engine's loop.
	asked uplink.Meter
}

// How often is measured: what somebody goes by each tick, what is only shown less often,
// and seldom while nobody looks. Reading the flows takes long where there are many.
const (
	shownEvery  = 2 * tick
	unseenEvery = 5 * tick // so old may be what is shown to who has not looked before
	flowsEvery  = 5 * tick

	// shownFor is how long somebody who has looked is taken to look again.
	shownFor = 10 * tick
)

func newMeter(m Meters, log *slog.Logger) *meter {
	addresses := func(w uplink.Meter) []netip.Addr {
		list := make([]netip.Addr, len(w.Addresses))
		for i, a := range w.Addresses {
			list[i] = a.Address
		}
		return list
	}
	when := func(needed bool, every time.Duration) time.Duration {
		if !needed {
			return 0
		}
		return every
	}
	stirred := latest.NewWake()
	made := &meter{
		stirred: stirred,
		flows: newGauge("flows", log,
			func(w uplink.Meter) time.Duration { return when(w.Connections && m.Flows != nil, flowsEvery) },
			func(ctx context.Context, w uplink.Meter) (map[netip.Addr]int, error) {
				return m.Flows(ctx, addresses(w))
			}),
		stalled: newGauge("stalled connections", log,
			func(w uplink.Meter) time.Duration { return when(w.Stalled && m.Stalled != nil, tick) },
			func(ctx context.Context, w uplink.Meter) (map[netip.Addr]bool, error) {
				return m.Stalled(ctx, addresses(w))
			}),
		counters: newGauge("policy counters", log,
			func(w uplink.Meter) time.Duration { return when(w.Table != "" && m.Counters != nil, tick) },
			func(ctx context.Context, w uplink.Meter) (map[string]flows.Counter, error) {
				return m.Counters(ctx, w.Table)
			}),
	}
	made.connections = newGauge("connections", log,
		func(w uplink.Meter) time.Duration { return when(m.Connections != nil, made.connectionsEvery(w)) },
		func(ctx context.Context, w uplink.Meter) (map[netip.Addr]int, error) {
			return m.Connections(ctx, addresses(w))
		})
	made.stalled.heard = func(before, now map[netip.Addr]bool) {
		if !maps.Equal(before, now) {
			stirred.Set()
		}
	}
	return made
}

// connectionsEvery returns how often connections are counted.
func (m *meter) connectionsEvery(w uplink.Meter) time.Duration {
	switch {
	case w.Connections:
		return tick
	case m.isShown():
		return shownEvery
	default:
		return unseenEvery
	}
}

// isShown reports whether somebody looks at what is only shown.
func (m *meter) isShown() bool { return time.Since(time.Unix(0, m.shown.Load())) < shownFor }

// show says that somebody looks. It does not block, and may be called from any goroutine.
func (m *meter) show() {
	was := m.isShown()
	m.shown.Store(time.Now().UnixNano())
	if !was {
		m.connections.wake.Set()
	}
}

// set says what to measure from now on. It does not block.
func (m *meter) set(w uplink.Meter) {
	m.asked = w
	m.connections.set(w)
	m.flows.set(w)
	m.stalled.set(w)
	m.counters.set(w)
}

// endLimit is how long the gauges are waited for at the end: a kernel that does not
// answer must not keep the daemon from ending, and they hold nothing.
const endLimit = time.Second

// run measures until ctx ends, and returns when all gauges have ended, or the kernel
// still owes one an answer after endLimit.
func (m *meter) run(ctx context.Context) error {
	var gauges sync.WaitGroup
	for _, run := range []func(context.Context){
		m.connections.run, m.flows.run, m.stalled.run, m.counters.run,
	} {
		gauges.Go(func() { run(ctx) })
	}
	ended := make(chan struct{})
	go func() { gauges.Wait(); close(ended) }()
	<-ctx.Done()
	select {
	case <-ended:
	case <-time.After(endLimit):
	}
	return nil
}

// connectionsOf returns how many connections have an address: sockets of this host,
// or flows that are translated to it, whichever are more.
func (m *meter) connectionsOf(a netip.Addr) api.Figure[int] {
	sockets := m.connections.last()
	n, ok := sockets.value[a]
	if sockets.err != nil || !ok {
		return api.Figure[int]{}
	}
	if !m.asked.Connections || !m.flows.inUse() {
		return api.Known(n)
	}
	translated := m.flows.last()
	t, ok := translated.value[a]
	if translated.err != nil || !ok {
		return api.Figure[int]{}
	}
	return api.Known(max(n, t))
}

// connectionsBy returns how many connections each uplink has, by interface.
func (m *meter) connectionsBy() map[string]api.Figure[int] {
	sums := make(map[string]api.Figure[int], len(m.asked.Addresses))
	for _, a := range m.asked.Addresses {
		sum, ok := sums[a.Interface]
		if !ok {
			sum = api.Known(0)
		}
		sums[a.Interface] = sum.Plus(m.connectionsOf(a.Address))
	}
	return sums
}

// samples returns what was measured of each uplink.
func (e *Engine) samples() map[string]uplink.Sample {
	e.traffic = e.trafficNow()
	e.connections = e.meter.connectionsBy()
	e.counted = counted{e.meter.connections.last().began, e.meter.flows.last().began}
	samples := make(map[string]uplink.Sample, len(e.state.Uplinks))
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		name := u.Config.Interface
		s := uplink.Sample{Connections: e.connections[name]}
		if t := e.traffic[name]; t.rated {
			s.RxBPS, s.TxBPS = api.Known(t.rx), api.Known(t.tx)
		}
		samples[name] = s
	}
	if e.wanted.Meter.Stalled {
		stalled := e.meter.stalled.last().value
		for _, a := range e.wanted.Meter.Addresses {
			s := samples[a.Interface]
			s.Stalled = s.Stalled || stalled[a.Address]
			samples[a.Interface] = s
		}
	}
	e.addQuality(samples)
	e.addOctets(samples)
	return samples
}

// errNotRead is the error of a gauge that has not read anything yet.
var errNotRead = errors.New("not measured yet")
