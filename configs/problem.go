package configs

import (
	"fmt"
	"strings"
)

// A Problem is one mistake in a configuration file.
type Problem struct {
	File   string
	Line   int    // from 1; 0 when the mistake has no place
	Column int    // from 1
	Uplink string // the uplink it belongs to, "" when to none
	Field  string // the key with the keys above it: probe.interval
	Text   string // what is wrong, and what would be right
}

// Error returns one line: place, uplink, field, text.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Uplink != "" {
		fmt.Fprintf(&b, "uplink %s: ", p.Uplink)
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems are all the mistakes of a file, in the order they stand in it.
type Problems []Problem

// Error returns one line a problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}
