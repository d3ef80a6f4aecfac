package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/internal/bubble"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/routes/flows"
	"uplinkd/routes/routestest"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/engine"
)

// A house is an engine in a bubble: a kernel in memory, gateways that answer or
// do not, and no DHCP server.
type house struct {
	links   func(index int, carrier bool) (flows.Link, error) // nil: nobody tells
	t       *testing.T
	engine  *engine.Engine
	fake    *routestest.Fake
	log     *lockedBuffer
	notes   *notes
	cancel  context.CancelFunc
	done    chan error
	mu      sync.Mutex      // guards what follows
	silent  map[string]bool // by interface, or by interface and target: eth1/0
	samples map[string]int  // connections, by address
	meter   error           // why they cannot be counted
	hung    time.Duration   // how long the next count takes
	saving  time.Duration   // how long the disk takes
	saveErr error
	closing time.Duration // how long a Conn takes to close
	saved   map[string]api.Order
	cuts    []uplink.Disconnect
	learned engine.Learned
	cutWith []string // what carried at the time
	asleep  time.Duration
	watcher func()
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// notes is a service manager that remembers.
type notes struct {
	mu    sync.Mutex
	ready int
	line  string
	alive int
}

func (n *notes) Ready()             { n.mu.Lock(); defer n.mu.Unlock(); n.ready++ }
func (n *notes) Status(line string) { n.mu.Lock(); defer n.mu.Unlock(); n.line = line }
func (n *notes) Alive()             { n.mu.Lock(); defer n.mu.Unlock(); n.alive++ }

// An air is a probe.Conn whose target answers after a millisecond unless silent.
type air struct {
	house   *house
	iface   string
	answers chan probe.Answer
	closed  chan struct{}
}

func (a *air) Send(target int, seq uint16) error {
	a.house.mu.Lock()
	defer a.house.mu.Unlock()
	if a.house.silent[a.iface] || a.house.silent[fmt.Sprintf("%s/%d", a.iface, target)] {
		return nil
	}
	time.AfterFunc(time.Millisecond, func() {
		select {
		case a.answers <- probe.Answer{Target: target, Seq: seq, At: time.Now(), RTT: time.Millisecond}:
		case <-a.closed:
		}
	})
	return nil
}

func (a *air) Receive() (probe.Answer, error) {
	select {
	case answer := <-a.answers:
		return answer, nil
	case <-a.closed:
		return probe.Answer{}, errors.New("closed")
	}
}

func (a *air) Close() error {
	close(a.closed)
	a.house.mu.Lock()
	slow := a.house.closing
	a.house.mu.Unlock()
	time.Sleep(slow) // as a check's program may take to die
	return nil
}

// parse reads a configuration. The rule is the fixed one, where times are known, unless
// the text names one.
func parse(t *testing.T, text string) configs.Config {
	t.Helper()
	c, err := configs.Parse(strings.NewReader(text), configs.Options{File: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Uplinks {
		if !strings.Contains(text, "rule:") {
			c.Uplinks[i].Probe.Rule = configs.RuleFixed
		}
	}
	return c
}

const (
	two = `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, weight: 2}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}
`
	tiers = `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1, tier: 2}
`
)

// open starts an engine on a kernel that has eth1 to eth3, all up.
func open(t *testing.T, config string, kernel *routestest.Fake) *house {
	t.Helper()
	return openWith(t, config, kernel, nil)
}

// openWith starts an engine with orders that were kept.
func openWith(t *testing.T, config string, kernel *routestest.Fake, saved map[string]api.Order) *house {
	t.Helper()
	return openHouse(t, config, kernel, &house{saved: saved})
}

// openLearned starts an engine with what was learned before.
func openLearned(t *testing.T, config string, kernel *routestest.Fake, known engine.Learned) *house {
	t.Helper()
	return openHouse(t, config, kernel, &house{learned: known})
}

func openHouse(t *testing.T, config string, kernel *routestest.Fake, h *house) *house {
	t.Helper()
	h.t, h.fake, h.log, h.notes = t, kernel, &lockedBuffer{}, &notes{}
	h.silent, h.samples = map[string]bool{}, map[string]int{}
	if h.fake == nil {
		h.fake = &routestest.Fake{}
		h.fake.Edit(func(s *routes.State) {
			s.MainRule = true
			for n := 1; n <= 3; n++ {
				s.Links = append(s.Links, routes.Link{
					Name: fmt.Sprintf("eth%d", n), Index: n + 1, Up: true, Carrier: true, MAC: "02:00:00:00:00:01",
				})
			}
		})
	}
	n, born := uint32(0), time.Now().Add(-time.Hour)
	h.engine = engine.New(parse(t, config), engine.Deps{
		Kernel: h.fake,
		Watch: func(ctx context.Context, wake func()) error {
			h.watcher = wake
			<-ctx.Done()
			return nil
		},
		OpenProbe: func(s probe.Spec) (probe.Conn, error) {
			return &air{house: h, iface: s.Interface, answers: make(chan probe.Answer, 100), closed: make(chan struct{})}, nil
		},
		DHCP: dhcp.Outside{
			Open:  func(dhcp.Spec) (dhcp.Conn, error) { return nil, errors.New("no DHCP here") },
			Store: dhcp.Files{Dir: t.TempDir(), Clock: dhcp.SystemClock{}}, Random: func() uint32 { n++; return n },
			Log: slog.New(slog.DiscardHandler),
		},
		SinceBoot: func() time.Duration {
			h.mu.Lock()
			defer h.mu.Unlock()
			return time.Since(born) + h.asleep
		},
		Meters: engine.Meters{Connections: h.connections}, ReadLink: h.links,
		Learned: h.learned,
		SaveLearned: func(all engine.Learned) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.learned = all
			return nil
		},
		Disconnect: func(_ context.Context, c uplink.Disconnect) (uplink.Disconnected, error) {
			carriers := h.carriers()
			h.mu.Lock()
			defer h.mu.Unlock()
			h.cuts, h.cutWith = append(h.cuts, c), append(h.cutWith, carriers)
			if len(h.cuts)%2 == 0 {
				return uplink.Disconnected{}, nil // the second time there is nothing left
			}
			return uplink.Disconnected{Flows: 7, Sockets: 3}, nil
		},
		Orders: h.saved,
		SaveOrders: func(orders map[string]api.Order) error {
			h.mu.Lock()
			takes := h.saving
			h.mu.Unlock()
			time.Sleep(takes)
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.saveErr == nil {
				h.saved = orders
			}
			return h.saveErr
		},
		Notify: h.notes, Log: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	h.cancel, h.done = cancel, make(chan error, 1)
	go func() { h.done <- h.engine.Run(ctx) }()
	t.Cleanup(h.close)
	synctest.Wait()
	return h
}

func (h *house) close() {
	if h.cancel != nil {
		h.cancel()
		if err := <-h.done; err != nil {
			h.t.Error(err)
		}
		h.cancel = nil
	}
}

// connections is the meter of connections.
func (h *house) connections(_ context.Context, addresses []netip.Addr) (map[netip.Addr]int, error) {
	h.mu.Lock()
	hung, err := h.hung, h.meter
	h.mu.Unlock()
	time.Sleep(hung) // whatever its context says
	counts := map[netip.Addr]int{}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range addresses {
		counts[a] = h.samples[a.String()]
	}
	return counts, err
}

// severed returns the cuts there have been.
func (h *house) severed() []uplink.Disconnect {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.cuts)
}

// carriedAtCut returns who carried when the first cut was made.
func (h *house) carriedAtCut() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cutWith[0]
}

// edit changes the kernel as others do, and lets the event be seen.
func (h *house) edit(change func(*routes.State)) {
	h.fake.Edit(change)
	h.watcher()
	h.wait(30 * time.Millisecond)
}

func (h *house) silence(iface string, on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.silent[iface] = on
}

func (h *house) wait(d time.Duration) { time.Sleep(d); synctest.Wait() }

// carriers returns who is in the shared default route of the kernel.
func (h *house) carriers() string {
	var names []string
	for _, r := range h.fake.State().Routes {
		if r.Table == 254 && r.Protocol == 201 {
			for _, hop := range r.NextHops {
				names = append(names, fmt.Sprintf("%s*%d", hop.Interface, hop.Weight))
			}
		}
	}
	return strings.Join(names, " ")
}

func (h *house) expect(states, carriers string) api.Snapshot {
	h.t.Helper()
	s := h.engine.Snapshot()
	var got []string
	for _, u := range s.Uplinks {
		got = append(got, string(u.State))
	}
	if strings.Join(got, " ") != states {
		h.t.Errorf("states %v, want %s", got, states)
	}
	if c := h.carriers(); c != carriers {
		h.t.Errorf("carried by %q, want %q", c, carriers)
	}
	return s
}

// Nothing carries before it has proved itself; then both do, by their weights.
func TestStart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(300 * time.Millisecond)
		h.expect("starting starting", "")
		h.wait(200 * time.Millisecond)
		s := h.expect("up up", "eth1*2 eth2*1")
		if !s.Kernel.InSync || len(s.DefaultRoute.NextHops) != 2 || !s.Uplinks[0].Active {
			t.Errorf("snapshot %+v", s)
		}
		if h.notes.ready != 1 || h.notes.line != "2/2 up: a b" {
			t.Errorf("told the service manager %d times that it is ready, and %q", h.notes.ready, h.notes.line)
		}
		h.wait(time.Minute)
		if h.notes.alive < 59 || h.notes.alive > 61 {
			t.Errorf("fed the watchdog %d times in a minute, want every second", h.notes.alive)
		}
	})
}

