package uplink

import (
	"fmt"
	"time"

	"uplinkd/configs"
)

// A Hold keeps a path that falls again and again from coming back at once.
type Hold struct {
	Falls int       // counted against it
	Last  time.Time // when it last fell
	Until time.Time // it is not up before
}

// fall counts a fall. For each flap_window without one before it, one is
// forgiven. A single fall is an outage, and held against nobody; the second within
// the window holds the uplink down for hold_down, the third for twice that.
func (h *Hold) fall(now time.Time, c *configs.Probe) {
	if !h.Last.IsZero() && c.FlapWindow > 0 {
		h.Falls = max(h.Falls-int(now.Sub(h.Last)/c.FlapWindow), 0)
	}
	h.Falls, h.Last = h.Falls+1, now
	if h.Falls == 1 {
		h.Until = now
		return
	}
	hold := c.HoldDown
	for n := 2; n < h.Falls && hold < c.HoldDownMax; n++ {
		hold *= 2
	}
	h.Until = now.Add(min(hold, c.HoldDownMax))
}

func (h *Hold) falls() string { return fmt.Sprintf("%d falls", h.Falls) }
