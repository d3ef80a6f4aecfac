package uplink

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/status"
)

// Watched returns a Set that names all that might be wanted under a
// configuration, as far as that decides what has to be read.
func Watched(c configs.Config) routes.Set {
	s := newState(c, time.Time{})
	s.Read = true
	return Desired(s)
}

// Forecast returns what the kernel would be made to hold under a configuration,
// given what it holds. What the running daemon says of an uplink, if one runs,
// counts; an uplink it does not speak of is taken to be up when nothing visible
// stands in its way. It is pure.
func Forecast(c configs.Config, have routes.State, running *status.Snapshot) routes.Set {
	s := newState(c, have.At)
	s.observe(routes.Applied{State: have, Observed: Watched(c).Observe})
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		told := find(running, u.Config.Name)
		if told != nil {
			u.recall(told, s.owner(), have)
			continue
		}
		u.Phase = Up
		if o := u.obstacle(); o.why != "" && !o.passing {
			u.Phase = Down
		}
		if len(u.Addresses()) == 0 {
			u.Phase = Down
		}
	}
	s.Settled = !slices.ContainsFunc(s.Uplinks, func(u Uplink) bool { return u.Phase == Starting })
	return Desired(s)
}

func find(s *status.Snapshot, name string) *status.Uplink {
	if s == nil {
		return nil
	}
	for i := range s.Uplinks {
		if s.Uplinks[i].Name == name {
			return &s.Uplinks[i]
		}
	}
	return nil
}

// recall takes over what the daemon says of the uplink.
func (u *Uplink) recall(told *status.Uplink, owner routes.Owner, have routes.State) {
	u.Phase = Phase(told.State)
	if told.Order != nil {
		u.Order = *told.Order
	}
	if told.EffectiveWeight > 0 {
		u.Weight = told.EffectiveWeight
	}
	u.Capped = told.Capped
	if told.Active {
		u.Verdict = probe.Up // one that is only held down carries before those that are dead
	}
	u.Adopted.Carried = told.Active
	u.Raised = u.Link.Index // down beside a running daemon is somebody's will
	for _, rule := range have.Rules {
		if owner.OwnsRule(rule) && rule.From.IsValid() && rule.Table == u.Config.Table {
			u.Proved = 1 // it has been up once, on whatever index, and keeps its rules
		}
	}
	if u.Config.Address != configs.AddressDHCP || told.DHCP == nil || !told.DHCP.Server.IsValid() {
		return // without a lease the daemon goes by what it found in the kernel, and so do we
	}
	u.DHCP.State, u.DHCP.Confirmed = dhcp.Bound, true
	first, _, _ := strings.Cut(told.Address, " ")
	if prefix, err := netip.ParsePrefix(first); err == nil {
		u.DHCP.Lease = &dhcp.Lease{
			Prefix: prefix, Router: told.Gateway, Server: told.DHCP.Server, Expire: told.DHCP.Expire.Time,
			MTU: told.DHCP.MTU,
		}
	}
}

// KeepMarks gives the uplinks of a new configuration the marks that they have, where
// the file names none: the kernel's connections are marked with those. A new uplink
// gets one that none has had under the running configuration, if one is left.
func KeepMarks(running, next configs.Config) configs.Config {
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
	fresh := func(u configs.Uplink) bool { return u.Assigned && known[u.Interface] == 0 }
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
			u.FwMark = configs.FreeMark(next.Routes.FwMarkMask, free, u.FwMark)
			given[u.FwMark] = true
		}
	}
	return next
}

// CanReload returns an error for a new configuration that a running daemon
// cannot change to. The tag of what is ours must not change under our hands: what
// carries the old one would be left behind.
func CanReload(running, next configs.Config) error {
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