// One line a change, with the evidence and the time to the kernel's answer.
func TestOneLogLineForAChange(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.log.take()
		h.silence("eth1", true)
		h.wait(2 * time.Second)
		h.expect("down up", "eth2*1")
		log := h.log.take()
		if strings.Count(log, "\n") != 1 {
			t.Errorf("want one line, got:\n%s", log)
		}
		for _, part := range []string{
			`msg="uplink state"`, "uplink=a", "family=ipv4", "switch_id=3", "from=up", "state=down", "cause=probes", `reason="the gateway does not answer"`,
			"misses=3", "last_rtt=1ms", "took=400ms",
		} {
			if !strings.Contains(log, part) {
				t.Errorf("%s is not in %s", part, log)
			}
		}
	})
}

// A change that asks nothing of the kernel is logged at once all the same. From
// the first review.
func TestLogWithoutKernelChange(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, tiers, nil)
		h.wait(5 * time.Second)
		h.expect("up up", "eth1*1")
		h.log.take()
		h.silence("eth2", true)
		h.wait(2 * time.Second)
		h.expect("up down", "eth1*1")
		if log := h.log.take(); !strings.Contains(log, "uplink=b") {
			t.Errorf("not logged: %q", log)
		}
	})
}

func TestHardEvidenceCountsAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*routes.State)
		reason string
	}{
		"carrier":   {func(s *routes.State) { s.Links[0].Carrier = false }, "eth1 has no carrier"},
		"admin":     {func(s *routes.State) { s.Links[0].Up = false }, "eth1 is administratively down: ip link set eth1 up"},
		"interface": {func(s *routes.State) { s.Links = s.Links[1:] }, "there is no interface eth1"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				h := open(t, two, nil)
				h.wait(5 * time.Second)
				h.edit(tt.change)
				s := h.expect("down up", "eth2*1")
				if s.Uplinks[0].Reason != tt.reason {
					t.Errorf("reason %q, want %q", s.Uplinks[0].Reason, tt.reason)
				}
			})
		})
	}
}

