package engine_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/routes/flows"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// A kernel that does not answer a dump for a minute holds up nothing: verdicts and
// switches come at their time, the watchdog is fed, status says that it does not
// know, and so does a drain. From the review: the dump ran in the engine's loop, with
// a time-out of 60 s.
func TestHungMeter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, strings.Replace(two, "weight: 2", "weight: 2, max_connections: 100", 1), nil)
		h.wait(5 * time.Second)
		if n := h.engine.Snapshot().Uplinks[0].Counters.Connections; n != api.Known(0) {
			t.Errorf("%v connections before it hangs, want 0", n)
		}
		h.mu.Lock()
		h.hung = time.Minute
		h.mu.Unlock()
		h.wait(10 * time.Second)
		h.notes.mu.Lock()
		alive := h.notes.alive
		h.notes.mu.Unlock()
		h.log.take()
		h.silence("eth1", true)
		h.wait(900 * time.Millisecond)
		s := h.expect("down up", "eth2*1")
		for i := range s.Uplinks {
			if n := s.Uplinks[i].Counters.Connections; n.Known {
				t.Errorf("%s has %v connections, and nobody can know", s.Uplinks[i].Name, n)
			}
		}
		if len(s.Daemon.MeterErrors) != 1 || !strings.Contains(s.Daemon.MeterErrors[0], "connections: the kernel has not answered") {
			t.Errorf("status says %v", s.Daemon.MeterErrors)
		}
		if log := h.log.take(); !strings.Contains(log, "took=400ms") {
			t.Errorf("the switch took longer than without the hang: %s", log)
		}
		if err := h.engine.Do(t.Context(), uplink.Commanded{Uplink: "b", Command: api.Command{Action: api.Drain}}); err != nil {
			t.Error(err)
		}
		h.wait(20 * time.Second)
		if p, err := h.engine.Drain("b"); err != nil || p.State != api.DrainUnknown || p.Reason == "" {
			t.Errorf("the drain is %+v, %v; want that it cannot be known", p, err)
		}
		h.notes.mu.Lock()
		fed := h.notes.alive - alive
		h.notes.mu.Unlock()
		if fed < 20 || fed > 21 {
			t.Errorf("fed the watchdog %d times in 21 s", fed)
		}
		h.mu.Lock()
		h.hung = 0
		h.mu.Unlock()
		h.wait(2 * time.Minute)
		if n := h.engine.Snapshot().Uplinks[1].Counters.Connections; n != api.Known(0) {
			t.Errorf("%v connections after it has come to itself", n)
		}
		if p, err := h.engine.Drain("b"); err != nil || p.State != api.DrainDone {
			t.Errorf("the drain is %+v, %v; want done", p, err)
		}
	})
}

// A meter that fails is told once when it begins to and once when it ends, and what
// it measures is unknown: it is not 0, and max_connections stays as it was.
func TestMeterError(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, strings.Replace(two, "weight: 2", "weight: 2, max_connections: 100", 1), nil)
		set := func(n int, err error) {
			h.mu.Lock()
			h.samples["192.0.2.5"], h.meter = n, err
			h.mu.Unlock()
			h.wait(3 * time.Second)
		}
		h.wait(5 * time.Second)
		set(100, nil)
		h.expect("up up", "eth2*1")
		h.log.take()
		set(0, errors.New("no buffer space available"))
		h.wait(time.Minute)
		s := h.expect("up up", "eth2*1")
		if s.Uplinks[0].Counters.Connections.Known || !s.Uplinks[0].Capped {
			t.Errorf("%v connections and capped %v while they cannot be counted",
				s.Uplinks[0].Counters.Connections, s.Uplinks[0].Capped)
		}
		if n := strings.Count(h.log.take(), "cannot be measured"); n != 1 {
			t.Errorf("told %d times in a minute, want once", n)
		}
		set(0, nil)
		h.expect("up up", "eth1*2 eth2*1")
		if n := strings.Count(h.log.take(), "can be measured again"); n != 1 {
			t.Errorf("told %d times that it works again", n)
		}
	})
}

