package uplink

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// RemedyOf says what the operator can do about a fight.
func RemedyOf(f routes.Fight) string {
	switch {
	case f.By != "":
		return "stop it, or have it leave what is ours alone"
	case f.Key.Kind == routes.KindSetting || f.Key.Kind == routes.KindEndpoint: // of these no event tells
		return "find who sets it, in /etc/sysctl.d or among the network managers, and stop it"
	}
	return "find it with ip monitor or nft monitor, and stop it"
}

// fightChanges returns the fights that have begun, or are over.
func fightChanges(before, after []routes.Fight, now time.Time) []api.Event {
	var list []api.Event
	among := func(list []routes.Fight, f routes.Fight) bool {
		return slices.ContainsFunc(list, func(other routes.Fight) bool { return other.Key == f.Key })
	}
	for _, f := range after {
		if !among(before, f) {
			list = append(list, api.Event{
				Time: now, Kind: api.EventFight, To: f.Key.String(), Evidence: []string{RemedyOf(f)},
				Reason: fmt.Sprintf("%s has undone it %d times lately", cmp.Or(f.By, "another program"), f.Repairs),
			})
		}
	}
	for _, f := range before {
		if !among(after, f) {
			list = append(list, api.Event{
				Time: now, Kind: api.EventFight, From: f.Key.String(), Evidence: []string{},
				Reason: "it was left alone for a minute",
			})
		}
	}
	return list
}
