package web

import (
	"cmp"
	"embed"
	"fmt"
	"strings"
	"time"

	"uplinkd/internal/plain"
	"uplinkd/uplink/api"
	"uplinkd/uplink/board"
)

//go:embed files
var files embed.FS

const (
	graphPoints = 360 // of an hour
	graphLooks  = 10
	textMost    = 300 // of what others may have had a part in
	switchMost  = 50
)

// A picture is all that the page shows.
type picture struct {
	At       time.Time
	Version  string
	Summary  string
	Problems []string
	Routes   []route
	Rows     []row
	Switches []switchLine
	Graphs   []graph
}

// A route is a default route as a bar.
type route struct {
	Family string
	Shares []share
}

type share struct {
	Uplink  string
	Percent string
	X, Size string // of 100
	Class   string
}

// A row is a path in the table.
type row struct {
	Uplink, Family, State, For, Share, Connections, RTT, Loss, Silence, DownAfter, Rx, Tx, Reason string
	Carries                                                                                       bool
}

// A switchLine is a switch in the list, to be opened to its story.
type switchLine struct {
	ID                           uint64
	At                           string // RFC 3339, with milliseconds
	Clock, Uplink, Family        string
	From, To, Cause, Reason, Day string
	Story                        []string
}

// A graph is the last hour of a path.
type graph struct {
	Uplink, Family string
	States         []span
	Curves         []curve
	Marks          []mark
}

type span struct{ X, Size, State string }

type curve struct{ Name, Points, Most, Class string }

// A mark is a switch on the timeline.
type mark struct {
	X, Title string
	ID       uint64
}

// draw makes a picture of what the board has.
func draw(b *board.Board, now time.Time) picture {
	s, at, _ := b.Newest()
	p := picture{At: at, Version: s.Daemon.Version, Summary: summary(&s, at), Problems: problems(&s)}
	p.Routes = append(p.Routes, routeOf(&s, "ipv4"))
	if s.DefaultRoute6 != nil {
		p.Routes = append(p.Routes, routeOf(&s, "ipv6"))
	}
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		for n, path := range u.Paths() {
			p.Rows = append(p.Rows, rowOf(&s, u, &path, n == 0, now))
		}
	}
	for _, w := range b.Switches() {
		if len(p.Switches) < switchMost {
			p.Switches = append(p.Switches, lineOf(&w))
		}
	}
	return p
}

func summary(s *api.Snapshot, at time.Time) string {
	if at.IsZero() {
		return "not looked yet"
	}
	up, paths := 0, 0
	for i := range s.Uplinks {
		for _, p := range s.Uplinks[i].Paths() {
			paths++
			if p.State == api.Up {
				up++
			}
		}
	}
	return fmt.Sprintf("%d of %d paths up", up, paths)
}

// problems are what is not as it should be, of the host as a whole.
func problems(s *api.Snapshot) []string {
	var list []string
	add := func(format string, args ...any) {
		list = append(list, plain.Line(fmt.Sprintf(format, args...), textMost))
	}
	if s.Daemon.ConfigError != "" {
		add("the configuration in the file is not in force: %s", s.Daemon.ConfigError)
	}
	if t := s.Daemon.Trial; t != nil {
		add("a configuration is on trial until %s", t.Until.Local().Format(time.TimeOnly))
	}
	if s.Kernel.LastError != "" {
		add("the kernel has refused a change: %s", s.Kernel.LastError)
	}
	for _, c := range s.Kernel.Conflicts {
		add("a foreign object stands where ours belongs: %s: %s", c.Have, c.Remedy)
	}
	for _, f := range s.Kernel.Fights {
		add("%s undoes %s again and again: %s", cmp.Or(f.By, "another program"), f.Object, f.Remedy)
	}
	for _, e := range s.Daemon.MeterErrors {
		add("not measured: %s", e)
	}
	return list
}

func routeOf(s *api.Snapshot, family string) route {
	r := route{Family: family}
	x := 0.0
	for i := range s.Uplinks {
		part, known := s.Share(s.Uplinks[i].Name, family)
		if !known {
			continue
		}
		r.Shares = append(r.Shares, share{
			Uplink: s.Uplinks[i].Name, Percent: fmt.Sprintf("%.0f%%", 100*part),
			X: fmt.Sprintf("%.2f", 100*x), Size: fmt.Sprintf("%.2f", 100*part), Class: fmt.Sprintf("c%d", i%8),
		})
		x += part
	}
	return r
}

