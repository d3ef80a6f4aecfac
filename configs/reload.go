package configs

import (
	"errors"
	"fmt"
	"slices"
)

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
	fixed("control.metrics", running.Control.Metrics == next.Control.Metrics)
	fixed("control.web", running.Control.Web == next.Control.Web)
	fixed("control.group", running.Control.Group == next.Control.Group)
	return errors.Join(errs...)
}

// Files returns the files of prefixes that a configuration names.
func Files(c Config) []string {
	var list []string
	for _, p := range c.Policies {
		for _, m := range []Match{p.Match, p.Not} {
			list = append(append(list, m.From.Files...), m.To.Files...)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}
