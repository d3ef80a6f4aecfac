package engine_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/routes/routestest"
)

// A foreign route put there and taken away ten times a second filled the event log.
// From the review of the engine.
func TestConflictsComeAndGo(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		h := open(t, two, nil)
		h.wait(5 * time.Second)
		h.log.take()
		e0, _ := h.engine.Events(0)
		for n := range 100 {
			h.edit(func(s *routes.State) {
				foreign := routestest.DefaultRoute(254, 0)
				foreign.Protocol = 3
				foreign.Type = routes.Blackhole
				if n%2 == 0 {
					s.Routes = append([]routes.Route{foreign}, s.Routes...)
				} else {
					s.Routes = slices.DeleteFunc(s.Routes, func(r routes.Route) bool { return r.Protocol == 3 })
				}
			})
			h.wait(70 * time.Millisecond)
		}
		e1, _ := h.engine.Events(0)
		if n, lines := len(e1)-len(e0), strings.Count(h.log.take(), "\n"); n > 6 || lines > 6 {
			t.Errorf("%d events and %d lines, want a few", n, lines)
		}
	})
}
