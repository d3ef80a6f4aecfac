package engine_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

const far = `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, weight: 2}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}
probe: {targets: [gateway, 203.0.113.9]}
`

func states(events []api.Event) string {
	var list []string
	for _, e := range events {
		if e.Kind == "state" && e.From != "starting" {
			list = append(list, e.Uplink+" "+e.To)
		}
	}
	return strings.Join(list, ", ")
}

// A far target dies for everybody: that is its own fault, at every phase of the
// probes' pace, and nobody goes down, neither when it goes nor when it returns.
func TestTargetDeadEverywhere(t *testing.T) {
	for phase := range 20 {
		bubble.Test(t, func(t *testing.T) {
			h := open(t, far, nil)
			h.wait(5*time.Second + time.Duration(phase)*25*time.Millisecond)
			h.silence("eth1/1", true)
			h.silence("eth2/1", true)
			h.wait(20 * time.Second)
			h.expect("up up", "eth1*2 eth2*1")
			h.silence("eth1/1", false)
			h.silence("eth2/1", false)
			h.wait(20 * time.Second)
			h.expect("up up", "eth1*2 eth2*1")
			events, _ := h.engine.Events(0)
			if got := states(events); got != "" {
				t.Errorf("phase %d: %s", phase, got)
			}
		})
	}
}

// What a target loses while it is silent for everybody is not held against the
// uplinks: from a run of twenty such outages, in which that came to 15 % loss.
func TestOutagesOfTheTargetAreNoLoss(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, far, nil)
		h.wait(5 * time.Second)
		for n := range 20 {
			h.silence("eth1/1", true)
			h.silence("eth2/1", true)
			h.wait(3*time.Second + time.Duration(n)*37*time.Millisecond)
			h.silence("eth1/1", false)
			h.silence("eth2/1", false)
			h.wait(2 * time.Second)
		}
		h.expect("up up", "eth1*2 eth2*1")
		events, _ := h.engine.Events(0)
		if got := states(events); got != "" {
			t.Error(got)
		}
	})
}

// The Internet behind one gateway dies: the gateway answers, the far target does
// not, and it does for the other uplink.
func TestInternetGone(t *testing.T) {
	for phase := range 10 {
		bubble.Test(t, func(t *testing.T) {
			h := open(t, far, nil)
			h.wait(5*time.Second + time.Duration(phase)*50*time.Millisecond)
			h.silence("eth1/1", true)
			h.wait(time.Second)
			s := h.expect("down up", "eth2*1")
			if !strings.Contains(s.Uplinks[0].Reason, "the gateway answers, the Internet behind it does not") {
				t.Errorf("reason %q", s.Uplinks[0].Reason)
			}
			h.silence("eth1/1", false)
			h.wait(5 * time.Second)
			h.expect("up up", "eth1*2 eth2*1")
		})
	}
}

// All targets of both are silent everywhere: the last verdict stands, and status
// says so.
func TestNoVotesLeft(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, strings.Replace(far, "[gateway, 203.0.113.9]", "[203.0.113.9]", 1), nil)
		h.wait(5 * time.Second)
		h.silence("eth1", true)
		h.silence("eth2", true)
		h.wait(10 * time.Second)
		s := h.expect("up up", "eth1*2 eth2*1")
		if !strings.Contains(s.Uplinks[0].Reason, "the last verdict stands") {
			t.Errorf("reason %q", s.Uplinks[0].Reason)
		}
	})
}

// An uplink that falls again and again is held down ever longer; when it is the
// only one that works it is used all the same.
func TestFlapping(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two+"probe: {hold_down: 4s, hold_down_max: 20s, max_loss: 0}", nil)
		h.wait(5 * time.Second)
		var held []time.Duration
		for range 4 {
			h.silence("eth1", true)
			h.wait(2 * time.Second)
			h.expect("down up", "eth2*1")
			fell := h.engine.Snapshot().Uplinks[0].Since
			h.silence("eth1", false)
			for h.engine.Snapshot().Uplinks[0].State == "down" {
				h.wait(100 * time.Millisecond)
			}
			held = append(held, time.Since(fell).Truncate(time.Second))
		}
		for i, want := range []time.Duration{1, 4, 8, 16} { // the first as long as it lasted
			if got := held[i] / time.Second; got < want || got > want+2 {
				t.Fatalf("held down for %v, want 1s 4s 8s 16s", held)
			}
		}
		h.silence("eth1", true)
		h.wait(2 * time.Second)
		h.silence("eth1", false)
		h.silence("eth2", true)
		h.wait(2 * time.Second)
		s := h.expect("down down", "eth1*2")
		if s.Uplinks[0].Hold.Falls != 5 || !strings.Contains(s.Uplinks[0].Reason, "held down until") {
			t.Errorf("status %+v, %q", s.Uplinks[0].Hold, s.Uplinks[0].Reason)
		}
		h.silence("eth2", false)
		h.engine.Send(uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Enable}})
		h.wait(time.Second)
		if s := h.engine.Snapshot(); s.Uplinks[0].State != "up" || s.Uplinks[0].Hold.Falls != 0 {
			t.Errorf("after enable %s with %+v held against it", s.Uplinks[0].State, s.Uplinks[0].Hold)
		}
	})
}

