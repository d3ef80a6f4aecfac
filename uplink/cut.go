package uplink

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
)

// A Cut says whose connections are to end: those of an uplink that new ones no
// longer take.
type Cut struct {
	Uplink     string
	Mark, Mask uint32         // of its flows; no mask: flows are not looked at
	Addresses  []netip.Prefix // of its connections; none: connections are not looked at
}

// Severed is what came of a Cut.
type Severed struct{ Flows, Sockets int }

// again is how long after a cut it is made once more, for what slipped between.
const again = time.Second

// cut returns what is to be cut of the uplink on an interface, which may be there
// no longer; nil when nothing is. Addresses are those it had before, for it may have
// lost them. One that another uplink has too tells nothing.
func (s *State) cut(before *State, name string) *Cut {
	old := before.on(name)
	if old == nil {
		return nil
	}
	c := &Cut{Uplink: old.Config.Name}
	if s.Config.OnDown.Conntrack && before.Config.Marks {
		c.Mark, c.Mask = old.Config.FwMark, before.Config.Routes.FwMarkMask
	}
	if s.Config.OnDown.Sockets {
		for _, a := range old.Addresses() {
			if !s.shares(name, a.Prefix.Addr()) {
				c.Addresses = append(c.Addresses, a.Prefix)
			}
		}
	}
	if c.Mask == 0 && len(c.Addresses) == 0 {
		return nil
	}
	return c
}

// shares reports whether another uplink than the one on an interface has an address.
func (s *State) shares(name string, address netip.Addr) bool {
	for j := range s.Uplinks {
		u := &s.Uplinks[j]
		same := func(a routes.Address) bool { return a.Prefix.Addr() == address }
		if u.Config.Interface != name && slices.ContainsFunc(u.Addresses(), same) {
			return true
		}
	}
	return false
}

// returns returns the cuts of the uplinks that a better tier has taken the place
// of, where their connections are to move.
func returns(before, after *State) []Cut {
	if after.Config.OnReturn != configs.OnReturnMove || !before.Settled {
		return nil
	}
	active := Active(*after)
	if len(active) == 0 {
		return nil
	}
	best := after.Uplinks[active[0]].Config.Tier
	var cuts []Cut
	for _, i := range Active(*before) {
		u := after.on(before.Uplinks[i].Config.Interface)
		if u == nil || u.Phase != Up || u.Config.Tier <= best {
			continue
		}
		if c := after.cut(before, u.Config.Interface); c != nil {
			cuts = append(cuts, *c)
		}
	}
	return cuts
}

// removed returns the cuts of the uplinks that a new configuration has no more, or
// whose mark it has changed: their connections would be taken for another's.
func removed(before, after *State) []Cut {
	var cuts []Cut
	for i := range before.Uplinks {
		old := &before.Uplinks[i]
		u := after.on(old.Config.Interface)
		if u != nil && u.Config.FwMark == old.Config.FwMark {
			continue
		}
		if c := after.cut(before, old.Config.Interface); c != nil {
			if u != nil {
				c.Addresses = nil // what has its address stays where it is
			}
			cuts = append(cuts, *c)
		}
	}
	return cuts
}

// anyUp reports whether an uplink but that of a name is up.
func (s *State) anyUp(but string) bool {
	return slices.ContainsFunc(s.Uplinks, func(u Uplink) bool { return u.Phase == Up && u.Config.Name != but })
}

// A job is a cut to be made, and what is told of it.
type job struct {
	cut    Cut
	told   func(Severed, time.Duration, error)
	repeat bool
	due    time.Time
}

// A cutter makes cuts in a goroutine of its own, for they take some milliseconds.
type cutter struct {
	do   func(Cut) (Severed, error)
	log  *slog.Logger
	live func(uplink string) bool // whether the uplink is up again

	mu   sync.Mutex // guards jobs
	jobs []job
	wake chan struct{} // size 1
}

func newCutter(do func(Cut) (Severed, error), log *slog.Logger, live func(string) bool) *cutter {
	return &cutter{do: do, log: log, live: live, wake: make(chan struct{}, 1)}
}

// add has a cut made. told is called with what came of it; with repeat it is made
// once more after a second.
func (c *cutter) add(cut Cut, repeat bool, told func(Severed, time.Duration, error)) {
	c.mu.Lock()
	c.jobs = append(c.jobs, job{cut: cut, told: told, repeat: repeat})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// next returns the first job that is due, or when to look again.
func (c *cutter) next(now time.Time) (job, bool, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := time.Hour
	for i, j := range c.jobs {
		if !now.Before(j.due) {
			c.jobs = slices.Delete(c.jobs, i, i+1)
			return j, true, 0
		}
		wait = min(wait, j.due.Sub(now))
	}
	return job{}, false, wait
}

// Run makes cuts until ctx ends.
func (c *cutter) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		case <-timer.C:
		}
		for {
			j, ok, wait := c.next(time.Now())
			if !ok {
				timer.Reset(wait)
				break
			}
			c.make(j)
		}
	}
}

func (c *cutter) make(j job) {
	if !j.due.IsZero() && c.live(j.cut.Uplink) {
		return // it is back, and what it has is good
	}
	start := time.Now()
	severed, err := c.do(j.cut)
	j.told(severed, time.Since(start), err)
	if !j.repeat {
		return
	}
	j.repeat, j.due = false, time.Now().Add(again)
	uplink := j.cut.Uplink
	j.told = func(s Severed, took time.Duration, err error) {
		if err == nil && s != (Severed{}) {
			c.log.Info("connections ended that had slipped between", "uplink", uplink,
				"flows", s.Flows, "sockets", s.Sockets, "took", took)
		}
	}
	c.mu.Lock()
	c.jobs = append(c.jobs, j)
	c.mu.Unlock()
}
