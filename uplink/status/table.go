package status

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// WriteTable writes the snapshot as a person likes to read it. now is what ages
// are counted from.
func (s *Snapshot) WriteTable(w io.Writer, now time.Time) error {
	var b strings.Builder
	s.header(&b, now)
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.AppendHeader(table.Row{
		"UPLINK", "STATE", "FOR", "ROUTE", "TIER", "ADDRESS", "GATEWAY", "RTT", "LOSS", "DOWN/UP", "CONNS",
	})
	for i := range s.Uplinks {
		t.AppendRow(s.Uplinks[i].row(now))
	}
	for line := range strings.Lines(t.Render() + "\n") {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	s.remarks(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *Snapshot) header(b *strings.Builder, now time.Time) {
	up := 0
	for _, u := range s.Uplinks {
		if u.State == "up" {
			up++
		}
	}
	fmt.Fprintf(b, "%d of %d uplinks up, uplinkd %s running for %s\n",
		up, len(s.Uplinks), s.Daemon.Version, age(s.Daemon.Started, now))
	total := 0
	for _, hop := range s.DefaultRoute.NextHops {
		total += hop.Weight
	}
	ways := make([]string, len(s.DefaultRoute.NextHops))
	for i, hop := range s.DefaultRoute.NextHops {
		ways[i] = fmt.Sprintf("%s %.0f%%", hop.Uplink, 100*float64(hop.Weight)/float64(total))
	}
	if len(ways) == 0 {
		ways = []string{"none: no uplink carries new connections"}
	}
	fmt.Fprintf(b, "default route: %s\n\n", strings.Join(ways, ", "))
}

func (u *Uplink) row(now time.Time) table.Row {
	route := "-"
	if u.Active {
		route = fmt.Sprintf("weight %d", u.Weight)
	}
	rtt, loss := "-", "-"
	if len(u.Probes) > 0 {
		best := u.Probes[0]
		for _, p := range u.Probes[1:] {
			if p.Loss < best.Loss {
				best = p
			}
		}
		loss = fmt.Sprintf("%.0f%%", best.Loss)
		if best.Received > 0 {
			rtt = fmt.Sprintf("%.3g ms", best.RTT)
		}
	}
	return table.Row{
		u.Name, u.State, age(u.Since, now), route, u.Tier, dash(u.Address), address(u.Gateway), rtt, loss,
		rate(u.Counters.RxBPS) + "/" + rate(u.Counters.TxBPS), u.Counters.Connections,
	}
}

// remarks are the lines below the table: whatever is not as it should be.
func (s *Snapshot) remarks(b *strings.Builder) {
	var lines []string
	for _, u := range s.Uplinks {
		if u.State != "up" {
			lines = append(lines, fmt.Sprintf("%s is %s: %s", u.Name, u.State, u.Reason))
		}
	}
	for _, c := range s.Kernel.Conflicts {
		lines = append(lines, fmt.Sprintf("conflict: %s stands where %s belongs; %s", c.Have, c.Want, c.Remedy))
	}
	if s.Kernel.LastError != "" {
		lines = append(lines, "kernel: "+s.Kernel.LastError)
	}
	if s.Daemon.ConfigError != "" {
		lines = append(lines, "the configuration was not reloaded: "+s.Daemon.ConfigError)
	}
	if len(lines) > 0 {
		b.WriteString("\n" + strings.Join(lines, "\n") + "\n")
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
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
