package uplink

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"uplinkd/uplink/status"
)

// eventsKept is how many events are remembered.
const eventsKept = 1000

// A chronicle remembers the last events. Its methods may be called from any
// goroutine.
type chronicle struct {
	mu     sync.Mutex // guards what follows
	events []status.Event
	last   uint64
	more   chan struct{} // closed when there is another
}

func newChronicle() *chronicle { return &chronicle{more: make(chan struct{})} }

// add remembers events, and forgets the oldest.
func (c *chronicle) add(events []status.Event) {
	if len(events) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range events {
		c.last++
		e.ID = c.last
		c.events = append(c.events, e)
	}
	if n := len(c.events) - eventsKept; n > 0 {
		c.events = slices.Delete(c.events, 0, n)
	}
	close(c.more)
	c.more = make(chan struct{})
}

// after returns the events that came after the one of that number, and a channel
// that is closed when there is another.
func (c *chronicle) after(id uint64) ([]status.Event, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.events, func(e status.Event) bool { return e.ID > id })
	if i < 0 {
		return nil, c.more
	}
	return slices.Clone(c.events[i:]), c.more
}

// Events returns the events after the one of that number, oldest first, and a
// channel that is closed when there is another. It may be called from any
// goroutine.
func (e *Engine) Events(after uint64) ([]status.Event, <-chan struct{}) {
	return e.chronicle.after(after)
}

// events returns what changed between two states, with the evidence. It is pure.
func events(before, after State, now time.Time) []status.Event {
	var list []status.Event
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		old := before.on(u.Config.Interface)
		if old == nil {
			continue
		}
		add := func(kind, from, to, reason string) {
			list = append(list, status.Event{
				Time: now, Uplink: u.Config.Name, Interface: u.Config.Interface, Address: u.present(),
				Kind: kind, From: from, To: to, Reason: reason, Evidence: u.facts(),
			})
		}
		if old.Order != u.Order {
			add("order", orderText(old.Order), orderText(u.Order), orderReason(old.Order, u.Order))
		}
		if from, to := leaseText(old), leaseText(u); from != to {
			add("lease", from, to, u.DHCP.Reason)
		}
		if from, to := old.present(), u.present(); from != to && old.Read {
			add("address", from, to, "")
		}
		if old.Phase != u.Phase {
			add("state", string(old.Phase), string(u.Phase), u.Reason)
		}
	}
	if from, to := routeText(before), routeText(after); from != to && before.Settled {
		list = append(list, status.Event{Time: now, Kind: "route", From: from, To: to, Evidence: []string{}})
	}
	return list
}

// facts are what is known of an uplink, in words.
func (u *Uplink) facts() []string {
	list := []string{}
	if o := u.obstacle(); o.why != "" {
		list = append(list, o.why)
	}
	for n, e := range u.evidence() {
		text := fmt.Sprintf("%s: %s", u.Config.Probe.Targets[n], e.Verdict)
		if e.Reason != "" {
			text += ", " + e.Reason
		}
		if e.Misses > 0 {
			text += fmt.Sprintf(", %d missed in a row", e.Misses)
		}
		if e.Err != "" {
			text += ", " + e.Err
		}
		if e.LastRTT > 0 {
			text += fmt.Sprintf(", last round trip %s", e.LastRTT.Round(time.Microsecond))
		}
		list = append(list, text)
	}
	return list
}

func orderText(o status.Order) string {
	switch {
	case o.State != "" && o.Weight > 0:
		return fmt.Sprintf("%s, weight %d", o.State, o.Weight)
	case o.Weight > 0:
		return fmt.Sprintf("weight %d", o.Weight)
	}
	return o.State
}

func orderReason(before, after status.Order) string {
	if after == (status.Order{}) {
		if !before.Until.IsZero() || !before.WeightUntil.IsZero() {
			return "taken back, or its time is up"
		}
		return "taken back"
	}
	return "by " + after.By
}

// present returns the addresses of the uplink that its interface has.
func (u *Uplink) present() string {
	var list []string
	for _, a := range u.Addresses() {
		if slices.Contains(u.Present, a.Prefix) {
			list = append(list, a.Prefix.String())
		}
	}
	return strings.Join(list, " ")
}

func leaseText(u *Uplink) string {
	if u.DHCP.Lease == nil {
		return ""
	}
	return u.DHCP.Lease.Prefix.String()
}

// routeText says who carries new connections, and with what weight.
func routeText(s State) string {
	var ways []string
	for _, i := range Active(s) {
		ways = append(ways, fmt.Sprintf("%s %d", s.Uplinks[i].Config.Name, s.Uplinks[i].Weight))
	}
	return strings.Join(ways, ", ")
}
