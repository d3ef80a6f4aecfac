package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"uplinkd/uplink/api"
)

// share returns which part of new connections an uplink is to carry in its family, by the default route.
func (s *statusTable) share(u *api.Uplink) string {
	part, known := s.Share(u.Name, u.Family)
	if !u.Active || !known {
		return "-" // not at all, by policies alone, or not yet
	}
	return percent(part)
}

// connections returns how many connections an uplink has, and which part of those of all.
func (s *statusTable) connections(u *api.Uplink) string {
	own := u.Counters.Connections
	part, known := s.ConnectionShare(u)
	if !known {
		return own.String()
	}
	return fmt.Sprintf("%d (%s)", own.N, percent(part))
}

func percent(part float64) string { return fmt.Sprintf("%.0f%%", 100*part) }

// colored returns the word for a state, in the colour of it where there are colours.
func (s *statusTable) colored(state api.OperState) string {
	if !s.color {
		return string(state)
	}
	colors := map[api.OperState]text.Color{api.Up: text.FgGreen, api.Doubtful: text.FgYellow, api.Down: text.FgRed}
	color, ok := colors[state]
	if !ok {
		color = text.Faint // disabled, drained, starting
	}
	return color.Sprint(string(state))
}

// bestOf returns the probe that loses least.
func bestOf(u *api.Uplink) *api.Probe {
	if len(u.Probes) == 0 {
		return nil
	}
	return slices.MinFunc(pointers(u.Probes), func(a, b *api.Probe) int { return cmp.Compare(a.Loss, b.Loss) })
}

func pointers(probes []api.Probe) []*api.Probe {
	list := make([]*api.Probe, len(probes))
	for i := range probes {
		list[i] = &probes[i]
	}
	return list
}

func rttOf(u *api.Uplink) string {
	if p := bestOf(u); p != nil && p.Received > 0 {
		return fmt.Sprintf("%.3g ms", p.RTT)
	}
	return "-"
}

func lossOf(u *api.Uplink) string {
	if p := bestOf(u); p != nil {
		return lossText(p)
	}
	return "-"
}

// lossText tells which part of what was asked was not answered; "-": nothing was asked.
func lossText(p *api.Probe) string {
	if p.Sent == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f%%", p.Loss)
}

// downAfterOf returns how long a silence is that means down, as it was learned; "-": not yet, or it is
// a fixed number of misses.
func downAfterOf(u *api.Uplink) string {
	if p := bestOf(u); p != nil && p.DownAfter > 0 {
		return seconds(p.DownAfter)
	}
	return "-"
}

func address(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

// age tells a time gone by in its largest unit or two.
func age(from, now time.Time) string {
	d := max(now.Sub(from), 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

// rateOf tells bits a second, or that they are not known.
func rateOf(bps api.Figure[uint64]) string {
	if !bps.Known {
		return bps.String()
	}
	return rate(bps.N)
}

// rate tells bits a second with three digits at most.
func rate(bps uint64) string {
	value, unit := float64(bps), 0
	for value >= 999.5 && unit < 4 {
		value /= 1000
		unit++
	}
	if unit == 0 || value >= 99.5 {
		return fmt.Sprintf("%.0f%s", value, [...]string{"", "k", "M", "G", "T"}[unit])
	}
	return fmt.Sprintf("%.1f%s", value, [...]string{"", "k", "M", "G", "T"}[unit])
}