// An external address that vanishes takes its uplink down; it comes back with it.
func TestExternalAddress(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, `
uplinks:
  - {name: a, interface: eth1, address: external, gateway: 192.0.2.1}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}
`, nil)
		h.wait(time.Second)
		if s := h.expect("down up", "eth2*1"); s.Uplinks[0].Reason != "eth1 has no address" {
			t.Errorf("reason %q", s.Uplinks[0].Reason)
		}
		given := routes.Address{Interface: "eth1", Prefix: netip.MustParsePrefix("192.0.2.5/24")}
		h.edit(func(s *routes.State) { s.Addresses = append(s.Addresses, given) })
		h.wait(time.Second)
		h.expect("up up", "eth1*1 eth2*1")
		h.edit(func(s *routes.State) {
			s.Addresses = slices.DeleteFunc(s.Addresses, func(a routes.Address) bool { return a.Interface == "eth1" })
		})
		h.expect("down up", "eth2*1")
	})
}

// A gateway outside every network is told, and touches nobody who is logged in
// over that address: no rule leads to a table that leads nowhere.
func TestGatewayOutOfReach(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, "uplinks: [{name: a, interface: eth1, address: external, gateway: 203.0.113.1}]", nil)
		h.edit(func(s *routes.State) {
			s.Addresses = append(s.Addresses, routes.Address{Interface: "eth1", Prefix: netip.MustParsePrefix("192.0.2.5/24")})
		})
		h.wait(time.Second)
		if s := h.expect("down", ""); !strings.Contains(s.Uplinks[0].Reason, "onlink: true") {
			t.Errorf("reason %q", s.Uplinks[0].Reason)
		}
		for _, r := range h.fake.State().Rules {
			if r.From.IsValid() {
				t.Errorf("rule %s", r)
			}
		}
	})
}

