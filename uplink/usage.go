package uplink

import (
	"fmt"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// Usage is how much of its quota an uplink has used.
type Usage struct {
	Used  uint64    // bytes, in the period
	Since time.Time // when that began; zero: nothing has been counted yet

	// Counted is the kernel's counters as they were last read: what they show more than that is yet to count.
	Counted Octets
	Based   bool // Counted has been read; what the counters showed before is not ours to count
}

// Octets is what has come in and gone out by an interface, in bytes.
type Octets struct {
	Rx, Tx uint64
	Known  bool
}

// steadyFor is how long the clock must go without being set that a new period is believed in. A machine without a
// battery wakes up in another year.
const steadyFor = 5 * time.Minute

// rightFor is how long the clock must go without being set that it is believed to have been ahead before.
const rightFor = 24 * time.Hour

// clockStep is how far the clock may be from where time alone has brought it.
const clockStep = 5 * time.Second

// noteClock notes when the clock was last set, by the time that has really passed meanwhile: of two moments Go
// has both (time.Time, monotonic clocks).
func (s *State) noteClock(now time.Time) {
	passed, shown := now.Sub(s.At), now.Round(0).Sub(s.At.Round(0))
	if s.ClockSince.IsZero() || !s.At.IsZero() && (shown-passed).Abs() > clockStep {
		s.ClockSince = now
	}
}

// count takes in what the counters of an uplink show.
func (u *Usage) count(q *configs.Quota, now Octets) {
	if !now.Known {
		return
	}
	more := func(was, now uint64) uint64 {
		if now < was {
			return now // the counter has begun anew
		}
		return now - was
	}
	if u.Based {
		rx, tx := more(u.Counted.Rx, now.Rx), more(u.Counted.Tx, now.Tx)
		if q.Direction != configs.DirectionTx {
			u.Used += rx
		}
		if q.Direction != configs.DirectionRx {
			u.Used += tx
		}
	}
	u.Counted, u.Based = now, true
}

// turn begins a new period when one has begun. A clock that goes back, by an hour or by years, begins none, and nor
// does one that comes back from there; another zone of time moves midnight, and begins none either. What a clock in
// the future has begun is taken for of now when the clock has been right for a day.
func (u *Usage) turn(q *configs.Quota, now, clockSince time.Time) {
	start, steady := q.Start(now), now.Sub(clockSince)
	switch half := q.Next(u.Since).Sub(u.Since) / 2; {
	case u.Since.IsZero():
		u.Since = start
	case start.Sub(u.Since) >= half && steady >= steadyFor:
		u.Used, u.Since = 0, start
	case u.Since.After(now) && steady >= rightFor:
		u.Since = start
	}
}

// decideUsage brings what uplinks have used of their quotas up to date.
func (s *State) decideUsage(now time.Time) {
	s.noteClock(now)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if q := &u.Config.Quota; q.Bytes > 0 {
			u.Usage.turn(q, now, s.ClockSince)
		}
	}
}

// spent reports whether an uplink has used up its quota, and is to be what that says.
func (u *Uplink) spent(then configs.Then) bool {
	q := &u.Config.Quota
	return q.Bytes > 0 && u.Usage.Used >= q.Bytes && q.Then == then
}

// spareTier is behind every tier that there is.
const spareTier = 1000

// tier returns the tier of an uplink in a family as it is now.
func (u *Uplink) tier(f Family) int {
	if u.spent(configs.ThenSpare) {
		return spareTier
	}
	return u.In(f).Tier
}

// usageChanges tells what an uplink has come to use of its quota: each percentage that is to be warned of, all of it,
// and a new period.
func usageChanges(before, after *State, now time.Time) []api.Event {
	var list []api.Event
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		old := before.at(i, u.Config.Interface)
		if old == nil || u.Config.Quota.Bytes == 0 {
			continue
		}
		from, to := old.stage(&u.Config.Quota), u.stage(&u.Config.Quota)
		if from == to {
			continue
		}
		q := &u.Config.Quota
		reason := fmt.Sprintf("%s of %s used since %s", configs.BytesText(u.Usage.Used), configs.BytesText(q.Bytes),
			u.Usage.Since.Format(time.DateOnly))
		if u.Usage.Used >= q.Bytes {
			reason += map[configs.Then]string{
				configs.ThenSpare: "; it is of use when no other is", configs.ThenOut: "; it carries nothing more",
			}[q.Then]
		}
		list = append(list, api.Event{
			Time: now, Uplink: u.Config.Name, Interface: u.Config.Interface, Family: u.First().Family.String(),
			Kind: api.EventQuota, From: fmt.Sprintf("%d%%", from), To: fmt.Sprintf("%d%%", to), Reason: reason,
			Evidence: []string{},
		})
	}
	return list
}

// stage is the last percentage that has been reached of those that are told: 0, the warnings', 100.
func (u *Uplink) stage(q *configs.Quota) int {
	if u.Usage.Used >= q.Bytes {
		return 100
	}
	stage := 0
	for _, percent := range q.Warn {
		if u.Usage.Used >= q.Bytes/100*uint64(percent) {
			stage = percent
		}
	}
	return stage
}

// decideOusted decides of which paths nothing goes by them any more: those of uplinks that have used up their quota and
// are to carry nothing, once others carry, and not while a configuration is on trial.
func (s *State) decideOusted() {
	for f := range families {
		others := len(s.carriers(f)) > 0 && !s.OnTrial
		for i := range s.Uplinks {
			p := &s.Uplinks[i].Paths[f]
			p.Ousted = s.Uplinks[i].spent(configs.ThenOut) && (p.Ousted || others)
		}
	}
}

// spentDisconnects returns the disconnects of uplinks that carry nothing more for their quota.
func spentDisconnects(before, after *State) []Disconnect {
	var list []Disconnect
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		old := before.at(i, u.Config.Interface)
		for p := range u.Present() {
			if old == nil || old.Paths[p.Family].Ousted || !p.Ousted {
				continue
			}
			if d := after.disconnect(before, u.Config.Interface, p.Family); d != nil {
				list = append(list, *d)
			}
		}
	}
	return list
}
