package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"uplinkd/internal/plain"
	"uplinkd/uplink/api"
)

// writeBlocks writes all that is known, a block for each uplink and family.
func (s *statusTable) writeBlocks(w io.Writer) error {
	var b strings.Builder
	s.header(&b)
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		s.block(&b, u.Name, u, u.DHCP)
		if second := secondFamily(u); second != nil {
			s.block(&b, u.Name+" v6", second, u.IPv6.DHCP)
		}
	}
	s.remarks(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// block writes an uplink in one family.
func (s *statusTable) block(b *strings.Builder, name string, u *api.Uplink, lease *api.DHCP) {
	fmt.Fprintf(b, "%s: %s for %s: %s\n",
		name, s.colored(u.State), age(u.Since, s.now), plain.Line(u.Reason, remarkMost))
	line := func(head, format string, args ...any) {
		fmt.Fprintf(b, "  %-10s %s\n", head, plain.Line(fmt.Sprintf(format, args...), remarkMost))
	}
	if u.Active {
		line("share", "%s of new connections: weight %d of configured %d, tier %d",
			s.share(u), u.EffectiveWeight, u.Weight, u.Tier)
	} else {
		line("share", "none of new connections: configured weight %d, tier %d", u.Weight, u.Tier)
	}
	line("address", "%s on %s, gateway %s", dash(u.Address), u.Interface, address(u.Gateway))
	if lease != nil {
		line("lease", "%s", s.leaseText(lease))
	}
	if u.Table != 0 { // of the uplink as a whole, and not of its second family
		line("traffic", "%s bit/s down, %s bit/s up; %s connections",
			rateOf(u.Counters.RxBPS), rateOf(u.Counters.TxBPS), s.connections(u))
		line("kernel", "table %d, fwmark %#x", u.Table, u.FwMark)
	}
	if u.Hold.Falls > 0 {
		line("falls", "%d lately%s", u.Hold.Falls, heldText(u.Hold))
	}
	if len(u.Probes) > 0 {
		b.WriteString(targetTable(u.Probes))
	}
	b.WriteString("\n")
}

func heldText(h api.Hold) string {
	if h.Until.IsZero() {
		return ""
	}
	return "; not up before " + h.Until.Local().Format(time.TimeOnly)
}

// leaseText says how it stands with a lease.
func (s *statusTable) leaseText(l *api.DHCP) string {
	text := l.State
	if l.Server.IsValid() {
		text += " by " + l.Server.String()
	}
	if !l.Renew.IsZero() {
		text += ", renewed at " + l.Renew.Local().Format(time.DateTime)
	}
	if !l.Expire.IsZero() {
		text += ", expires in " + age(s.now, l.Expire.Time)
	}
	return text
}

// targetTable returns what is known of each target, and what links are like.
func targetTable(probes []api.Probe) string {
	t := plainTable()
	t.AppendHeader(table.Row{
		"TARGET", "STATE", "RTT ms", "LOSS", "LATE AFTER ms", "DOWN AFTER", "SPREAD ms", "SURVIVED",
	})
	for _, p := range probes {
		row := table.Row{plain.Line(p.Target, targetMost), p.State}
		if p.Received > 0 {
			row = append(row, fmt.Sprintf("%.3g", p.RTT))
		} else {
			row = append(row, "-")
		}
		row = append(row, lossText(&p))
		if p.DownAfter == 0 {
			row = append(row, "-", "-", "-", "-")
		} else {
			row = append(row, fmt.Sprintf("%.3g", p.LateAfter), seconds(p.DownAfter), fmt.Sprintf("%.2g", p.Spread),
				seconds(p.Survived))
		}
		t.AppendRow(row)
	}
	var b strings.Builder
	for line := range strings.Lines(trimmed(t)) {
		b.WriteString("  " + line)
	}
	return b.String()
}