// An uplink that is back gets a quarter of its weight, and then more.
func TestSlowStart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, strings.Replace(two, "weight: 2", "weight: 2, slow_start: 8s", 1), nil)
		h.wait(5 * time.Second)
		h.expect("up up", "eth1*2 eth2*1") // at the start there is nothing to be careful about
		h.silence("eth1", true)
		h.wait(5 * time.Second)
		h.silence("eth1", false)
		h.wait(time.Second)
		for _, want := range []string{"eth1*1 eth2*2", "eth1*1 eth2*1", "eth1*3 eth2*2", "eth1*2 eth2*1"} {
			h.expect("up up", want)
			h.wait(2 * time.Second)
		}
	})
}

// A budget shows in status, with the pace it has led to.
func TestBudgetShows(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, strings.Replace(two, "weight: 2", "weight: 2, probe: {budget: 10MB}", 1), nil)
		h.wait(5 * time.Second)
		s := h.expect("up up", "eth1*2 eth2*1")
		pace := time.Duration(s.Uplinks[0].ProbeInterval).Truncate(time.Second)
		if !s.Uplinks[0].ProbeStretched || s.Uplinks[1].ProbeStretched || s.Uplinks[0].Probes[0].Bytes == 0 ||
			pace != 17*time.Second {
			t.Errorf("stretched %v and %v, %d bytes, each %v", s.Uplinks[0].ProbeStretched, s.Uplinks[1].ProbeStretched,
				s.Uplinks[0].Probes[0].Bytes, pace)
		}
	})
}

// At its limit of connections an uplink gets no new ones, until a tenth have ended.
func TestMaxConnections(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, strings.Replace(two, "weight: 2", "weight: 2, max_connections: 100", 1), nil)
		set := func(n int) {
			h.mu.Lock()
			h.samples["192.0.2.5"] = n
			h.mu.Unlock()
			h.wait(2 * time.Second)
		}
		h.wait(5 * time.Second)
		set(99)
		h.expect("up up", "eth1*2 eth2*1")
		set(100)
		s := h.expect("up up", "eth2*1")
		if !s.Uplinks[0].Capped || !strings.Contains(s.Uplinks[0].Reason, "limit of 100") {
			t.Errorf("status: %+v", s.Uplinks[0])
		}
		set(91)
		h.expect("up up", "eth2*1")
		set(90)
		h.expect("up up", "eth1*2 eth2*1")
	})
}

// Once down it stays out, until a person says otherwise; over a restart too.
func TestAutoDisable(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		config := strings.Replace(two, "weight: 2", "weight: 2, auto_disable: true", 1)
		h := open(t, config, nil)
		h.wait(5 * time.Second)
		h.silence("eth1", true)
		h.wait(2 * time.Second)
		h.silence("eth1", false)
		h.wait(time.Minute)
		s := h.expect("disabled up", "eth2*1")
		if s.Uplinks[0].Order == nil || s.Uplinks[0].Order.By != uplink.AutoDisable {
			t.Errorf("the order is %+v, want who has latched it", s.Uplinks[0].Order)
		}
		h.close()
		again := openWith(t, config, h.fake, h.saved)
		again.wait(time.Minute)
		again.expect("disabled up", "eth2*1")
		again.engine.Send(uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Enable}})
		again.wait(5 * time.Second)
		again.expect("up up", "eth1*2 eth2*1")
	})
}

