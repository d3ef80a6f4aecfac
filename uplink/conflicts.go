package uplink

import (
	"slices"
	"time"

	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// conflictPace is how often a conflict that comes and goes is told of. Somebody may put
// a route there and take it away ten times a second.
const conflictPace = time.Minute

// A toldConflict is a conflict that has been told of.
type toldConflict struct {
	routes.Conflict
	at    time.Time // when it was told that it is there
	there bool      // what was told last
}

// tellConflicts brings what is told of conflicts up to date with what there is.
func (s *State) tellConflicts(now time.Time) {
	if len(s.Conflicts) == 0 && len(s.told) == 0 {
		return
	}
	next := make([]toldConflict, 0, len(s.told)+len(s.Conflicts))
	for _, t := range s.told {
		there := slices.ContainsFunc(s.Conflicts, func(c routes.Conflict) bool { return isTold(c, t) })
		recent := now.Sub(t.at) < conflictPace
		switch {
		case t.there == there:
		case !there:
			t.there = false
		case !recent:
			t.there, t.at = true, now
		}
		if t.there || recent {
			next = append(next, t)
		}
	}
	for _, c := range s.Conflicts {
		if !slices.ContainsFunc(next, func(t toldConflict) bool { return isTold(c, t) }) {
			next = append(next, toldConflict{c, now, true})
		}
	}
	s.told = next
}

// isTold reports whether a conflict is the one that was told of. What ours would be
// changes with the weights: the foreign route is the conflict.
func isTold(c routes.Conflict, t toldConflict) bool { return c.Have == t.Have }

// conflictChanges returns the conflicts of which it is told that they have begun, or
// ended.
func conflictChanges(before, after []toldConflict, now time.Time) []api.Event {
	var list []api.Event
	has := func(list []toldConflict, t toldConflict) bool {
		return slices.ContainsFunc(list, func(c toldConflict) bool { return c.there && c.Have == t.Have })
	}
	for _, c := range after {
		if c.there && !has(before, c) {
			list = append(list, api.Event{
				Time: now, Kind: api.EventConflict, To: c.Have, Reason: "stands where " + c.Want + " belongs",
				Evidence: []string{c.Remedy},
			})
		}
	}
	for _, c := range before {
		if c.there && !has(after, c) {
			list = append(list, api.Event{
				Time: now, Kind: api.EventConflict, From: c.Have, Reason: "is gone", Evidence: []string{},
			})
		}
	}
	return list
}
