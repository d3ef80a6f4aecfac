package main

import (
	"cmp"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uplinkd/internal/plain"
	"uplinkd/uplink/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// A statusTable is a snapshot as a person likes to read it.
type statusTable struct{ *api.Snapshot }

// A column is one of the table. Those with a rank are left out on a narrow
// terminal, the highest first.
type column struct {
	head string
	rank int
	cell func(u *api.Uplink, now time.Time) any
	once bool // of the uplink as a whole, not of each family
}

var columns = []column{
	{head: "UPLINK", cell: func(u *api.Uplink, _ time.Time) any { return u.Name }},
	{head: "STATE", cell: func(u *api.Uplink, _ time.Time) any { return u.State }},
	{head: "FOR", cell: func(u *api.Uplink, now time.Time) any { return age(u.Since, now) }},
	{head: "ROUTE", cell: func(u *api.Uplink, _ time.Time) any { return routeOf(u) }},
	{head: "TIER", rank: 2, cell: func(u *api.Uplink, _ time.Time) any { return u.Tier }},
	{head: "ADDRESS", cell: func(u *api.Uplink, _ time.Time) any { return dash(u.Address) }},
	{head: "GATEWAY", rank: 1, cell: func(u *api.Uplink, _ time.Time) any { return address(u.Gateway) }},
	{head: "RTT", cell: func(u *api.Uplink, _ time.Time) any { return rttOf(u) }},
	{head: "LOSS", cell: func(u *api.Uplink, _ time.Time) any { return lossOf(u) }},
	{head: "DOWN/UP", rank: 3, once: true, cell: func(u *api.Uplink, _ time.Time) any {
		return rateOf(u.Counters.RxBPS) + "/" + rateOf(u.Counters.TxBPS)
	}},
	{head: "CONNS", rank: 4, once: true, cell: func(u *api.Uplink, _ time.Time) any { return u.Counters.Connections }},
}

// write writes the snapshot as a person likes to read it. now is what ages
// are counted from. width is that of the terminal, 0 when it is not known; on a
// narrow one columns are left out.
func (s *statusTable) write(w io.Writer, now time.Time, width int) error {
	var b strings.Builder
	s.header(&b, now)
	text := s.render(columns, now)
	for rank := 4; rank > 0 && width > 0 && widest(text) > width; rank-- {
		text = s.render(slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return c.rank >= rank }), now)
	}
	b.WriteString(text)
	s.remarks(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// writePolicies writes the policies as a person likes to read them.
func (s *statusTable) writePolicies(w io.Writer) error {
	if len(s.Policies) == 0 {
		_, err := fmt.Fprintln(w, "no policies: new connections go by weight")
		return err
	}
	t := plainTable()
	t.AppendHeader(table.Row{"POLICY", "LEADS TO", "CONNECTIONS", "BYTES"})
	for _, p := range s.Policies {
		t.AppendRow(table.Row{p.Name, p.Leads, p.Packets, p.Bytes})
	}
	_, err := io.WriteString(w, trimmed(t))
	return err
}

// writeTargets writes what is known of each target, and what links are like.
func (s *statusTable) writeTargets(w io.Writer) error {
	t := plainTable()
	t.AppendHeader(table.Row{
		"UPLINK", "TARGET", "STATE", "RTT ms", "LOSS", "LATE AFTER ms", "DOWN AFTER", "SPREAD ms", "SURVIVED",
	})
	for _, u := range s.Uplinks {
		probes := u.Probes
		if second := secondFamily(&u); second != nil {
			probes = slices.Concat(probes, second.Probes)
		}
		for _, p := range probes {
			row := table.Row{
				u.Name, plain.Line(p.Target, targetMost), p.State, fmt.Sprintf("%.3g", p.RTT),
				fmt.Sprintf("%.0f%%", p.Loss),
			}
			if p.DownAfter == 0 {
				row = append(row, "-", "-", "-", "-")
			} else {
				row = append(row, fmt.Sprintf("%.3g", p.LateAfter), seconds(p.DownAfter), fmt.Sprintf("%.2g", p.Spread),
					seconds(p.Survived))
			}
			t.AppendRow(row)
		}
	}
	_, err := io.WriteString(w, "\n"+trimmed(t))
	return err
}

// targetMost is how much of a target's name is shown in a table, in bytes.
const targetMost = 40

// plainTable is a table without lines.
func plainTable() table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	return t
}