func TestLastResort(t *testing.T) {
	for resort, want := range map[string]string{"keep": "eth1*2 eth2*1", "none": ""} {
		t.Run(resort, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				h := open(t, two+"routes: {last_resort: "+resort+"}", nil)
				h.wait(5 * time.Second)
				h.silence("eth1", true)
				h.silence("eth2", true)
				h.wait(2 * time.Second)
				s := h.expect("down down", want)
				if active := resort == "keep"; s.Uplinks[0].Active != active {
					t.Errorf("active %v, want %v", s.Uplinks[0].Active, active)
				}
				if resort == "keep" && !strings.HasSuffix(s.Uplinks[0].Reason, "kept as a last resort") {
					t.Errorf("reason %q", s.Uplinks[0].Reason)
				}
			})
		})
	}
}

func TestDisable(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.engine.Send(uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Disable, By: "root"}})
		h.wait(time.Millisecond)
		h.expect("disabled up", "eth2*1")
		if !h.fake.State().HasAddress("eth1", netip.MustParsePrefix("192.0.2.5/24")) {
			t.Error("the address went, and with it whoever is logged in over it")
		}
		h.engine.Send(uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Enable}})
		h.wait(time.Second)
		h.expect("up up", "eth1*2 eth2*1")
	})
}

// Killed and started again, the engine changes nothing and drops nobody while it
// judges anew.
func TestAdoption(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		first := open(t, two, nil)
		first.wait(5 * time.Second)
		first.close()
		first.fake.Ops()
		second := open(t, two, first.fake)
		second.expect("starting starting", "eth1*2 eth2*1")
		second.wait(5 * time.Second)
		second.expect("up up", "eth1*2 eth2*1")
		if ops := first.fake.Ops(); len(ops) != 0 {
			t.Errorf("%d operations: %v", len(ops), ops)
		}
	})
}

// Adopted or not: what does not answer goes.
func TestAdoptedButDead(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		first := open(t, two, nil)
		first.wait(5 * time.Second)
		first.close()
		second := open(t, two, first.fake)
		second.silence("eth1", true)
		second.wait(2 * time.Second)
		second.expect("down up", "eth2*1")
	})
}

