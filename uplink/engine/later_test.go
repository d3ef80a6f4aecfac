package engine_test

import (
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/routes"
	"uplinkd/routes/routestest"
)

// An interface that is not there when the daemon starts, and comes a day later: the day
// before costs no line in the log and no goroutine, and then it is used within a second.
func TestInterfaceComesADayLater(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		fake := routestest.ThreeLinks()
		var late routes.Link
		fake.Edit(func(s *routes.State) {
			s.MainRule = true
			i := slices.IndexFunc(s.Links, func(l routes.Link) bool { return l.Name == "eth2" })
			late = s.Links[i]
			s.Links = slices.Delete(s.Links, i, i+1)
		})
		h := open(t, two+"probe: {interval: 10s}\n", fake)
		h.wait(time.Minute)
		h.expect("up down", "eth1*2")
		h.log.take()
		before := runtime.NumGoroutine()
		h.wait(24 * time.Hour)
		h.expect("up down", "eth1*2")
		if said := h.log.take(); said != "" {
			t.Errorf("the day was told of:\n%s", said[:min(len(said), 500)])
		}
		if now := runtime.NumGoroutine(); now != before {
			t.Errorf("%d goroutines after a day, %d before", now, before)
		}
		h.edit(func(s *routes.State) { s.Links = append(s.Links, late) })
		h.wait(time.Second)
		h.expect("up up", "eth1*2 eth2*1")
		if said := h.log.take(); !strings.Contains(said, "uplink=b family=ipv4 switch_id=3 from=down state=up") {
			t.Errorf("its coming was not told: %s", said)
		}
	})
}
