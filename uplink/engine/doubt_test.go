package engine_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/bubble"
)

const (
	learned      = two + "probe: {rule: learned}\n"
	learnedTiers = tiers + "probe: {rule: learned}\n"
	learnedFar   = two + "probe: {rule: learned, targets: [gateway, 203.0.113.9, 203.0.113.10]}\n"
)

// until waits until an uplink is in a state, and returns how long that took.
func (h *house) until(uplink int, state string, most time.Duration) time.Duration {
	h.t.Helper()
	for waited := time.Duration(0); waited <= most; waited += time.Millisecond {
		if string(h.engine.Snapshot().Uplinks[uplink].State) == state {
			return waited
		}
		h.wait(time.Millisecond)
	}
	h.t.Fatalf("not %s within %v", state, most)
	return 0
}

// A link that says nothing is doubted first: new connections go elsewhere, and nothing
// ends. It is back at once when it answers, and down when its silence is longer than any
// it has survived. At every phase of the probes.
func TestDoubtBeforeDeath(t *testing.T) {
	for phase := range 10 {
		bubble.Test(t, func(t *testing.T) {
			h := open(t, learned, nil)
			h.wait(30*time.Second + time.Duration(phase)*53*time.Millisecond)
			events, _ := h.engine.Events(0)
			last := events[len(events)-1].ID
			h.silence("eth1", true)
			h.until(0, "doubtful", 600*time.Millisecond)
			s := h.expect("doubtful up", "eth2*1")
			if !strings.Contains(s.Uplinks[0].Reason, "the gateway answers late") {
				t.Errorf("reason %q", s.Uplinks[0].Reason)
			}
			h.silence("eth1", false)
			h.wait(150 * time.Millisecond)
			h.expect("up up", "eth1*2 eth2*1")
			if cuts := h.severed(); len(cuts) > 0 {
				t.Errorf("cut %+v in doubt", cuts)
			}
			h.wait(5 * time.Second)
			h.silence("eth1", true)
			h.until(0, "doubtful", 600*time.Millisecond)
			h.expect("doubtful up", "eth2*1")
			h.until(0, "down", 3*time.Second)
			if cuts := h.severed(); len(cuts) == 0 {
				t.Error("nothing was cut when it went down")
			}
			events, _ = h.engine.Events(last)
			var states []string
			for _, e := range events {
				if e.Kind == "state" {
					states = append(states, e.From+">"+e.To)
				}
			}
			if got := strings.Join(states, " "); got != "up>doubtful doubtful>up up>doubtful doubtful>down" {
				t.Errorf("events: %s", got)
			}
		})
	}
}

// On a link that never paused a death is a death: down within a second, for it to be in
// doubt takes two thirds of one at most.
func TestDeathOfASteadyLink(t *testing.T) {
	for phase := range 10 {
		bubble.Test(t, func(t *testing.T) {
			h := open(t, learned, nil)
			h.wait(30*time.Second + time.Duration(phase)*53*time.Millisecond)
			h.silence("eth1", true)
			doubt := h.until(0, "doubtful", 650*time.Millisecond)
			h.expect("doubtful up", "eth2*1")
			h.until(0, "down", time.Second+2*time.Millisecond-doubt) // and a round trip
			h.expect("down up", "eth2*1")
		})
	}
}

// Late is better than nowhere: where all are doubtful nobody is taken out. A better tier
// is left when all of it is.
func TestAllDoubtful(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, learned, nil)
		h.wait(30 * time.Second)
		h.silence("eth1", true)
		h.silence("eth2", true)
		h.until(0, "doubtful", 600*time.Millisecond)
		h.until(1, "doubtful", 600*time.Millisecond)
		h.expect("doubtful doubtful", "eth1*2 eth2*1")
		h.silence("eth2", false)
		h.wait(150 * time.Millisecond)
		h.expect("doubtful up", "eth2*1")
	})
	bubble.Test(t, func(t *testing.T) {
		h := open(t, learnedTiers, nil)
		h.wait(30 * time.Second)
		h.expect("up up", "eth1*1")
		h.silence("eth1", true)
		h.until(0, "doubtful", 600*time.Millisecond)
		h.expect("doubtful up", "eth2*1")
		h.silence("eth1", false)
		h.wait(150 * time.Millisecond)
		h.expect("up up", "eth1*1")
	})
}

// Doubt is counted as votes are: one far target of two that is late makes nobody doubtful,
// a gateway that answers before an Internet that does not does; and a target that is late
// on every uplink is at fault itself.
func TestWhoIsDoubted(t *testing.T) {
	for phase := range 10 {
		for name, tt := range map[string]struct {
			silent []string
			states string
		}{
			"one far target":                   {[]string{"eth1/1"}, "up up"},
			"the gateway alone":                {[]string{"eth1/0"}, "up up"},
			"the Internet":                     {[]string{"eth1/1", "eth1/2"}, "doubtful up"},
			"one far target everywhere":        {[]string{"eth1/1", "eth2/1"}, "up up"},
			"both far targets, on all uplinks": {[]string{"eth1/1", "eth1/2", "eth2/1", "eth2/2"}, "up up"},
		} {
			t.Run(fmt.Sprint(name, " ", phase), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					h := open(t, learnedFar, nil)
					h.wait(30*time.Second + time.Duration(phase)*53*time.Millisecond)
					before, _ := h.engine.Events(0)
					for _, s := range tt.silent {
						h.silence(s, true)
					}
					if strings.HasPrefix(tt.states, "doubtful") {
						h.until(0, "doubtful", 600*time.Millisecond)
					} else {
						h.wait(900 * time.Millisecond)
					}
					var states []string
					for _, u := range h.engine.Snapshot().Uplinks {
						states = append(states, string(u.State))
					}
					if got := strings.Join(states, " "); got != tt.states {
						t.Errorf("%s, want %s", got, tt.states)
					}
					events, _ := h.engine.Events(before[len(before)-1].ID)
					if want := strings.Count(tt.states, "doubtful"); len(events) > 2*want {
						t.Errorf("%d events, want at most %d: %+v", len(events), 2*want, events)
					}
				})
			})
		}
	}
}

// What a link is like outlives the process: a silence that it has survived before is no
// death to the next one.
func TestLearnedIsKept(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, learned, nil)
		h.wait(30 * time.Second)
		h.silence("eth1", true)
		h.until(0, "doubtful", 600*time.Millisecond)
		h.wait(300 * time.Millisecond)
		h.silence("eth1", false)
		h.wait(time.Second)
		h.expect("up up", "eth1*2 eth2*1")
		h.close()
		again := openLearned(t, learned, h.fake, h.learned)
		again.wait(10 * time.Second)
		again.silence("eth1", true)
		again.wait(1200 * time.Millisecond)
		again.expect("doubtful up", "eth2*1")
	})
}
