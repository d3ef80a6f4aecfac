package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"uplinkd/internal/plain"
	"uplinkd/uplink/api"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// A statusTable is a snapshot as a person likes to read it.
type statusTable struct {
	*api.Snapshot
	now   time.Time // what ages are counted from
	width int       // of the terminal; 0: not known
	color bool      // states have colours; their words say the same
}

// A column is one of the table. Those with a rank are left out on a narrow
// terminal, the highest first.
type column struct {
	head string
	rank int
	cell func(s *statusTable, u *api.Uplink) any
	once bool // of the uplink as a whole, not of each family
}

// ranks is the highest rank of a column.
const ranks = 5

var columns = []column{
	{head: "UPLINK", cell: func(_ *statusTable, u *api.Uplink) any { return u.Name }},
	{head: "STATE", cell: func(s *statusTable, u *api.Uplink) any { return s.colored(u.State) }},
	{head: "FOR", cell: func(s *statusTable, u *api.Uplink) any { return age(u.Since, s.now) }},
	{head: "SHARE", cell: func(s *statusTable, u *api.Uplink) any { return s.share(u) }},
	{head: "CONNS", rank: 2, once: true, cell: func(s *statusTable, u *api.Uplink) any { return s.connections(u) }},
	{head: "TIER", rank: 4, cell: func(_ *statusTable, u *api.Uplink) any { return u.Tier }},
	{head: "ADDRESS", cell: func(_ *statusTable, u *api.Uplink) any { return dash(u.Address) }},
	{head: "GATEWAY", rank: 3, cell: func(_ *statusTable, u *api.Uplink) any { return address(u.Gateway) }},
	{head: "RTT", cell: func(_ *statusTable, u *api.Uplink) any { return rttOf(u) }},
	{head: "LOSS", cell: func(_ *statusTable, u *api.Uplink) any { return lossOf(u) }},
	{head: "DOWN AFTER", rank: 1, cell: func(_ *statusTable, u *api.Uplink) any { return downAfterOf(u) }},
	{head: "DOWN/UP", rank: ranks, once: true, cell: func(_ *statusTable, u *api.Uplink) any {
		return rateOf(u.Counters.RxBPS) + "/" + rateOf(u.Counters.TxBPS)
	}},
}

// write writes the snapshot as a person likes to read it. On a narrow terminal columns are left out.
func (s *statusTable) write(w io.Writer) error {
	var b strings.Builder
	s.header(&b)
	text := s.render(columns)
	for rank := ranks; rank > 0 && s.width > 0 && widest(text) > s.width; rank-- {
		text = s.render(slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return c.rank >= rank }))
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

// targetMost is how much of a target's name is shown in a table, in bytes.
const targetMost = 40

// plainTable is a table without lines.
func plainTable() table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Format.Header = text.FormatDefault // units keep their letters
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

func (s *statusTable) render(columns []column) string {
	t := plainTable()
	t.SetColumnConfigs([]table.ColumnConfig{
		{Name: "SHARE", Align: text.AlignRight, AlignHeader: text.AlignRight},
		{Name: "CONNS", Align: text.AlignRight, AlignHeader: text.AlignRight},
	})
	head := make(table.Row, len(columns))
	for i, c := range columns {
		head[i] = c.head
	}
	t.AppendHeader(head)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		row := make(table.Row, len(columns))
		for j, c := range columns {
			row[j] = c.cell(s, u)
		}
		t.AppendRow(row)
		if second := secondFamily(u); second != nil {
			row = make(table.Row, len(columns))
			for j, c := range columns {
				if row[j] = ""; !c.once {
					row[j] = c.cell(s, second)
				}
			}
			t.AppendRow(row)
		}
	}
	return trimmed(t)
}

// widest returns how many columns of a terminal a text takes.
func widest(lines string) int {
	most := 0
	for line := range strings.Lines(lines) {
		most = max(most, text.StringWidthWithoutEscSequences(strings.TrimRight(line, "\n")))
	}
	return most
}

func (s *statusTable) header(b *strings.Builder) {
	up := 0
	for _, u := range s.Uplinks {
		if u.State == api.Up {
			up++
		}
	}
	fmt.Fprintf(b, "%d of %d uplinks up, uplinkd %s running for %s\n",
		up, len(s.Uplinks), s.Daemon.Version, age(s.Daemon.Started, s.now))
	fmt.Fprintf(b, "default route: %s\n", s.folded(waysText(&s.DefaultRoute, "no uplink carries new connections")))
	if s.DefaultRoute6 != nil {
		ways := waysText(s.DefaultRoute6, "no uplink carries it, and it is unreachable")
		fmt.Fprintf(b, "of IPv6: %s\n", s.folded(ways))
	}
	for _, n := range s.LAN {
		fmt.Fprintf(b, "%s: %s\n", n.Interface, lanText(n))
	}
	s.dns(b)
	b.WriteString("\n")
}

// folded returns a line, broken where a narrow terminal would break it anywhere.
func (s *statusTable) folded(line string) string {
	if s.width == 0 {
		return line
	}
	wrapped := text.WrapSoft(line, max(s.width-len("default route: "), 20))
	return strings.ReplaceAll(wrapped, "\n", "\n  ")
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

// remarkMost is how long a remark can be, in bytes.
const remarkMost = 1000

// text tells when something ends, if it does.
func untilText(w api.When) string {
	if w.IsZero() {
		return ""
	}
	return " until " + w.Local().Format(time.DateTime)
}