// Nothing of an earlier configuration is deleted before all is known; then it is.
func TestOrphansGoOnceSettled(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		first := open(t, two, nil)
		first.wait(5 * time.Second)
		first.close()
		second := open(t, "uplinks: [{name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1, table: 777}]", first.fake)
		tables := func() (old, now bool) {
			for _, r := range first.fake.State().Routes {
				old, now = old || r.Table == 501, now || r.Table == 777
			}
			return old, now
		}
		if old, now := tables(); !old || !now {
			t.Errorf("before the verdict: old table %v, new table %v; want both", old, now)
		}
		second.wait(5 * time.Second)
		if old, now := tables(); old || !now {
			t.Errorf("after it: old table %v, new table %v; want the new alone", old, now)
		}
		second.expect("up", "eth2*1")
	})
}

// Renaming an uplink is no reason to take anything away, not for a moment. From
// the first review.
func TestReloadRenames(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.fake.Ops()
		h.engine.Send(uplink.Reloaded{Config: parse(t, strings.ReplaceAll(two, "name: a", "name: fiber"))})
		h.wait(5 * time.Second)
		h.expect("up up", "eth1*2 eth2*1")
		if ops := h.fake.Ops(); len(ops) != 0 {
			t.Errorf("%d operations: %v", len(ops), ops)
		}
	})
}

// New targets do not take a live uplink out while they are judged, and do when
// they have been found silent. From the first review.
func TestReloadChangesTargets(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, tiers, nil)
		h.silence("eth1", true)
		h.wait(5 * time.Second)
		h.expect("down up", "eth2*1")
		h.engine.Send(uplink.Reloaded{Config: parse(t, tiers+"probe: {targets: [gateway, 203.0.113.9]}")})
		h.wait(time.Millisecond)
		h.expect("down up", "eth2*1")
		h.silence("eth2", true)
		h.silence("eth1", false)
		h.wait(3 * time.Second)
		h.expect("up down", "eth1*1")
	})
}

func TestReloadAddsAndRemoves(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.engine.Send(uplink.Reloaded{Config: parse(t, `
uplinks:
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1, weight: 7}
  - {name: c, interface: eth3, address: 203.0.113.5/24, gateway: 203.0.113.1}
`)})
		h.wait(time.Millisecond)
		h.expect("up starting", "eth2*7")
		h.wait(time.Second)
		h.expect("up up", "eth2*7 eth3*1")
		for _, a := range h.fake.State().Addresses {
			if a.Interface == "eth1" {
				t.Errorf("the removed uplink's address %s is still there", a.Prefix)
			}
		}
	})
}

// The interface is found down: it is set up, once. Down by hand later is not undone.
func TestLinkIsRaisedOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		kernel := &routestest.Fake{}
		kernel.Edit(func(s *routes.State) { s.Links = []routes.Link{{Name: "eth1", Index: 2, Carrier: true}} })
		h := open(t, "uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}]", kernel)
		h.watcher()
		h.wait(time.Second)
		h.expect("up", "eth1*1")
		h.edit(func(s *routes.State) { s.Links[0].Up = false })
		h.wait(time.Minute)
		if l, _ := kernel.State().Link("eth1"); l.Up {
			t.Error("set up against somebody's will")
		}
	})
}

// With a table of its own for the default route, a rule leads there. From the
// first review.
func TestTableOfItsOwn(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two+"routes: {table: 300}", nil)
		h.wait(5 * time.Second)
		want := routes.Rule{Priority: 20900, Table: 300, Protocol: 201}
		if !slices.Contains(h.fake.State().Rules, want) {
			t.Errorf("no rule %s", want)
		}
	})
}

