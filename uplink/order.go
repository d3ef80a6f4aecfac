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

// order applies the operator's word to what stood before. State and weight are two
// orders, each with an end of its own.
func order(before status.Order, e Ordered, now time.Time) status.Order {
	after := before
	until := status.When{}
	if e.For > 0 {
		until.Time = now.Add(e.For)
	}
	if e.Verb == Weight {
		after.Weight, after.WeightUntil = e.Weight, until
	} else {
		after.State, after.Until = map[Verb]string{Disable: OrderDisabled, Drain: OrderDrained}[e.Verb], until
	}
	after.By, after.Since = e.By, now
	return tidy(after)
}

// tidy takes away what no longer says anything.
func tidy(o status.Order) status.Order {
	if o.State == OrderNone {
		o.Until = status.When{}
	}
	if o.Weight == 0 {
		o.WeightUntil = status.When{}
	}
	if o.State == OrderNone && o.Weight == 0 {
		return status.Order{}
	}
	return o
}

// latch disables an uplink with auto_disable after a fall.
func latch(before status.Order, now time.Time) status.Order {
	before.State, before.By, before.Since, before.Until = OrderDisabled, Latched, now, status.When{}
	return before
}

// expireOrder ends an order whose time is up.
func (u *Uplink) expireOrder(now time.Time) {
	u.Order = Unexpired(u.Order, now)
}

// Unexpired returns what is left of an order at a time.
func Unexpired(o status.Order, now time.Time) status.Order {
	over := func(w status.When) bool { return !w.IsZero() && !now.Before(w.Time) }
	if over(o.Until) {
		o.State = OrderNone
	}
	if over(o.WeightUntil) {
		o.Weight = 0
	}
	return tidy(o)
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
