package engine_test

import (
	"strings"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/uplink/api"
)

// Doubt, and the death or the recovery that it leads to, are one switch, told by events and by the book with
// the same times; the kernel's answer and what was ended are noted with it.
func TestSwitches(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, learned, nil)
		h.wait(30 * time.Second)
		before, changed := h.engine.Switches()
		if len(before) != 2 {
			t.Fatalf("%d switches at the start, want one an uplink", len(before))
		}
		h.silence("eth1", true)
		h.until(0, "doubtful", time.Second)
		h.silence("eth1", false)
		h.until(0, "up", time.Second)
		h.wait(5 * time.Second)
		silent := time.Now()
		h.silence("eth1", true)
		h.until(0, "down", 3*time.Second)
		h.wait(2 * time.Second)
		list, now := h.engine.Switches()
		if len(list) != 4 || now <= changed {
			t.Fatalf("%d switches after %d changes, want 4", len(list), now)
		}
		if passed := list[2]; passed.From != api.Up || passed.To != api.Up || passed.DoubtAt.IsZero() || passed.Flows.Known {
			t.Errorf("the doubt that came to nothing: %+v", passed)
		}
		s := list[3]
		if s.Uplink != "a" || s.Interface != "eth1" || s.Family != "ipv4" || s.From != api.Up || s.To != api.Down ||
			s.Cause != api.CauseProbes || s.Reason != "the gateway does not answer" {
			t.Errorf("the death: %+v", s)
		}
		if s.Since.Before(silent) || s.DoubtAt.Before(s.Since.Time) || s.Routed.Before(s.DoubtAt.Time) || s.At.Before(s.Routed.Time) ||
			s.Ended.Before(s.At) {
			t.Errorf("unanswered since %v, doubt at %v, routed %v, decided %v, ended %v", s.Since, s.DoubtAt, s.Routed, s.At, s.Ended)
		}
		if s.Flows != api.Known(7) || s.Sockets != api.Known(3) {
			t.Errorf("ended %v flows and %v sockets", s.Flows, s.Sockets)
		}
		if text := strings.Join(s.Evidence, "\n"); !strings.Contains(text, "missed in a row since "+s.Since.Format(api.Clock)) {
			t.Errorf("evidence: %s", text)
		}
		events, _ := h.engine.Events(0)
		var times []time.Time
		for _, e := range events {
			if e.Switch == s.ID {
				times = append(times, e.Time)
			}
		}
		if len(times) != 2 || !times[0].Equal(s.DoubtAt.Time) || !times[1].Equal(s.At) {
			t.Errorf("events of the switch at %v, want %v and %v", times, s.DoubtAt, s.At)
		}
	})
}