// What plan shows without a daemon is what the daemon then does; with one that
// is in sync it is empty.
func TestForecast(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		config := parse(t, two)
		have, err := h.fake.Read(t.Context(), routes.ScopeOf(uplink.Watched(config)))
		if err != nil {
			t.Fatal(err)
		}
		alone := uplink.Forecast(config, have)
		h.wait(5 * time.Second)
		have, err = h.fake.Read(t.Context(), routes.ScopeOf(uplink.Watched(config)))
		if err != nil {
			t.Fatal(err)
		}
		if plan := routes.Diff(alone, have); len(plan.Ops) != 0 {
			t.Errorf("the forecast differs from what was done: %v", plan.Ops)
		}
		h.silence("eth1", true)
		h.wait(5 * time.Second)
		if f, err := h.engine.Plan(t.Context(), config, nil); err != nil || len(f.Plan.Ops) != 0 {
			t.Errorf("not empty from a daemon in sync: %v, %v", f.Plan.Ops, err)
		}
	})
}

// What removed uplinks have started may take its time to end: nothing waits for it.
// From an attack: five exec: programs that hung delayed another uplink's switch to
// 2.4 s, for the engine stopped one after the other and waited up to 1 s for each.
func TestRemovedUplinksAreNotWaitedFor(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two+"  - {name: c, interface: eth3, address: 203.0.113.5/24, gateway: 203.0.113.1}\n", nil)
		h.wait(5 * time.Second)
		h.mu.Lock()
		h.closing = 3 * time.Second
		h.mu.Unlock()
		h.log.take()
		h.silence("eth1", true)
		h.wait(100 * time.Millisecond)
		began := time.Now()
		if err := h.engine.Do(t.Context(), uplink.Reloaded{Config: parse(t, two)}); err != nil || time.Since(began) > 0 {
			t.Errorf("the reload took %v, %v", time.Since(began), err)
		}
		h.wait(900 * time.Millisecond)
		h.expect("down up", "eth2*1")
		// Back before its last worker has ended: the new one waits for that, and nobody else.
		if err := h.engine.Do(t.Context(), uplink.Reloaded{Config: parse(t, two+
			"  - {name: c, interface: eth3, address: 203.0.113.5/24, gateway: 203.0.113.1}\n")}); err != nil {
			t.Error(err)
		}
		h.wait(time.Second)
		h.expect("down up starting", "eth2*1")
		h.wait(3 * time.Second)
		h.expect("down up up", "eth2*1 eth3*1")
		h.mu.Lock()
		h.closing = 0
		h.mu.Unlock()
	})
}

// A jump between the clocks is a suspension, and told once; drift is not.
func TestSuspension(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.log.take()
		sleep := func(d time.Duration) string {
			h.mu.Lock()
			h.asleep += d
			h.mu.Unlock()
			h.wait(5 * time.Second)
			return h.log.take()
		}
		if log := sleep(time.Second); log != "" {
			t.Errorf("a second's drift: %s", log)
		}
		if log := sleep(time.Hour); strings.Count(log, "the machine was suspended") != 1 || !strings.Contains(log, "for=1h0m0s") {
			t.Errorf("an hour's sleep: %q", log)
		}
	})
}

// What was up is not taken at its word for ever: an address that cannot be set,
// so that nothing can be probed, ends it. From the third review.
func TestUnprovedDoesNotLast(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.fake.FailWith(func(op routes.Op) error {
			if put, ok := op.(routes.PutAddress); ok && put.Address.Interface == "eth1" {
				return errors.New("refused")
			}
			return nil
		})
		moved := strings.NewReplacer("192.0.2.5", "192.0.3.5", "192.0.2.1", "192.0.3.1").Replace(two)
		h.engine.Send(uplink.Reloaded{Config: parse(t, moved)})
		h.wait(time.Minute)
		s := h.engine.Snapshot()
		if u := s.Uplinks[0]; u.State == "up" || u.Active {
			t.Errorf("%s and active %v a minute after its address was refused: %s", u.State, u.Active, u.Reason)
		}
		if s.Kernel.LastError == "" {
			t.Error("the refusal does not show")
		}
		if c := h.carriers(); c != "eth2*1" {
			t.Errorf("carried by %q", c)
		}
	})
}
