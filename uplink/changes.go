package uplink

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uplinkd/probe"
	"uplinkd/uplink/api"
)

// Changes returns what changed between two states, with the evidence. It is pure.
func Changes(before, after State, now time.Time) []api.Event {
	var list []api.Event
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		old := before.at(i, u.Config.Interface)
		if old == nil {
			continue
		}
		for p := range u.Present() {
			was := old.Paths[p.Family]
			if !old.Has(p.Family) {
				was = newPath(p.Family, was.Weight, now)
			}
			list = append(list, u.changes(old, &was, p, now)...)
		}
	}
	list = append(list, conflictChanges(before.told, after.told, now)...)
	list = append(list, fightChanges(before.Fights, after.Fights, now)...)
	list = append(list, usageChanges(&before, &after, now)...)
	list = append(list, dnsChanges(&before, &after, now)...)
	list = append(list, removals(&before, &after, now)...)
	// What was told before this process is not known: the first is told when all are judged.
	first := !before.Settled && after.Settled
	for f := range families {
		if !after.Has(f) || !first && (!before.Settled || sameRoute(&before, &after, f)) {
			continue
		}
		e := api.Event{
			Time: now, Family: f.String(), Kind: api.EventRoute, To: routeText(&after, f), Evidence: []string{},
		}
		if !first {
			e.From = routeText(&before, f)
		}
		list = append(list, e)
	}
	return list
}

// removals tells of each name that a new configuration no longer has, in one family or at all: to whoever
// follows it by that, the uplink is down.
func removals(before, after *State, now time.Time) []api.Event {
	var list []api.Event
	for i := range before.Uplinks {
		u := &before.Uplinks[i]
		for p := range u.Present() {
			if named := after.Named(u.Config.Name); named != nil && named.Has(p.Family) {
				continue
			}
			list = append(list, api.Event{
				Time: now, Uplink: u.Config.Name, Interface: u.Config.Interface, Family: p.Family.String(),
				Kind: api.EventState, From: string(p.OperState), To: string(api.Down),
				Reason: "no longer in the configuration", Evidence: []string{},
			})
		}
	}
	return list
}

// changes returns what changed of one path of an uplink.
func (u *Uplink) changes(old *Uplink, was, p *Path, now time.Time) []api.Event {
	var list []api.Event
	add := func(kind api.EventKind, from, to, reason string) {
		e := api.Event{
			Time: now, Uplink: u.Config.Name, Interface: u.Config.Interface, Family: p.Family.String(),
			Address: u.assignedText(p),
			Kind:    kind, From: from, To: to, Reason: reason, Evidence: u.facts(p),
		}
		if l := p.Report.Lease; l != nil {
			e.DNS, e.Domain = l.DNS, l.Domain
		}
		list = append(list, e)
	}
	if old.Admin != u.Admin && p == u.First() {
		add(api.EventOrder, old.Admin.text(), u.Admin.text(), adminReason(old.Admin, u.Admin))
	}
	if from, to := was.Report.prefix(), p.Report.prefix(); from != to || !was.Report.sameDNS(&p.Report) {
		add(api.EventLease, prefixText(from), prefixText(to), p.Report.Reason)
	}
	if from, to := was.delegatedText(), p.delegatedText(); from != to {
		add(api.EventPrefix, from, to, p.Report.Reason)
	}
	if old.Device.Read && !sameAssigned(old, was, u, p) {
		if from, to := old.assignedText(was), u.assignedText(p); from != to {
			add(api.EventAddress, from, to, "")
		}
	}
	if was.OperState != p.OperState {
		add(api.EventState, string(was.OperState), string(p.OperState), p.Reason)
		list[len(list)-1].Switch = p.Switch
	}
	return list
}