func rowOf(s *api.Snapshot, u *api.Uplink, p *api.Path, first bool, now time.Time) row {
	r := row{
		Uplink: u.Name, Family: p.Family, State: string(p.State), Carries: p.Active,
		For: now.Sub(p.Since).Round(time.Second).String(), Share: "-", Connections: "", RTT: "-", Loss: "-",
		Silence: "-", DownAfter: "-", Reason: plain.Line(p.Reason, textMost),
	}
	if part, known := s.Share(u.Name, p.Family); known {
		r.Share = fmt.Sprintf("%.0f%%", 100*part)
	}
	if first {
		r.Connections, r.Rx, r.Tx = u.Counters.Connections.String(), rate(u.Counters.RxBPS), rate(u.Counters.TxBPS)
		if part, known := s.ConnectionShare(u); known {
			r.Connections += fmt.Sprintf(" (%.0f%%)", 100*part)
		}
	}
	best := p.Best()
	if best.RTT > 0 {
		r.RTT = fmt.Sprintf("%.1f ms", best.RTT)
	}
	if best.Sent > 0 {
		r.Loss = fmt.Sprintf("%.0f%%", best.Loss)
	}
	if best.Silence > 0 {
		r.Silence = fmt.Sprintf("%.1f s", time.Duration(best.Silence).Seconds())
	}
	if best.DownAfter > 0 {
		r.DownAfter = fmt.Sprintf("%.1f s", best.DownAfter/1000)
	}
	return r
}

// rate writes bits a second; what is not known is a question mark.
func rate(n api.Figure[uint64]) string {
	if !n.Known {
		return "?"
	}
	value, units := float64(n.N), []string{"", "k", "M", "G"}
	for len(units) > 1 && value >= 999.5 {
		value, units = value/1000, units[1:]
	}
	return fmt.Sprintf("%.3g%s", value, units[0])
}

func lineOf(s *api.Switch) switchLine {
	l := switchLine{
		ID: s.ID, At: s.At.UTC().Format("2006-01-02T15:04:05.000Z"), Clock: s.At.Local().Format(api.Clock),
		Day: s.At.Local().Format(time.DateOnly), Uplink: s.Uplink, Family: s.Family,
		From: string(s.From), To: string(s.To), Cause: string(s.Cause), Reason: plain.Line(s.Reason, textMost),
	}
	for _, sentence := range board.Story(s) {
		l.Story = append(l.Story, plain.Line(sentence, textMost))
	}
	return l
}

// graphs draws the last hour of each path.
func graphs(b *board.Board) (list []graph) {
	s, at, _ := b.Newest()
	switches := b.Switches()
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		for n, p := range u.Paths() {
			points := b.History(u.Name, p.Family, graphPoints, graphLooks)
			g := graph{Uplink: u.Name, Family: p.Family, States: spans(points), Curves: []curve{
				curveOf("round trip", "ms", "rtt", points, func(p board.Point) float32 { return p.RTT }),
				curveOf("loss", "%", "loss", points, func(p board.Point) float32 { return p.Loss }),
				curveOf("silence", "ms", "silence", points, func(p board.Point) float32 { return p.Silence }),
			}}
			if n == 0 {
				g.Curves = append(g.Curves,
					curveOf("down", "bit/s", "rx", points, func(p board.Point) float32 { return p.Rx }),
					curveOf("up", "bit/s", "tx", points, func(p board.Point) float32 { return p.Tx }))
			}
			for _, w := range switches[:min(len(switches), switchMost)] { // those that are told of below
				x := min(graphPoints-at.Sub(w.At).Seconds()/graphLooks, graphPoints-2)
				if w.Uplink == u.Name && w.Family == p.Family && x > 0 {
					g.Marks = append(g.Marks, mark{
						X: fmt.Sprintf("%.1f", x), ID: w.ID,
						Title: fmt.Sprintf("%s %s to %s", w.At.Local().Format(api.Clock), w.From, w.To),
					})
				}
			}
			list = append(list, g)
		}
	}
	return list
}

// spans joins points of one state.
func spans(points []board.Point) (list []span) {
	for first := 0; first < len(points); {
		next := first + 1
		for next < len(points) && points[next].State == points[first].State {
			next++
		}
		if state := points[first].State; state != "" {
			list = append(list, span{fmt.Sprint(first), fmt.Sprint(next - first), string(state)})
		}
		first = next
	}
	return list
}

// curveHeight is that of a curve in its own units.
const curveHeight = 40

// curveOf draws one figure; where it is not known there is no line.
func curveOf(name, unit, class string, points []board.Point, of func(board.Point) float32) curve {
	most := float32(-1)
	for _, p := range points {
		most = max(most, of(p))
	}
	var path strings.Builder
	open := false
	for x, p := range points {
		v := of(p)
		if v < 0 {
			open = false
			continue
		}
		verb := "L"
		if !open {
			verb = "M"
		}
		y := float32(curveHeight)
		if most > 0 {
			y = curveHeight * (1 - v/most)
		}
		fmt.Fprintf(&path, "%s%d %.1f", verb, x, y)
		open = true
	}
	return curve{Name: name, Points: path.String(), Most: mostOf(most, unit), Class: class}
}

// mostOf writes the most of a curve; that of none is a question mark.
func mostOf(most float32, unit string) string {
	switch {
	case most < 0:
		return "?"
	case unit == "bit/s":
		return rate(api.Known(uint64(most))) + " " + unit
	}
	return fmt.Sprintf("%.0f %s", most, unit)
}
