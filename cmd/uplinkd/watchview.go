package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/jedib0t/go-pretty/v6/text"

	"uplinkd/internal/plain"
	"uplinkd/uplink/api"
	"uplinkd/uplink/board"
)

// View implements tea.Model.
func (m *watchModel) View() tea.View {
	v := tea.NewView(m.screen())
	v.AltScreen = true
	v.WindowTitle = "uplinkd watch"
	return v
}

// screen is what the terminal shows: what does not fit is left out, events first.
func (m *watchModel) screen() string {
	if m.last.at.IsZero() {
		if m.silent != nil {
			return cut("the daemon does not answer: "+plain.Line(m.silent.Error(), remarkMost), m.width)
		}
		return cut("asking the daemon", m.width)
	}
	s := &m.last.status
	lines := []string{m.headline(), m.bar("ipv4")}
	if s.DefaultRoute6 != nil {
		lines = append(lines, m.bar(familyIPv6))
	}
	lines = append(lines, "", m.heads())
	room := max(m.height-len(lines)-6, 2) // for the chosen one, some events and the keys
	rows, at := m.rows()
	first := max(min(at-room/2, len(rows)-room), 0)
	lines = append(lines, rows[first:min(first+room, len(rows))]...)
	lines = append(lines, "", m.verdicts(), m.reason())
	if left := m.height - len(lines) - 1; left > 0 {
		lines = append(lines, m.events(left)...)
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	lines = append(lines[:max(min(len(lines), m.height-1), 0)], m.footer())
	for i, line := range lines {
		lines[i] = cut(line, m.width)
	}
	return strings.Join(lines, "\n")
}

func (m *watchModel) headline() string {
	s := &m.last.status
	up, all := 0, 0
	for i := range s.Uplinks {
		for _, p := range s.Uplinks[i].Paths() {
			all++
			if p.State == api.Up {
				up++
			}
		}
	}
	line := fmt.Sprintf("%d of %d paths up   uplinkd %s   %s", up, all, s.Daemon.Version,
		m.last.at.Local().Format(time.TimeOnly))
	if m.silent != nil {
		line = "the daemon has not answered since " + m.last.at.Local().Format(time.TimeOnly) + ": " +
			plain.Line(m.silent.Error(), remarkMost)
	}
	return line
}

// fills are what a bar's parts are told apart by, where there are no colours too.
var fills = []string{"█", "▒", "▓", "░"}

// bar draws a default route.
func (m *watchModel) bar(family string) string {
	s := &m.last.status
	room := max(m.width/2-8, 8)
	line, names := "", ""
	for i := range s.Uplinks {
		part, known := s.Share(s.Uplinks[i].Name, family)
		if !known {
			continue
		}
		line += strings.Repeat(fills[i%len(fills)], max(int(part*float64(room)+0.5), 1))
		names += fmt.Sprintf(" %s %s %s", fills[i%len(fills)], s.Uplinks[i].Name, percent(part))
	}
	if line == "" {
		return family + "  by no uplink"
	}
	return family + "  " + line + names
}

// spark is how wide a curve is.
func (m *watchModel) spark() int { return min(max((m.width-50)/3, 4), 60) }

func (m *watchModel) heads() string {
	w := m.spark()
	return fmt.Sprintf("  %-12s %-8s %5s %-*s %-*s %-*s", "UPLINK", "STATE", "SHARE", w+8, "ROUND TRIP", w+5,
		"SILENCE", w+7, "DOWN BIT/S")
}

// rows are the paths, one a line, and which is the chosen one's first.
func (m *watchModel) rows() (rows []string, at int) {
	s := &m.last.status
	w := m.spark()
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		if i == m.chosen {
			at = len(rows)
		}
		for n, p := range u.Paths() {
			history := m.board.History(u.Name, p.Family, w, max(180/w, 1)) // of three minutes
			name, mark := u.Name, " "
			if n > 0 {
				name = "  v6"
			}
			if i == m.chosen {
				mark = ">"
			}
			share := "-"
			if part, known := s.Share(u.Name, p.Family); known && p.Active {
				share = percent(part)
			}
			rtt, silence := "-", "-"
			best := p.Best()
			if best.RTT > 0 {
				rtt = fmt.Sprintf("%.1fms", best.RTT)
			}
			if best.Silence > 0 {
				silence = fmt.Sprintf("%.1fs", time.Duration(best.Silence).Seconds())
			}
			rows = append(rows, fmt.Sprintf("%s %-12s %s %5s %7s %s %4s %s %6s %s", mark, cut(name, 12),
				m.state(p.State, 8), share,
				rtt, sparkline(history, func(p board.Point) float32 { return p.RTT }),
				silence, sparkline(history, func(p board.Point) float32 { return p.Silence }),
				rateOf(u.Counters.RxBPS), sparkline(history, func(p board.Point) float32 { return p.Rx })))
		}
	}
	return rows, at
}