// What status says of the traffic is the rate of a second, on a link that is looked at each second and on one that is
// looked at twenty times as often; and where the kernel does not tell, it is unknown after a while, and said why.
func TestTrafficInStatus(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		var fails error
		h := openHouse(t, two, nil, &house{links: func(index int, _ bool) (flows.Link, error) {
			mu.Lock()
			defer mu.Unlock()
			l := flows.Link{Carrier: true, Traffic: flows.Traffic{RxBytes: uint64(time.Since(start).Microseconds()) / 8}}
			if index == 2 { // it is busy
				l.RxPackets = uint64(time.Since(start) / time.Millisecond)
				l.TxPackets = l.RxPackets
			}
			return l, fails
		}})
		expect := func(known bool, failure string) {
			t.Helper()
			s := h.engine.Snapshot()
			for i := range s.Uplinks {
				rx, tx := s.Uplinks[i].Counters.RxBPS, s.Uplinks[i].Counters.TxBPS
				if rx.Known != known || tx.Known != known || known && (rx.N < 990_000 || rx.N > 1_010_000 || tx.N != 0) {
					t.Errorf("%s: %v and %v bit/s, want 1M and none: %v", s.Uplinks[i].Name, rx, tx, known)
				}
			}
			if got := strings.Join(s.Daemon.MeterErrors, "; "); got != failure {
				t.Errorf("status says %q, want %q", got, failure)
			}
		}
		h.wait(5 * time.Second)
		expect(true, "")
		mu.Lock()
		fails = errors.New("no buffer space available")
		mu.Unlock()
		h.wait(3 * time.Second)
		expect(true, "traffic: no buffer space available")
		h.wait(5 * time.Second)
		expect(false, "traffic: no buffer space available")
		mu.Lock()
		fails = nil
		mu.Unlock()
		h.wait(4 * time.Second)
		expect(true, "")
	})
}

// A drain is done when two counts that began after the order have found nothing.
func TestDrainProgress(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		if p, err := h.engine.Drain("a"); err != nil || p.State != api.DrainEnded || !strings.Contains(p.Reason, "it is up") {
			t.Errorf("without an order: %+v, %v", p, err)
		}
		if _, err := h.engine.Drain("nobody"); !errors.Is(err, uplink.ErrNoUplink) {
			t.Errorf("an unknown uplink: %v", err)
		}
		h.mu.Lock()
		h.samples["192.0.2.5"] = 3
		h.mu.Unlock()
		if err := h.engine.Do(t.Context(), uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Drain}}); err != nil {
			t.Fatal(err)
		}
		if p, _ := h.engine.Drain("a"); p.State != api.DrainRunning {
			t.Errorf("at once: %+v", p)
		}
		h.wait(5 * time.Second)
		if p, _ := h.engine.Drain("a"); p.State != api.DrainRunning || p.Connections != api.Known(3) {
			t.Errorf("with three left: %+v", p)
		}
		h.mu.Lock()
		h.samples["192.0.2.5"] = 0
		h.mu.Unlock()
		h.wait(5 * time.Second)
		if p, _ := h.engine.Drain("a"); p.State != api.DrainDone {
			t.Errorf("with none left: %+v", p)
		}
	})
}

