package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
	"uplinkd/uplink/preflight"
)

// Bounds on what counts as trouble.
const (
	diagnosesMost = 5
	fallsMany     = 3 // within fallsWithin
	fallsWithin   = time.Hour
	lossMuch      = 5.0 // percent
)

// symptoms are all that is known of a host.
type symptoms struct {
	check    checkAnswer
	status   *api.Snapshot // nil: no daemon answers
	silent   error         // why none does
	unseen   []string      // what could not be looked at, and why
	switches []api.Switch  // the last ones, oldest first
	ways     []explanation // of the usual destinations
	now      time.Time
}

// A diagnosis is one thing that is wrong, in plain words, and what to type next.
type diagnosis struct {
	Severity preflight.Severity `json:"severity"`
	What     string             `json:"what"`
	Because  []string           `json:"because"`
	Next     string             `json:"next"` // a command
}

// diagnose reads the symptoms together: the most urgent comes first, and what follows from another is not told
// twice. It is pure.
func diagnose(s *symptoms) []diagnosis {
	var list []diagnosis
	for _, look := range []func(*symptoms) []diagnosis{
		ofDaemon, ofConfiguration, ofOutages, ofMeddling, ofOrders, ofWays, ofQuality, ofHost,
	} {
		list = append(list, look(s)...)
	}
	slices.SortStableFunc(list, func(a, b diagnosis) int {
		rank := map[preflight.Severity]int{preflight.Problem: 0, preflight.Warning: 1}
		return cmp.Compare(rank[a.Severity], rank[b.Severity])
	})
	return list
}

func problem(what, next string, because ...string) diagnosis {
	return diagnosis{preflight.Problem, what, append([]string{}, because...), next}
}

func warning(what, next string, because ...string) diagnosis {
	return diagnosis{preflight.Warning, what, append([]string{}, because...), next}
}

func ofDaemon(s *symptoms) []diagnosis {
	if s.status != nil {
		return nil
	}
	switch {
	case errors.Is(s.silent, control.ErrNotRunning):
		return []diagnosis{problem("no daemon runs: nobody moves traffic when an uplink dies, and leases run out",
			"systemctl status uplinkd", s.silent.Error())}
	case errors.Is(s.silent, fs.ErrPermission) || os.IsPermission(s.silent):
		return []diagnosis{warning("the daemon was not asked", "sudo uplinkd doctor", s.silent.Error())}
	}
	return []diagnosis{problem("the daemon does not answer", "systemctl status uplinkd", s.silent.Error())}
}

func ofConfiguration(s *symptoms) (list []diagnosis) {
	if len(s.check.Errors) > 0 {
		list = append(list, problem("the configuration in the file has mistakes: a restart would fail",
			"uplinkd check",
			s.check.Errors...))
	}
	if s.status == nil {
		return list
	}
	if t := s.status.Daemon.Trial; t != nil {
		list = append(list,
			warning("a configuration is on trial, and goes back at "+t.Until.Local().Format(time.TimeOnly),
				s.confirming(), "applied by "+t.By))
	}
	if e := s.status.Daemon.ConfigError; e != "" && len(s.check.Errors) == 0 {
		list = append(list, problem("the configuration in force is not that of the file",
			"uplinkd check", e, "if that finds nothing: systemctl restart uplinkd"))
	}
	return list
}

// confirming returns what to type about a trial: not to keep what may have taken the uplinks down.
func (s *symptoms) confirming() string {
	if slices.ContainsFunc(s.status.Uplinks, func(u api.Uplink) bool { return s.isDown(u.Name) }) {
		return "uplinkd status"
	}
	return "uplinkd confirm"
}

// ofOutages tells of each path that is down or doubtful, and first of all when none works.
func ofOutages(s *symptoms) (list []diagnosis) {
	if s.status == nil {
		return nil
	}
	works := map[string]bool{}
	for i := range s.status.Uplinks {
		u := &s.status.Uplinks[i]
		for _, p := range u.Paths() { // one that is starting may work in a moment
			works[p.Family] = works[p.Family] || p.State.Works() || p.State == api.Starting
		}
	}
	for _, family := range slices.Sorted(maps.Keys(works)) {
		if !works[family] {
			list = append(list,
				problem("no uplink works in "+family+": what new connections do is last_resort's to say",
					"uplinkd status -v"))
		}
	}
	for i := range s.status.Uplinks {
		u := &s.status.Uplinks[i]
		for _, p := range u.Paths() {
			switch p.State {
			case api.Down:
				list = append(list, s.outage(u, &p))
			case api.Doubtful:
				list = append(list, warning(fmt.Sprintf("%s answers late (%s): it gets no new connections",
					u.Name, p.Family),
					"uplinkd status -v", p.Reason))
			case api.Starting, api.Up, api.Drained, api.Disabled:
			}
		}
	}
	return list
}

// outage tells of a path that is down, with what was known when it went, and what gets in its way on this host.
func (s *symptoms) outage(u *api.Uplink, p *api.Path) diagnosis {
	d := problem(fmt.Sprintf("%s is down (%s) since %s", u.Name, p.Family, p.Since.Local().Format(time.DateTime)),
		"uplinkd ping "+u.Name, p.Reason)
	for i := len(s.switches) - 1; i >= 0; i-- {
		w := &s.switches[i]
		if w.Uplink != u.Name || w.Family != p.Family || w.To != api.Down {
			continue
		}
		d.Because = append(d.Because, w.Evidence...)
		switch w.Cause {
		case api.CauseLink:
			d.Next = "ip link show " + u.Interface
		case api.CauseAddress:
			if d.Next = "ip address show dev " + u.Interface; p.DHCP != nil {
				d.Next = "uplinkd renew " + u.Name + " --family " + p.Family
			}
		case api.CauseProbes, api.CauseOrder:
		}
		break
	}
	for _, f := range s.check.Findings {
		if f.Uplink == u.Name && f.Severity == preflight.Problem {
			d.Because = append(d.Because, f.What+": "+f.Remedy)
		}
	}
	d.Because = unique(d.Because)
	return d
}