// state writes a state, so wide, in its colour where there are colours.
func (m *watchModel) state(s api.OperState, width int) string {
	word := fmt.Sprintf("%-*s", width, s)
	colors := map[api.OperState]text.Color{api.Up: text.FgGreen, api.Doubtful: text.FgYellow, api.Down: text.FgRed}
	if color, ok := colors[s]; ok && m.color {
		return color.Sprint(word)
	}
	return word
}

// sparkline draws a figure; where it is not known there is a blank.
func sparkline(points []board.Point, of func(board.Point) float32) string {
	const steps = "▁▂▃▄▅▆▇█"
	most := float32(0)
	for _, p := range points {
		most = max(most, of(p))
	}
	var b strings.Builder
	for _, p := range points {
		v := of(p)
		if v < 0 {
			b.WriteByte(' ')
			continue
		}
		step := 0
		if most > 0 {
			step = min(int(v/most*8), 7)
		}
		b.WriteString(steps[3*step : 3*step+3])
	}
	return b.String()
}

// verdicts draws the last minutes of the chosen uplink: each state has a letter.
func (m *watchModel) verdicts() string {
	u := m.uplink()
	if u == nil {
		return ""
	}
	letters := map[api.OperState]string{
		"": " ", api.Up: "━", api.Doubtful: "?", api.Down: "x", api.Drained: "d", api.Disabled: "-", api.Starting: ".",
	}
	room := max(m.width-37, 8)
	var b strings.Builder
	for _, p := range m.board.History(u.Name, u.Family, room, max(600/room, 1)) {
		b.WriteString(letters[p.State])
	}
	return fmt.Sprintf("%-12s %s  ━ up ? doubtful x down", cut(u.Name, 12), b.String())
}

func (m *watchModel) uplink() *api.Uplink {
	if len(m.last.status.Uplinks) == 0 {
		return nil
	}
	return &m.last.status.Uplinks[m.chosen]
}

func (m *watchModel) reason() string {
	u := m.uplink()
	if u == nil {
		return ""
	}
	line := fmt.Sprintf("%s for %s: %s", u.State, age(u.Since, m.last.at), u.Reason)
	if after := downAfterOf(u); after != "-" {
		line += "; down after " + after
	}
	return plain.Line(line, remarkMost)
}

// events are the last ones, the newest at the end, each with its evidence.
func (m *watchModel) events(room int) []string {
	var lines []string
	for i := len(m.last.events) - 1; i >= 0 && len(lines) < room; i-- {
		var b strings.Builder
		_ = writeEvent(plain.NewWriter(&b), m.last.events[i], false) // into memory
		lines = append(strings.Split(strings.TrimRight(b.String(), "\n"), "\n"), lines...)
	}
	return lines[max(len(lines)-room, 0):]
}

func (m *watchModel) footer() string {
	if q := m.question(); q != "" {
		return q
	}
	keys := "↑↓ choose  d drain  e enable  w weight  r renew  q end"
	if m.told != "" {
		return plain.Line(m.told, remarkMost) + "   " + keys
	}
	return keys
}

// cut makes a line no wider than a terminal. Colours take no room.
func cut(line string, width int) string {
	if widest(line) <= width {
		return line
	}
	var b strings.Builder
	seen, escape := 0, false
	for i, r := range line {
		switch {
		case r == 0x1b:
			escape = true
		case escape:
			escape = r != 'm'
		case seen == width:
			if strings.Contains(line[:i], "\x1b[") {
				b.WriteString("\x1b[0m")
			}
			return b.String()
		default:
			seen++
		}
		b.WriteString(line[i : i+utf8.RuneLen(r)])
	}
	return b.String()
}
