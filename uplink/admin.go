package uplink

import (
	"errors"
	"fmt"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// Admin is what the operator wants of an uplink until further notice. Its zero
// value is nothing. State and weight are two orders, each with an end of its own.
type Admin struct {
	State       api.AdminState
	Until       time.Time // of State; zero: until it is taken back
	Weight      int       // 0: the configured one
	WeightUntil time.Time
	Family      string // ipv4 | ipv6: for that alone; "": for both
	By          string // who gave the last order
	Since       time.Time
}

// AutoDisable is who disables an uplink that has auto_disable.
const AutoDisable = "auto_disable"

// applyCommand returns what the operator wants after a command.
func applyCommand(before Admin, c api.Command, now time.Time) Admin {
	if !standing(c.Action) {
		return before
	}
	after := before
	after.Family = familyAfter(before, c)
	if takesBack(c) && c.Family != "" && after.Family != c.Family {
		return after // what stands is of the other family
	}
	until := time.Time{}
	if c.For > 0 {
		until = now.Add(c.For)
	}
	switch c.Action {
	case api.Weight:
		after.Weight, after.WeightUntil = c.Weight, until
	case api.Disable:
		after.State, after.Until = api.AdminDisabled, until
	case api.Drain:
		after.State, after.Until = api.AdminDrained, until
	case api.Enable:
		after.State, after.Until = api.AdminUp, time.Time{}
	case api.Renew, api.Drill, api.SetQuota:
	}
	after.By, after.Since = c.By, now
	return after.tidy()
}

// standing reports whether an action is an order that stands until it is taken back.
func standing(a api.Action) bool { return a != api.Renew && a != api.Drill && a != api.SetQuota }

// takesBack reports whether a command takes an order back.
func takesBack(c api.Command) bool {
	return c.Action == api.Enable || c.Action == api.Weight && c.Weight == 0
}

// familyAfter returns the families that the orders are about after a command.
func familyAfter(before Admin, c api.Command) string {
	other := map[string]string{IPv4.String(): IPv6.String(), IPv6.String(): IPv4.String()}
	switch {
	case before == (Admin{}):
		return c.Family
	case takesBack(c) && c.Family != "" && before.Family == "":
		return other[c.Family] // one family of what was out as a whole
	case takesBack(c):
		return before.Family
	case before.Family != "" && c.Family == other[before.Family]:
		return "" // the same of both: see clashes
	}
	return c.Family
}

// clashes reports whether a command is about other families than the orders in force, and would change what
// those say of a family that it does not name.
func (a Admin) clashes(c api.Command) bool {
	if a == (Admin{}) || a.Family == c.Family || !standing(c.Action) {
		return false
	}
	// What the command is not about, and would come to be of its families.
	other := a.Weight != 0
	if c.Action == api.Weight {
		other = a.State != api.AdminUp
	}
	narrower := c.Family != "" && a.Family == ""
	switch {
	case takesBack(c):
		return narrower && other
	case c.Family == "":
		return other
	}
	return other || narrower || !a.same(c)
}

// same reports whether a command orders what is in force.
func (a Admin) same(c api.Command) bool {
	switch c.Action {
	case api.Disable:
		return a.State == api.AdminDisabled
	case api.Drain:
		return a.State == api.AdminDrained
	case api.Weight:
		return a.Weight == c.Weight
	case api.Enable, api.Renew, api.Drill, api.SetQuota:
	}
	return false
}

// tidy takes away what no longer says anything.
func (a Admin) tidy() Admin {
	if a.State == api.AdminUp {
		a.Until = time.Time{}
	}
	if a.Weight == 0 {
		a.WeightUntil = time.Time{}
	}
	if a.State == api.AdminUp && a.Weight == 0 {
		return Admin{}
	}
	return a
}

// expire ends the orders whose time is up.
func (a *Admin) expire(now time.Time) {
	over := func(until time.Time) bool { return !until.IsZero() && !now.Before(until) }
	if over(a.Until) {
		a.State = api.AdminUp
	}
	if over(a.WeightUntil) {
		a.Weight = 0
	}
	*a = a.tidy()
}

// AdminIn returns what the operator wants of the uplink in a family.
func (u *Uplink) AdminIn(f Family) Admin {
	if u.Admin.Family != "" && u.Admin.Family != f.String() {
		return Admin{}
	}
	return u.Admin
}

// DisabledIn reports whether the uplink is out by order in a family.
func (u *Uplink) DisabledIn(f Family) bool { return u.AdminIn(f).State == api.AdminDisabled }

// Disabled reports whether the uplink is out by order in every family that it has.
func (u *Uplink) Disabled() bool {
	for p := range u.Present() {
		if !u.DisabledIn(p.Family) {
			return false
		}
	}
	return true
}

// admins returns what the operator wants, by name; nil: nothing.
func (s *State) admins() map[string]Admin {
	var all map[string]Admin
	for i := range s.Uplinks {
		if u := &s.Uplinks[i]; u.Admin != (Admin{}) {
			if all == nil {
				all = map[string]Admin{}
			}
			all[u.Config.Name] = u.Admin
		}
	}
	return all
}

// AutoDisabled returns the commands that follow from falls of uplinks that are to
// stay out after one, in the family that fell, as long as another is up there. It is pure.
func AutoDisabled(before, after State) []Commanded {
	var list []Commanded
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		old := before.at(i, u.Config.Interface)
		if !u.Config.AutoDisable || old == nil {
			continue
		}
		for p := range u.Present() {
			was := old.Paths[p.Family].OperState
			fell := (was == api.Up || was == api.Doubtful) && p.OperState == api.Down && old.Has(p.Family)
			// The last one is not taken out: who would enable it could not get in.
			if !fell || u.DisabledIn(p.Family) || !after.AnyUp(p.Family, u.Config.Name) {
				continue
			}
			c := u.scoped(api.Command{Action: api.Disable, Family: p.Family.String(), By: AutoDisable})
			if u.Admin.clashes(c) {
				c.Family = "" // as a whole rather than not at all
			}
			list = append(list, Commanded{u.Config.Name, c})
		}
	}
	return list
}

