package reconcile

import (
	"cmp"
	"slices"
	"time"

	"uplinkd/routes"
)

const (
	// fightRepairs is how many repairs of one object within fightWithin make a fight. Then
	// there are pauses between them: two programs that undo each other must not keep the kernel
	// busy. A fight is over when the object has been left alone for fightWithin.
	fightRepairs = 5
	fightWithin  = time.Minute
)

// An attack is what others have lately done to an object.
type attack struct {
	repairs int                     // since it was last left alone for fightWithin
	times   [fightRepairs]time.Time // of the last repairs, the latest first
	fight   bool
	fought  int    // repairs since the fight began
	by      string // who undid it last, "": not known
}

// repaired notes a repair, and whose change it undid.
func (a *attack) repaired(now time.Time, by string) {
	copy(a.times[1:], a.times[:])
	a.times[0] = now
	a.repairs++
	a.by = by
	if a.fight {
		a.fought++
	}
	if oldest := a.times[fightRepairs-1]; !oldest.IsZero() && now.Sub(oldest) <= fightWithin {
		a.fight = true
	}
}

// isOver reports whether the object has been left alone for long.
func (a *attack) isOver(now time.Time) bool { return now.Sub(a.times[0]) > fightWithin }

// pause returns until when an object that is fought over is left as it is.
func (a *attack) pause(most time.Duration) time.Time {
	return a.times[0].Add(backoff(a.fought, most))
}

// fights returns what others fight us over, in an order of its own.
func (o *objects) fights() []routes.Fight {
	var list []routes.Fight
	for key, s := range o.statuses {
		if s.fight {
			list = append(list, routes.Fight{Key: key, Repairs: s.repairs, By: s.by})
		}
	}
	slices.SortFunc(list, func(a, b routes.Fight) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return list
}