// Orders: each counts at once, is kept, shows with who and when, and one with an
// end ends by itself.
func TestOrders(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.engine.Send(uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Drain, By: "alice", For: 30 * time.Minute}})
		h.wait(time.Millisecond)
		s := h.expect("drained up", "eth2*1")
		if o := s.Uplinks[0].Order; o == nil || o.By != "alice" || o.Until.Sub(o.Since) != 30*time.Minute {
			t.Errorf("the order is %+v", o)
		}
		h.engine.Send(uplink.Commanded{Uplink: "b", Command: api.Command{Action: api.Weight, Weight: 9, By: "bob"}})
		h.wait(time.Second)
		h.expect("drained up", "eth2*1") // the weight of the only one does not count
		if len(h.saved) != 2 || h.saved["b"].Weight != 9 {
			t.Errorf("kept %+v, want both", h.saved)
		}
		h.close()

		again := openWith(t, two, h.fake, h.saved)
		again.wait(5 * time.Second)
		again.expect("drained up", "eth2*1")
		again.wait(30 * time.Minute)
		again.expect("up up", "eth1*2 eth2*9")
		again.engine.Send(uplink.Commanded{Uplink: "b", Command: api.Command{Action: api.Weight}})
		again.wait(time.Second)
		again.expect("up up", "eth1*2 eth2*1")
		if len(again.saved) != 0 {
			t.Errorf("kept %+v, want none", again.saved)
		}
		events, _ := again.engine.Events(0)
		var orders []string
		for _, e := range events {
			if e.Kind == "order" {
				orders = append(orders, e.Uplink+": "+e.From+" -> "+e.To)
			}
		}
		if got := strings.Join(orders, "; "); got != "a: drained -> ; b: weight 9 -> " {
			t.Errorf("events of orders: %s", got)
		}
	})
}

// A drained uplink stays out as a last resort too: somebody wants it so.
func TestDrainedIsNoLastResort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.engine.Send(uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Drain, By: "alice"}})
		h.silence("eth2", true)
		h.wait(2 * time.Second)
		h.expect("drained down", "eth2*1")
	})
}

// The last thousand events are kept, with the evidence.
func TestEventsAreBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		events, more := h.engine.Events(0)
		last := events[len(events)-1].ID
		h.silence("eth1", true)
		h.wait(time.Second)
		<-more
		events, _ = h.engine.Events(last)
		if len(events) != 2 || events[0].Kind != "state" || events[0].To != "down" || events[1].Kind != "route" ||
			len(events[0].Evidence) != 1 || !strings.HasPrefix(events[0].Evidence[0], "gateway: down, no answer, 3 missed") {
			t.Fatalf("got %+v", events)
		}
		h.silence("eth1", false)
		for n := range 1200 {
			h.engine.Send(uplink.Commanded{Uplink: "b", Command: api.Command{Action: api.Weight, Weight: 2 + n%2, By: "alice"}})
			h.wait(time.Millisecond)
		}
		events, _ = h.engine.Events(0)
		if len(events) != 1000 || events[999].ID < 2000 {
			t.Errorf("%d events kept, the last with number %d", len(events), events[999].ID)
		}
	})
}

// Connections are cut when an uplink goes down, after the kernel has answered, and
// once more a second later; not when it is the last one, nor when it is back by
// then.
func TestCut(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.silence("eth1", true)
		h.wait(time.Second)
		if len(h.severed()) != 1 || h.severed()[0].Uplink != "a" || h.severed()[0].Mark != 0x01000000 || h.severed()[0].Mask != 0xff000000 ||
			len(h.severed()[0].Addresses) != 1 || h.severed()[0].Addresses[0].String() != "192.0.2.5/24" {
			t.Fatalf("cut %+v, want what a has", h.severed())
		}
		if h.carriedAtCut() != "eth2*1" {
			t.Errorf("cut while %s carried, want the new route first", h.carriedAtCut())
		}
		if log := h.log.take(); !strings.Contains(log, "flows=7 sockets=3 cut_took=") {
			t.Errorf("the line of the switch lacks the counts: %s", log)
		}
		h.wait(time.Second)
		if len(h.severed()) != 2 {
			t.Errorf("%d cuts after a second more, want 2", len(h.severed()))
		}
		h.silence("eth2", true)
		h.wait(3 * time.Second)
		h.expect("down down", "eth1*2 eth2*1")
		if len(h.severed()) != 2 {
			t.Errorf("cut %+v with no uplink left", h.severed()[2:])
		}
		h.silence("eth1", false)
		h.wait(20 * time.Second)
		h.silence("eth2", false)
		h.wait(20 * time.Second)
		before := len(h.severed()) // what was put off has been made up for
		h.engine.Send(uplink.Commanded{Uplink: "b", Command: api.Command{Action: api.Disable, By: "root"}})
		h.wait(100 * time.Millisecond)
		h.engine.Send(uplink.Commanded{Uplink: "b", Command: api.Command{Action: api.Enable, By: "root"}})
		h.wait(5 * time.Second)
		if cuts := h.severed()[before:]; len(cuts) != 1 || cuts[0].Uplink != "b" {
			t.Errorf("cut %+v, want b once: it was back a second later", cuts)
		}
	})
}

