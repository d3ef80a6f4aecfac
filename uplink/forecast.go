package uplink

import (
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// Watched returns a Set that names all that might be wanted under a
// configuration, as far as that decides what has to be read.
func Watched(c configs.Config) routes.Set {
	s := New(c, time.Time{})
	s.Read = true
	return Desired(&s)
}

// Forecast returns what the kernel would be made to hold under a configuration,
// given what it holds, when no daemon runs that knows better: an uplink is taken to
// be up when nothing visible stands in its way. It is pure.
func Forecast(c configs.Config, have routes.State) routes.Set {
	s := New(c, have.At)
	s.takeObserved(routes.Applied{State: have, Observed: Watched(c).Observe})
	s.At = have.At
	s.decideLAN(have.At)
	s.decideLeases(have.At)
	for u, p := range s.paths() {
		p.OperState = api.Up
		if o := u.obstacle(p); o.reason != "" && !o.passing || len(u.Addresses(p)) == 0 {
			p.OperState = api.Down
		}
	}
	s.Settled = !s.any(func(u *Uplink) bool { return u.OperState() == api.Starting })
	s.decideCarriers()
	s.decideLeads()
	return Desired(&s)
}

// planSteps bounds how far Plan looks ahead: a plan leads to another until nothing
// is left to do, which takes two or three rounds.
const planSteps = 10

// Plan returns what would be done to the kernel after an event, given what it holds,
// as far as that follows from what is known: rounds of what is wanted, done and
// observed again, until nothing more is to be done. It is pure; s is not changed.
func Plan(s State, e Event, have routes.State, now time.Time) routes.Plan {
	var whole routes.Plan
	s = Step(s, e, now)
	for range planSteps {
		set := Desired(&s)
		plan := routes.Diff(set, have)
		whole.Conflicts = plan.Conflicts
		whole.Ops = append(whole.Ops, plan.Ops...)
		seen := routes.Applied{Observed: set.Observe, At: now, State: have, Plan: plan, Done: plan.Ops}
		have = seen.After().Asked()
		s = Step(s, Observed{routes.Applied{Observed: set.Observe, At: now, State: have}}, now)
		if len(plan.Ops) == 0 && len(routes.Diff(Desired(&s), have).Ops) == 0 {
			return whole
		}
	}
	return whole
}