// unique leaves out what has been said.
func unique(list []string) (once []string) {
	for _, text := range list {
		if !slices.Contains(once, text) {
			once = append(once, text)
		}
	}
	return once
}

// ofMeddling tells of others that undo or overlay what is ours, and of what the kernel refuses.
func ofMeddling(s *symptoms) (list []diagnosis) {
	if s.status == nil {
		return nil
	}
	k := &s.status.Kernel
	for _, f := range k.Fights {
		by := cmp.Or(f.By, "another program")
		list = append(list, problem(fmt.Sprintf("%s undoes %s again and again", by, f.Object),
			"journalctl -u uplinkd -x",
			f.Remedy, fmt.Sprintf("put back %d times", f.Repairs)))
	}
	for _, c := range k.Conflicts {
		list = append(list, problem("traffic may go by a route that is not uplinkd's: "+c.Have,
			"ip route show table all", c.Remedy))
	}
	if k.LastError != "" && len(k.Fights) == 0 {
		list = append(list, problem("the kernel refuses a change", "uplinkd plan", k.LastError))
	}
	return list
}

// ofOrders tells of what somebody has ordered and may have forgotten.
func ofOrders(s *symptoms) (list []diagnosis) {
	if s.status == nil {
		return nil
	}
	for i := range s.status.Uplinks {
		u := &s.status.Uplinks[i]
		if o := u.Order; o != nil && o.State != api.AdminUp {
			list = append(list, warning(fmt.Sprintf("%s is %s by order", u.Name, o.State), "uplinkd enable "+u.Name,
				fmt.Sprintf("by %s since %s", o.By, o.Since.Local().Format(time.DateTime))))
		}
	}
	return list
}

// ofWays tells of usual destinations that are not reached by an uplink though one works.
func ofWays(s *symptoms) (list []diagnosis) {
	if s.status == nil {
		return nil
	}
	told := map[string]bool{}
	for _, w := range s.ways {
		family := "ipv4"
		if w.To.Is6() {
			family = familyIPv6
		}
		if told[family] {
			continue // the others have the same cause
		}
		able := slices.ContainsFunc(s.status.Uplinks, func(u api.Uplink) bool {
			return slices.ContainsFunc(u.Paths(), func(p api.Path) bool {
				return p.Family == family &&
					p.State == api.Up
			})
		})
		if able && w.Verdict != "uplink" {
			told[family] = true
			list = append(list, problem(fmt.Sprintf("what goes to %s does not leave by an uplink", w.To),
				"uplinkd explain "+w.To.String(), w.Why, w.Rule))
		}
	}
	return list
}

// ofQuality tells of what works, and badly.
func ofQuality(s *symptoms) (list []diagnosis) {
	if s.status == nil {
		return nil
	}
	for i := range s.status.Uplinks {
		u := &s.status.Uplinks[i]
		for _, p := range u.Paths() {
			falls := 0
			for _, w := range s.switches {
				if w.Uplink == u.Name && w.Family == p.Family && w.To == api.Down && s.now.Sub(w.At) < fallsWithin {
					falls++
				}
			}
			if falls >= fallsMany {
				list = append(list, warning(fmt.Sprintf("%s has gone down %d times within an hour (%s)",
					u.Name, falls, p.Family),
					s.calming(u, &p), "hold_down keeps it out longer each time"))
			}
			for _, t := range p.Probes {
				if p.State == api.Up && t.Loss > lossMuch {
					list = append(list, warning(fmt.Sprintf("%s loses %.0f%% of what goes to %s", u.Name,
						t.Loss, t.Target),
						"uplinkd ping "+u.Name, "max_loss in the configuration says from where on it is down"))
				}
			}
		}
	}
	for _, text := range s.status.Daemon.MeterErrors {
		list = append(list, warning("a figure cannot be measured", "uplinkd status -v", text))
	}
	return list
}

// calming returns what to type about a path that comes and goes: to drain it where another one works, and
// nobody has ordered anything of it.
func (s *symptoms) calming(u *api.Uplink, p *api.Path) string {
	other := slices.ContainsFunc(s.status.Uplinks, func(o api.Uplink) bool {
		return o.Name != u.Name && slices.ContainsFunc(o.Paths(), func(q api.Path) bool {
			return q.Family == p.Family && q.State == api.Up
		})
	})
	if other && u.Order == nil && p.State == api.Up {
		return "uplinkd drain " + u.Name + " --family " + p.Family
	}
	return "uplinkd ping " + u.Name
}

// ofHost tells what check has found, but of uplinks that are told of as down.
func ofHost(s *symptoms) (list []diagnosis) {
	for _, why := range s.unseen {
		list = append(list, warning("not all of this host was looked at", "sudo uplinkd doctor", why))
	}
	for _, f := range s.check.Findings {
		if f.Severity == preflight.Problem && s.isDown(f.Uplink) {
			continue
		}
		what := f.What
		if f.Uplink != "" {
			what = f.Uplink + ": " + what
		}
		list = append(list, diagnosis{f.Severity, what, []string{f.Remedy}, "uplinkd check"})
	}
	return list
}

func (s *symptoms) isDown(uplink string) bool {
	return s.status != nil && slices.ContainsFunc(s.status.Uplinks, func(u api.Uplink) bool {
		return u.Name == uplink && slices.ContainsFunc(u.Paths(),
			func(p api.Path) bool { return p.State == api.Down })
	})
}