// An order is acknowledged when it is on the disk, and not before; what cannot be
// written is said.
func TestCommandsAreAcknowledgedOnDisk(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.mu.Lock()
		h.saving = time.Second
		h.mu.Unlock()
		began := time.Now()
		drain := uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Drain, By: "root"}}
		if err := h.engine.Do(t.Context(), drain); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("acknowledged after %v, the disk took 1 s", took)
		}
		if h.saved["a"].State != api.AdminDrained {
			t.Errorf("acknowledged with %+v on the disk", h.saved)
		}
		h.mu.Lock()
		h.saving, h.saveErr = 0, errors.New("no space left on device")
		h.mu.Unlock()
		err := h.engine.Do(t.Context(), uplink.Commanded{Uplink: "b", Command: api.Command{Action: api.Weight, Weight: 7}})
		if err == nil || !strings.Contains(err.Error(), "in force") || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("an order that cannot be kept: %v", err)
		}
		if s := h.engine.Snapshot(); s.Daemon.OrdersError == "" || s.Uplinks[1].Order == nil {
			t.Errorf("status: %q, %+v", s.Daemon.OrdersError, s.Uplinks[1].Order)
		}
		h.mu.Lock()
		h.saveErr = nil
		h.mu.Unlock()
		if err := h.engine.Do(t.Context(), drain); err != nil || h.saved["b"].Weight != 7 {
			t.Errorf("the next order: %v, on the disk %+v; want both", err, h.saved)
		}
		for _, c := range []uplink.Commanded{
			{Uplink: "nobody", Command: api.Command{Action: api.Drain}}, {Uplink: "a", Command: api.Command{Action: api.Renew}},
		} {
			if err := h.engine.Do(t.Context(), c); err == nil {
				t.Errorf("%s of %s was taken", c.Action, c.Uplink)
			}
		}
	})
}

// What plan says is, byte for byte, what a reload then does at once.
func TestPlanIsWhatIsDone(t *testing.T) {
	third := "  - {name: c, interface: eth3, address: 203.0.113.5/24, gateway: 203.0.113.1}\n"
	for name, next := range map[string]string{
		"nothing":             two,
		"another weight":      strings.Replace(two, "weight: 2", "weight: 5", 1),
		"one less":            strings.Join(strings.Split(two, "\n")[:3], "\n") + "\n",
		"one more":            two + third,
		"one for another":     strings.Join(strings.Split(two, "\n")[:3], "\n") + "\n" + third,
		"another table":       strings.Replace(two, "weight: 2", "weight: 2, table: 700", 1),
		"another mark":        strings.Replace(two, "weight: 2", "weight: 2, fwmark: 0x77", 1),
		"another address":     strings.Replace(two, "192.0.2.5", "192.0.2.9", 1),
		"another gateway":     strings.Replace(two, "gateway: 192.0.2.1", "gateway: 192.0.2.2", 1),
		"options":             two + "routes: {options: {initcwnd: 33}}\n",
		"a table of its own":  two + "routes: {table: 300}\n",
		"the other way round": "uplinks:\n" + strings.Join(reverse(strings.Split(strings.TrimSpace(two), "\n")[1:]), "\n") + "\n",
		"a policy":            two + "policies: [{name: p, to: 198.18.0.0/15, via: [b]}]\n",
		"tiers":               strings.Replace(two, "weight: 2", "weight: 2, tier: 3", 1),
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				h := open(t, two, nil)
				h.wait(5 * time.Second)
				h.fake.Ops()
				config := parse(t, next)
				forecast, err := h.engine.Plan(t.Context(), config, nil)
				if err != nil {
					t.Fatal(err)
				}
				if done := h.fake.Ops(); len(done) != 0 {
					t.Fatalf("asking did %v", done)
				}
				if err := h.engine.Do(t.Context(), uplink.Reloaded{Config: config}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if said, done := texts(forecast.Plan.Ops), texts(h.fake.Ops()); said != done {
					t.Errorf("plan said\n%s\nand done was\n%s", said, done)
				}
			})
		})
	}
}

func reverse(list []string) []string {
	back := make([]string, len(list))
	for i, s := range list {
		back[len(list)-1-i] = s
	}
	return back
}

func texts(ops []routes.Op) string {
	lines := make([]string, len(ops))
	for i, op := range ops {
		lines[i] = op.String()
	}
	return strings.Join(lines, "\n")
}

// A kernel that did not answer a gauge kept the daemon from ending. From the
// review of the engine.
func TestEndBesideHungMeter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.mu.Lock()
		h.hung = 10 * time.Minute
		h.mu.Unlock()
		h.wait(5 * time.Second)
		began := time.Now()
		h.close()
		if d := time.Since(began); d > 5*time.Second {
			t.Errorf("shutdown took %v", d)
		}
		time.Sleep(10 * time.Minute) // until it has answered
	})
}
