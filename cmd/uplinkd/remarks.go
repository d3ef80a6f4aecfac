package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"uplinkd/internal/plain"
	"uplinkd/uplink/api"
)

// remarks are the lines below the table: whatever is not as it should be.
func (s *statusTable) remarks(b *strings.Builder) {
	lines := s.statesRemarked()
	for _, u := range s.Uplinks {
		lines = append(lines, remarksOf(&u)...)
	}
	for _, u := range s.Uplinks {
		if u.DHCP != nil && u.DHCP.Conflict != nil {
			lines = append(lines,
				fmt.Sprintf("%s: another host, %s, claims %s too", u.Name, u.DHCP.Conflict.MAC, u.Address))
		}
	}
	for _, c := range s.Kernel.Conflicts {
		lines = append(lines, fmt.Sprintf("conflict: %s stands where %s belongs; %s", c.Have, c.Want, c.Remedy))
	}
	lines = append(lines, s.fights()...)
	if s.Kernel.LastError != "" {
		lines = append(lines, "kernel: "+s.Kernel.LastError)
	}
	for _, text := range s.Daemon.MeterErrors {
		lines = append(lines, "not known: "+text)
	}
	if s.Daemon.OrdersError != "" {
		lines = append(lines, "orders cannot be kept over a restart: "+s.Daemon.OrdersError)
	}
	if t := s.Daemon.Trial; t != nil {
		lines = append(lines, fmt.Sprintf("%s is on trial until %s, by %s: uplinkd confirm, or it goes back",
			t.File, t.Until.Local().Format(time.TimeOnly), t.By))
	}
	if s.Daemon.ConfigError != "" {
		lines = append(lines, "the configuration was not reloaded: "+s.Daemon.ConfigError)
	}
	if len(lines) > 0 {
		b.WriteString("\n")
		for _, line := range lines {
			b.WriteString(plain.Line(line, remarkMost) + "\n")
		}
	}
}

// statesRemarked says of what is not up why.
func (s *statusTable) statesRemarked() []string {
	var lines []string
	for _, u := range s.Uplinks {
		if u.State != api.Up {
			lines = append(lines, fmt.Sprintf("%s is %s: %s", u.Name, u.State, u.Reason))
		}
		if u.IPv6 != nil && u.Family != familyIPv6 && u.IPv6.State != api.Up {
			lines = append(lines, fmt.Sprintf("%s v6 is %s: %s", u.Name, u.IPv6.State, u.IPv6.Reason))
		}
	}
	return lines
}

// fights tells what another program undoes again and again.
func (s *statusTable) fights() []string {
	var lines []string
	for _, f := range s.Kernel.Fights {
		next := ""
		for _, p := range s.Kernel.Pending {
			if p.Object == f.Object && !p.NextTry.IsZero() {
				next = "; next put back at " + p.NextTry.Local().Format(time.TimeOnly)
			}
		}
		lines = append(lines, fmt.Sprintf("fight: %s has undone %s %d times%s: %s",
			cmp.Or(f.By, "another program"), f.Object, f.Repairs, next, f.Remedy))
	}
	return lines
}

// remarksOf tells what the operator, past falls or limits make of an uplink.
func remarksOf(u *api.Uplink) []string {
	var lines []string
	if o := u.Order; o != nil {
		text := fmt.Sprintf("%s: by %s since %s:", u.Name, o.By, o.Since.Local().Format(time.DateTime))
		if o.State != "" {
			text += " " + string(o.State) + untilText(o.Until)
		}
		if o.Weight > 0 {
			text += fmt.Sprintf(" weight %d%s", o.Weight, untilText(o.WeightUntil))
		}
		if o.Family != "" {
			text += ", " + o.Family + " alone"
		}
		lines = append(lines, text)
	}
	if u.Capped {
		lines = append(lines, fmt.Sprintf("%s has its %d connections: no new ones until %d are left",
			u.Name, u.MaxConnections, u.MaxConnections*9/10))
	}
	if u.ProbeStretched {
		lines = append(lines, fmt.Sprintf("%s is probed each %s, to keep to its budget",
			u.Name, time.Duration(u.ProbeInterval).Round(time.Millisecond)))
	}
	if u.Hold.Falls > 1 {
		lines = append(lines, fmt.Sprintf("%s has fallen %d times lately: after the next it is held down longer",
			u.Name, u.Hold.Falls))
	}
	return lines
}