// ErrNoUplink is why a command for an uplink that is not configured is refused.
var ErrNoUplink = errors.New("no such uplink")

// Refuse returns why a command cannot be carried out, nil when it can. It is pure.
func (s *State) Refuse(c Commanded) error {
	u := s.Named(c.Uplink)
	switch {
	case u == nil:
		return fmt.Errorf("%w: %q: see uplinkd status", ErrNoUplink, c.Uplink)
	case c.Action == api.SetQuota && u.Config.Quota.Bytes == 0:
		return fmt.Errorf("uplink %s has no quota: give it one in the configuration", c.Uplink)
	case c.Family != "" && !u.hasFamily(c.Family):
		return fmt.Errorf("uplink %s has no %s", c.Uplink, c.Family)
	case u.Admin.clashes(u.scoped(c.Command)):
		of := u.Admin.Family
		if of == "" {
			of = "both families"
		}
		return fmt.Errorf("an order about %[1]s of uplink %[2]s is in force (%[3]s) and would come to be about "+
			"another: take it back first: uplinkd enable %[2]s, uplinkd weight %[2]s default",
			of, c.Uplink, u.Admin.text())
	case c.Action == api.Renew && u.Config.Address != configs.AddressDHCP &&
		u.Config.IPv6.Address != configs.AddressAuto:
		return fmt.Errorf("uplink %s has no lease to renew: its address is %s",
			c.Uplink, u.In(u.First().Family).Address)
	}
	return nil
}

// scoped returns a command about one family as one about all, where the uplink has but that one.
func (u *Uplink) scoped(c api.Command) api.Command {
	if !u.Has(IPv4) || !u.Has(IPv6) {
		c.Family = ""
	}
	return c
}

// hasFamily reports whether the uplink has a family of that name.
func (u *Uplink) hasFamily(name string) bool {
	for p := range u.Present() {
		if p.Family.String() == name {
			return true
		}
	}
	return false
}