// facts are what is known of a path, in words.
func (u *Uplink) facts(p *Path) []string {
	list := []string{}
	if o := u.obstacle(p); o.reason != "" {
		list = append(list, o.reason)
	}
	speaks := false
	for n, e := range u.Evidence(p) {
		speaks = speaks || e.Doubtful || e.Verdict == probe.Down
		text := fmt.Sprintf("%s: %s", u.In(p.Family).Probe.Targets[n], e.Verdict)
		if e.Reason != "" {
			text += ", " + e.Reason
		}
		if e.Misses > 0 {
			text += fmt.Sprintf(", %d missed in a row", e.Misses)
			if !e.FirstMiss.IsZero() {
				text += " since " + e.FirstMiss.Format(api.Clock)
			}
		}
		if e.Err != "" {
			text += ", " + e.Err
		}
		if e.LastRTT > 0 {
			text += fmt.Sprintf(", last round trip %s", e.LastRTT.Round(time.Microsecond))
		}
		list = append(list, text)
	}
	if text := p.Unheard.text(u.Config.Interface); text != "" && speaks {
		list = append(list, text)
	}
	return list
}

func (a *Admin) text() string {
	text := a.orderText()
	if a.Family != "" && text != "" {
		text += ", " + a.Family + " alone"
	}
	return text
}

func (a *Admin) orderText() string {
	switch {
	case a.State != api.AdminUp && a.Weight > 0:
		return fmt.Sprintf("%s, weight %d", a.State, a.Weight)
	case a.Weight > 0:
		return fmt.Sprintf("weight %d", a.Weight)
	}
	return string(a.State)
}

func adminReason(before, after Admin) string {
	if after == (Admin{}) {
		if !before.Until.IsZero() || !before.WeightUntil.IsZero() {
			return "taken back, or its time is up"
		}
		return "taken back"
	}
	return "by " + after.By
}

// sameAssigned reports whether a path has the same addresses as before, without
// making a text of them.
func sameAssigned(old *Uplink, was *Path, u *Uplink, p *Path) bool {
	return slices.Equal(was.Assigned, p.Assigned) && slices.Equal(old.Addresses(was), u.Addresses(p))
}

// assignedText returns the addresses of the path that its interface has.
func (u *Uplink) assignedText(p *Path) string {
	var list []string
	for _, a := range u.Addresses(p) {
		if slices.Contains(p.Assigned, a) {
			list = append(list, a.String())
		}
	}
	return strings.Join(list, " ")
}

// sameDNS reports whether two leases name the same DNS servers and domain. The lease
// itself may be no other.
func (r *LeaseReport) sameDNS(other *LeaseReport) bool {
	if r.Lease == nil || other.Lease == nil {
		return true // it is the lease that has changed, if anything
	}
	return slices.Equal(r.Lease.DNS, other.Lease.DNS) && r.Lease.Domain == other.Lease.Domain
}

// prefix returns the address of the lease; not valid: there is none.
func (r *LeaseReport) prefix() netip.Prefix {
	if r.Lease == nil {
		return netip.Prefix{}
	}
	return r.Lease.Prefix
}

// delegatedText names the prefixes that the path has for the LAN.
func (p *Path) delegatedText() string {
	if p.Report.Lease == nil {
		return ""
	}
	list := make([]string, len(p.Report.Lease.Delegated))
	for i, d := range p.Report.Lease.Delegated {
		list[i] = d.Prefix.String()
	}
	return strings.Join(list, " ")
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// sameRoute reports whether the same uplinks carry, with the same weights.
func sameRoute(a, b *State, f Family) bool {
	from, to := a.carriers(f), b.carriers(f)
	return slices.EqualFunc(from, to, func(i, j int) bool {
		u, v := &a.Uplinks[i], &b.Uplinks[j]
		return u.Config.Name == v.Config.Name && u.Paths[f].Weight == v.Paths[f].Weight
	})
}

// routeText says who carries new connections, and with what weight.
func routeText(s *State, f Family) string {
	var ways []string
	for _, i := range s.carriers(f) {
		u := &s.Uplinks[i]
		ways = append(ways, fmt.Sprintf("%s %d", u.Config.Name, u.Paths[f].Weight))
	}
	return strings.Join(ways, ", ")
}