// Over a restart policies lead where they led: nothing is put into the kernel while
// the uplinks are judged anew. From the review.
func TestPoliciesOverARestart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		config := two + "policies: [{name: p, dport: 25, via: b, when_down: prohibit}]\n"
		h := open(t, config, nil)
		h.wait(5 * time.Second)
		h.close()
		h.fake.Ops()
		again := open(t, config, h.fake)
		again.wait(5 * time.Second)
		again.expect("up up", "eth1*2 eth2*1")
		if ops := again.fake.Ops(); len(ops) != 0 {
			t.Errorf("%d operations: %v", len(ops), ops)
		}
	})
}

// An uplink that died while the daemon was away is cut when that is found out; one
// that fell as the last is cut when another is back. From the review.
func TestCutLater(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.close()
		again := openWith(t, two, h.fake, nil)
		again.silence("eth1", true)
		again.wait(2 * time.Second)
		if len(again.severed()) == 0 || again.severed()[0].Uplink != "a" {
			t.Errorf("cut %+v, want a", again.severed())
		}
		again.silence("eth2", true)
		again.wait(5 * time.Second)
		before := len(again.severed())
		again.silence("eth1", false)
		again.wait(5 * time.Second)
		if cuts := again.severed()[before:]; len(cuts) == 0 || cuts[0].Uplink != "b" {
			t.Errorf("cut %+v when a was back, want b", cuts)
		}
	})
}

// State and weight are two orders, and each ends by itself. From the review.
func TestTwoOrders(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		order := func(action api.Action, weight int, length time.Duration) {
			command := api.Command{Action: action, Weight: weight, By: "root", For: length}
			if err := h.engine.Do(t.Context(), uplink.Commanded{Uplink: "a", Command: command}); err != nil {
				t.Error(err)
			}
			h.wait(time.Second)
		}
		order(api.Disable, 0, 0)
		order(api.Weight, 5, 30*time.Minute)
		h.wait(time.Hour)
		h.expect("disabled up", "eth2*1")
		order(api.Enable, 0, 0)
		h.wait(5 * time.Second)
		h.expect("up up", "eth1*2 eth2*1")
		order(api.Weight, 5, 0)
		order(api.Drain, 0, 30*time.Minute)
		h.wait(time.Hour)
		h.expect("up up", "eth1*5 eth2*1")
	})
}

// The kernel refuses the new default route: nothing is cut as long as what begins
// anew would take the old one.
func TestNoCutWithoutTheNewRoute(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.fake.FailWith(func(op routes.Op) error {
			if _, ok := op.(routes.ReplaceRoute); ok {
				return errors.New("refused")
			}
			return nil
		})
		h.silence("eth1", true)
		h.wait(2 * time.Second)
		if cuts := h.severed(); len(cuts) != 0 {
			t.Errorf("cut %+v while %s carries", cuts, h.carriers())
		}
		h.fake.FailWith(nil)
		h.wait(3 * time.Second)
		if cuts := h.severed(); len(cuts) == 0 || h.carriedAtCut() != "eth2*1" {
			t.Errorf("cut %+v, want a once the route has changed", cuts)
		}
	})
}

// A reload whose requester had gone away took effect, and was told as refused. From the
// review of the engine.
func TestDoByWhoIsGone(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		next := parse(t, strings.Replace(two, "weight: 2", "weight: 7", 1))
		err := h.engine.Do(ctx, uplink.Reloaded{Config: next})
		h.wait(time.Second)
		if err == nil || h.carriers() == "eth1*7 eth2*1" {
			t.Errorf("%v, %s: want an error, and nothing done", err, h.carriers())
		}
	})
}

// What has an address that its uplink leaves hears nothing any more, whether another
// uplink is there or not: it is cut by that address, and nothing else is. From the
// attacks on c82b5ea.
func TestCutByAddress(t *testing.T) {
	alone, _, _ := strings.Cut(two, "  - {name: b")
	for name, config := range map[string]string{"two uplinks": two, "one": alone} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				h := open(t, config, nil)
				h.wait(5 * time.Second)
				next := parse(t, strings.Replace(config, "192.0.2.5/24", "192.0.2.6/24", 1))
				if err := h.engine.Do(t.Context(), uplink.Reloaded{Config: next}); err != nil {
					t.Fatal(err)
				}
				h.wait(5 * time.Second)
				cuts := h.severed()
				if len(cuts) != 1 || len(cuts[0].Addresses) != 1 || cuts[0].Addresses[0].String() != "192.0.2.5/24" || cuts[0].Mask != 0 {
					t.Errorf("cut %+v, want what has 192.0.2.5", cuts)
				}
			})
		})
	}
}
