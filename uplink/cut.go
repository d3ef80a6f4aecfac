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
	Mark, Mask uint32       // of its flows; no mask: flows are not looked at
	Addresses  []netip.Addr // of its connections; none: connections are not looked at
}

// Severed is what came of a Cut.
type Severed struct{ Flows, Sockets int }

// again is how long after a cut it is made once more, for what slipped between.
const again = time.Second

// cutOf returns what is to be cut when the i-th uplink goes down, nil when nothing
// is. Nothing ever is when no other uplink is up: a connection that hangs may come
// back, and who looks after this host may be on it.
func cutOf(before, after *State, i int) *Cut {
	u := &after.Uplinks[i]
	alive := slices.ContainsFunc(after.Uplinks, func(o Uplink) bool {
		return o.Phase == Up && o.Config.Name != u.Config.Name
	})
	if !alive {
		return nil
	}
	return after.cut(before, i)
}

// cut returns the Cut of the i-th uplink. Addresses are those it had before, for
// it may have lost them. One that another uplink has too tells nothing.
func (s *State) cut(before *State, i int) *Cut {
	u := &s.Uplinks[i]
	c := &Cut{Uplink: u.Config.Name}
	if s.Config.OnDown.Conntrack && s.Config.Marks {
		c.Mark, c.Mask = u.Config.FwMark, s.Config.Routes.FwMarkMask
	}
	old := before.on(u.Config.Interface)
	if s.Config.OnDown.Sockets && old != nil {
		for _, a := range old.hosts() {
			if !s.shares(i, a) {
				c.Addresses = append(c.Addresses, a)
			}
		}
	}
	if c.Mask == 0 && len(c.Addresses) == 0 {
		return nil
	}
	return c
}

// shares reports whether another uplink than the i-th has an address.
func (s *State) shares(i int, address netip.Addr) bool {
	for j := range s.Uplinks {
		if i != j && slices.ContainsFunc(s.Uplinks[j].Addresses(), func(a routes.Address) bool {
			return a.Prefix.Addr() == address
		}) {
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
	var cuts []Cut
	for _, i := range Active(*before) {
		if i >= len(after.Uplinks) || len(active) == 0 || slices.Contains(active, i) {
			continue
		}
		u := &after.Uplinks[i]
		if u.Phase == Up && u.Config.Tier > after.Uplinks[active[0]].Config.Tier {
			if c := after.cut(before, i); c != nil {
				cuts = append(cuts, *c)
			}
		}
	}
	return cuts
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