// trimmed renders a table without spaces at the ends of lines.
func trimmed(t table.Writer) string {
	var b strings.Builder
	for line := range strings.Lines(t.Render() + "\n") {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

func (s *statusTable) render(columns []column, now time.Time) string {
	t := plainTable()
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "CONNS", Align: text.AlignRight, AlignHeader: text.AlignRight}})
	head := make(table.Row, len(columns))
	for i, c := range columns {
		head[i] = c.head
	}
	t.AppendHeader(head)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		row := make(table.Row, len(columns))
		for j, c := range columns {
			row[j] = c.cell(u, now)
		}
		t.AppendRow(row)
		if second := secondFamily(u); second != nil {
			row = make(table.Row, len(columns))
			for j, c := range columns {
				if row[j] = ""; !c.once {
					row[j] = c.cell(second, now)
				}
			}
			t.AppendRow(row)
		}
	}
	return trimmed(t)
}

func widest(text string) int {
	most := 0
	for line := range strings.Lines(text) {
		most = max(most, len(line)-1)
	}
	return most
}

func (s *statusTable) header(b *strings.Builder, now time.Time) {
	up := 0
	for _, u := range s.Uplinks {
		if u.State == api.Up {
			up++
		}
	}
	fmt.Fprintf(b, "%d of %d uplinks up, uplinkd %s running for %s\n",
		up, len(s.Uplinks), s.Daemon.Version, age(s.Daemon.Started, now))
	fmt.Fprintf(b, "default route: %s\n", waysText(&s.DefaultRoute, "no uplink carries new connections"))
	if s.DefaultRoute6 != nil {
		fmt.Fprintf(b, "of IPv6: %s\n", waysText(s.DefaultRoute6, "no uplink carries it, and it is unreachable"))
	}
	for _, n := range s.LAN {
		fmt.Fprintf(b, "%s: %s\n", n.Interface, lanText(n))
	}
	s.dns(b)
	b.WriteString("\n")
}

// waysText says what part of new connections each uplink carries.
func waysText(d *api.DefaultRoute, none string) string {
	total := 0
	for _, hop := range d.NextHops {
		total += hop.Weight
	}
	ways := make([]string, len(d.NextHops))
	for i, hop := range d.NextHops {
		ways[i] = fmt.Sprintf("%s %.0f%%", hop.Uplink, 100*float64(hop.Weight)/float64(total))
	}
	if len(ways) == 0 {
		return "none: " + none
	}
	return strings.Join(ways, ", ")
}

// dns tells which servers the host is to ask, where that is ours to say.
func (s *statusTable) dns(b *strings.Builder) {
	if s.DNS.Mode == "none" || s.DNS.Mode == "" {
		return
	}
	servers := make([]string, len(s.DNS.Servers))
	for i, server := range s.DNS.Servers {
		servers[i] = fmt.Sprintf("%s by %s", server.Address, server.Uplink)
	}
	if len(servers) == 0 {
		servers = []string{"no server is known"}
	}
	fmt.Fprintf(b, "dns, %s: %s\n", s.DNS.Mode, strings.Join(servers, ", "))
	if s.DNS.Error != "" {
		fmt.Fprintf(b, "dns error: %s\n", plain.Line(s.DNS.Error, dnsErrorMost))
	}
}

// dnsErrorMost is how much of an error is shown, in bytes.
const dnsErrorMost = 500

func routeOf(u *api.Uplink) string {
	if !u.Active {
		return "-"
	}
	return fmt.Sprintf("weight %d", u.EffectiveWeight)
}

// best returns the probe that loses least.
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
		return fmt.Sprintf("%.0f%%", p.Loss)
	}
	return "-"
}

// remarkMost is how long a remark can be, in bytes.
const remarkMost = 1000

// text tells when something ends, if it does.
func untilText(w api.When) string {
	if w.IsZero() {
		return ""
	}
	return " until " + w.Local().Format(time.DateTime)
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
