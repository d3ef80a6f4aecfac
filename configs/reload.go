package configs

import (
	"errors"
	"fmt"
	"slices"
)

// KeepMarks gives the uplinks of a new configuration the marks that they have, where
// the file names none: the kernel's connections are marked with those. A new uplink
// gets one that none has had under the running configuration, if one is left.
func KeepMarks(running, next Config) Config {
	asGiven := next
	next.Uplinks = slices.Clone(next.Uplinks)
	if running.Routes.FwMarkMask != next.Routes.FwMarkMask {
		return next
	}
	known := map[string]uint32{}
	taken := map[uint32]bool{}
	for _, u := range running.Uplinks {
		known[u.Interface], taken[u.FwMark] = u.FwMark, true
	}
	given := map[uint32]bool{}
	fresh := func(u Uplink) bool { return u.Assigned && known[u.Interface] == 0 }
	for i := range next.Uplinks {
		u := &next.Uplinks[i]
		if fresh(*u) {
			continue
		}
		if u.Assigned {
			u.FwMark = known[u.Interface]
		}
		if given[u.FwMark] {
			return asGiven // a mark that the file gives is another's
		}
		given[u.FwMark] = true
	}
	free := func(m uint32) bool { return !taken[m] && !given[m] }
	for i := range next.Uplinks {
		if u := &next.Uplinks[i]; fresh(*u) {
			u.FwMark = FreeMark(next.Routes.FwMarkMask, free, u.FwMark)
			given[u.FwMark] = true
		}
	}
	return next
}

// CanReload returns an error for a new configuration that a running daemon
// cannot change to. The tag of what is ours must not change under our hands: what
// carries the old one would be left behind.
func CanReload(running, next Config) error {
	var errs []error
	fixed := func(key string, same bool) {
		if !same {
			errs = append(errs, fmt.Errorf("%s has changed: this takes effect only after "+
				"`uplinkd cleanup` with the old configuration and a restart", key))
		}
	}
	fixed("routes.protocol", running.Routes.Protocol == next.Routes.Protocol)
	fixed("routes.rule_priority", running.Routes.RulePriority == next.Routes.RulePriority)
	fixed("state_dir", running.StateDir == next.StateDir)
	fixed("control.socket", running.Control.Socket == next.Control.Socket)
	return errors.Join(errs...)
}

// Files returns the files of prefixes that a configuration names.
func Files(c Config) []string {
	var list []string
	for _, p := range c.Policies {
		list = append(append(list, p.From.Files...), p.To.Files...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
