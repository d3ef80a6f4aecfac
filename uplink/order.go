package uplink

import (
	"time"

	"uplinkd/uplink/status"
)

// What an operator may have an uplink be.
const (
	OrderNone     = ""
	OrderDisabled = "disabled" // out at once, its lease released
	OrderDrained  = "drained"  // no new connections, old ones live on
)

// Latched is who disables an uplink that has auto_disable.
const Latched = "auto_disable"

// order applies the operator's word to what stood before.
func order(before status.Order, e Ordered, now time.Time) status.Order {
	after := before
	switch e.Verb {
	case Enable:
		after.State = OrderNone
	case Disable:
		after.State = OrderDisabled
	case Drain:
		after.State = OrderDrained
	case Weight:
		after.Weight = e.Weight
	}
	if after.State == OrderNone && after.Weight == 0 {
		return status.Order{}
	}
	after.By, after.Since, after.Until = e.By, now, status.When{}
	if e.For > 0 {
		after.Until = status.When{Time: now.Add(e.For)}
	}
	return after
}

// latch disables an uplink with auto_disable after a fall.
func latch(before status.Order, now time.Time) status.Order {
	before.State, before.By, before.Since, before.Until = OrderDisabled, Latched, now, status.When{}
	return before
}

// expireOrder ends an order whose time is up.
func (u *Uplink) expireOrder(now time.Time) {
	if !u.Order.Until.IsZero() && !now.Before(u.Order.Until.Time) {
		u.Order = status.Order{}
	}
}

// Disabled reports whether the uplink is out by order.
func (u *Uplink) Disabled() bool { return u.Order.State == OrderDisabled }

// orders returns the orders in force, by name.
func (s *State) orders() map[string]status.Order {
	book := map[string]status.Order{}
	for i := range s.Uplinks {
		if o := s.Uplinks[i].Order; o != (status.Order{}) {
			book[s.Uplinks[i].Config.Name] = o
		}
	}
	return book
}
