package web

import (
	"fmt"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// sections are what the page is made of, by the names that its script and its events know. All text in them is
// escaped as it is written.
var sections = map[string]func(p *picture) g.Node{
	"summary": summaryHTML, "uplinks": uplinksHTML, "graphs": graphsHTML, "switches": switchesHTML,
}

// pageHTML is the whole page, which tells all without a script.
func pageHTML(p *picture) g.Node {
	section := func(name, label string) g.Node {
		return g.Group{h.Section(h.ID(name), h.Aria("label", label), sections[name](p)), line}
	}
	return h.Doctype(h.HTML(
		h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")), line,
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")), line,
			h.Meta(h.Name("color-scheme"), h.Content("light dark")), line,
			h.TitleEl(g.Text("uplinkd: "+p.Summary)), line,
			h.Link(h.Rel("stylesheet"), h.Href("/style.css")), line,
			h.Script(h.Src("/live.js"), h.Defer()), line,
		),
		h.Body(
			h.A(h.Class("skip"), h.Href("#uplinks"), g.Text("Skip to the uplinks")), line,
			h.Header(h.ID("summary"), h.Aria("live", "polite"), sections["summary"](p)), line,
			h.Main(
				section("uplinks", "Uplinks"), section("graphs", "The last hour"), section("switches", "Switches"),
			), line,
			h.Footer(h.P(h.ID("live"), h.Role("status"), g.Text("Reload for newer figures."))), line,
		),
	))
}

// line is the end of a line, for who reads the source.
var line = g.Raw("\n")

// lines makes a list of HTML of a list of values, each on a line of its own.
func lines[T any](list []T, of func(T) g.Node) g.Node {
	return g.Map(list, func(v T) g.Node { return g.Group{of(v), line} })
}

func summaryHTML(p *picture) g.Node {
	return g.Group{
		h.H1(g.Text("uplinkd: " + p.Summary)), line,
		lines(p.Problems, func(text string) g.Node { return h.P(h.Class("problem"), g.Text(text)) }),
	}
}

func uplinksHTML(p *picture) g.Node {
	heads := []string{
		"Uplink", "Family", "State", "For", "Share", "Connections", "Round trip", "Loss", "Last answer", "Down after",
		"Down bit/s", "Up bit/s", "Reason",
	}
	return g.Group{
		lines(p.Routes, routeHTML),
		h.Div(
			h.Class("wide"), h.Role("region"), h.Aria("label", "Table of uplinks"), h.TabIndex("0"),
			h.Table(
				h.THead(h.Tr(g.Map(heads, headHTML))), line,
				h.TBody(line, lines(p.Rows, rowHTML)),
			),
		),
	}
}

func headHTML(text string) g.Node { return h.Th(g.Attr("scope", "col"), g.Text(text)) }

// routeHTML draws a default route: its text says the same as its bar.
func routeHTML(r route) g.Node {
	shares := g.Map(r.Shares, func(s share) g.Node { return g.Text(s.Uplink + " " + s.Percent + " ") })
	if len(r.Shares) == 0 {
		shares = g.Group{g.Text("by no uplink")}
	}
	return h.Figure(
		h.Class("bar"),
		h.FigCaption(g.Text("New connections, "+r.Family+": "), shares), line,
		drawing("0 0 100 4", h.Aria("hidden", "true"), g.Map(r.Shares, func(s share) g.Node {
			return bar(s.Class, s.X, s.Size, "4")
		})),
	)
}

func rowHTML(r row) g.Node {
	cell := func(text string) g.Node { return h.Td(g.Text(text)) }
	return h.Tr(
		h.Th(g.Attr("scope", "row"), g.Text(r.Uplink)), cell(r.Family),
		h.Td(h.Class("state "+r.State), g.Text(r.State)),
		cell(r.For), cell(r.Share), cell(r.Connections), cell(r.RTT), cell(r.Loss), cell(r.Silence), cell(r.DownAfter),
		cell(r.Rx), cell(r.Tx), h.Td(h.Class("reason"), g.Text(r.Reason)),
	)
}

func graphsHTML(p *picture) g.Node {
	return g.Group{h.H2(g.Text("The last hour")), line, lines(p.Graphs, graphHTML)}
}

// graphHTML draws the last hour of a path: its states, with a link to each switch, and its curves.
func graphHTML(hour graph) g.Node {
	return h.Figure(
		h.Class("hour"),
		h.FigCaption(g.Text(hour.Uplink+" "+hour.Family)), line,
		drawing(
			fmt.Sprintf("0 0 %d 10", graphPoints), h.Class("strip"), h.Role("group"),
			h.Aria("label", "States of "+hour.Uplink+" "+hour.Family),
			g.Map(hour.States, func(s span) g.Node { return bar(s.State, s.X, s.Size, "10", titled(s.State)) }),
			g.Map(hour.Marks, func(m mark) g.Node {
				link := h.Href(fmt.Sprintf("#s%d", m.ID))
				return h.A(link, h.Aria("label", m.Title), titled(m.Title), bar("mark", m.X, "2", "10"))
			}),
		), line,
		h.Div(h.Class("curves"), g.Map(hour.Curves, func(c curve) g.Node {
			return h.Div(
				h.Span(g.Text(c.Name+", most "+c.Most)),
				drawing(
					fmt.Sprintf("0 0 %d %d", graphPoints, curveHeight+2), h.Aria("hidden", "true"),
					g.El("path", h.Class(c.Class), g.Attr("d", c.Points)),
				),
			)
		})),
	)
}

func switchesHTML(p *picture) g.Node {
	if len(p.Switches) == 0 {
		return g.Group{h.H2(g.Text("Switches")), line, h.P(g.Text("None since the daemon's start.")), line}
	}
	return g.Group{h.H2(g.Text("Switches")), line, lines(p.Switches, switchHTML)}
}

func switchHTML(s switchLine) g.Node {
	state := func(name string) g.Node { return h.Span(h.Class("state "+name), g.Text(name)) }
	return h.Details(
		h.ID(fmt.Sprintf("s%d", s.ID)),
		h.Summary(
			h.Time(h.DateTime(s.At), h.Title(s.Day), g.Text(s.Clock)),
			g.Text(" "+s.Uplink+" "+s.Family+" "), state(s.From), g.Text(" to "), state(s.To), g.Text(": "+s.Reason),
		), line,
		h.Ul(g.Map(s.Story, func(sentence string) g.Node { return h.Li(g.Text(sentence)) })),
	)
}

// drawing is an SVG that takes whatever room there is (SVG 2, 8.6).
func drawing(viewBox string, parts ...g.Node) g.Node {
	return h.SVG(g.Attr("viewBox", viewBox), g.Attr("preserveAspectRatio", "none"), g.Group(parts))
}

// bar is a rectangle from the top.
func bar(class, x, width, height string, parts ...g.Node) g.Node {
	return g.El(
		"rect", h.Class(class), g.Attr("x", x), g.Attr("y", "0"), g.Attr("width", width), g.Attr("height", height),
		g.Group(parts),
	)
}

// titled is what is shown of a part of a drawing when it is pointed at.
func titled(text string) g.Node { return g.El("title", g.Text(text)) }
