package replay

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// Sizes of a plot, in pixels of its own.
const (
	plotWidth, plotHeight = 1000, 300
	plotLeft, plotBottom  = 60, 30
	plotPoints            = 2000 // at the most: more cannot be told apart
)

// Plot writes an SVG of a trace under a configuration of one uplink (Subject), the rule
// by its name below it: round trips on a logarithmic scale, what was lost, and when the
// link was doubtful or down.
func Plot(w io.Writer, c configs.Config, t *Trace) error {
	r := ours{config: c}
	spans := r.judge(t)
	whole := time.Duration(t.Hours() * float64(time.Hour))
	out := bufio.NewWriter(w)
	p := plot{out: out, whole: whole}
	p.printf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" `+
		`font-family="sans-serif" font-size="11">`+"\n",
		plotWidth, plotHeight+plotBottom+20)
	p.printf(`<rect width="%d" height="%d" fill="white"/>`+"\n", plotWidth, plotHeight+plotBottom+20)
	offset := time.Duration(0)
	for n, s := range t.Sessions {
		p.bands(spans[n], offset)
		offset += s.length()
	}
	p.axes()
	offset = 0
	for _, s := range t.Sessions {
		p.points(s, offset)
		offset += s.length()
	}
	p.printf(`<text x="%d" y="%d">%s: round trip (line), lost (red ticks), doubtful (yellow), down (red)</text>`+"\n",
		plotLeft, plotHeight+plotBottom+12, strings.Map(noMarkup, t.Name))
	p.printf("</svg>\n")
	return out.Flush()
}

// noMarkup leaves out what is markup in SVG.
func noMarkup(c rune) rune {
	if strings.ContainsRune("<>&", c) || c < ' ' {
		return -1
	}
	return c
}

type plot struct {
	out   *bufio.Writer
	whole time.Duration
}

// printf writes to the buffer; Flush tells its first error.
func (p *plot) printf(format string, args ...any) { _, _ = fmt.Fprintf(p.out, format, args...) }

func (p *plot) x(at time.Duration) float64 {
	return plotLeft + (plotWidth-plotLeft-10)*float64(at)/float64(p.whole)
}

// y is logarithmic, from 1 ms to 10 s.
func (p *plot) y(rtt time.Duration) float64 {
	ms := min(max(float64(rtt)/float64(time.Millisecond), 1), 10_000)
	return plotHeight - (plotHeight-10)*math.Log10(ms)/4
}

// bands marks when the link was doubtful, or down.
func (p *plot) bands(spans []span, offset time.Duration) {
	colors := map[api.OperState]string{api.Doubtful: "#ffd84d", api.Down: "#ff9a8a"}
	for _, s := range spans {
		if color := colors[s.state]; color != "" {
			p.printf(`<rect x="%.1f" y="10" width="%.1f" height="%d" fill="%s"/>`+"\n",
				p.x(offset+s.from), max(p.x(offset+s.to)-p.x(offset+s.from), 0.7), plotHeight-10, color)
		}
	}
}

func (p *plot) axes() {
	for _, rtt := range []time.Duration{1, 10, 100, 1000, 10_000} {
		y := p.y(rtt * time.Millisecond)
		p.printf(`<path d="M%d %.1fH%d" stroke="#ddd"/><text x="4" y="%.1f">%d ms</text>`+"\n",
			plotLeft, y, plotWidth-10, y+4, rtt)
	}
	for i := range 6 {
		at := p.whole * time.Duration(i) / 5
		p.printf(`<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n",
			p.x(at), plotHeight+15, at.Round(time.Second))
	}
}

// points draws the round trips: of many that fall on one place, the longest.
func (p *plot) points(s Session, offset time.Duration) {
	var line, lost strings.Builder
	bin := p.whole / plotPoints
	for i := 0; i < len(s); {
		end, worst := s[i].At+bin, time.Duration(-1)
		at := offset + s[i].At
		for ; i < len(s) && s[i].At <= end; i++ {
			if s[i].Lost {
				_, _ = fmt.Fprintf(&lost, "M%.1f 10v8", p.x(offset+s[i].At))
			} else {
				worst = max(worst, s[i].RTT)
			}
		}
		if worst >= 0 {
			verb := "L"
			if line.Len() == 0 {
				verb = "M"
			}
			_, _ = fmt.Fprintf(&line, "%s%.1f %.1f", verb, p.x(at), p.y(worst))
		}
	}
	p.printf(`<path d="%s" fill="none" stroke="#1f5fa8" stroke-width="0.8"/>`+"\n", line.String())
	p.printf(`<path d="%s" stroke="#d00000" stroke-width="0.8"/>`+"\n", lost.String())
}
