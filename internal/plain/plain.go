// Package plain makes text of strangers safe to show: one line, no control characters.
package plain

import (
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns a text as one line that is safe in logs and on a terminal: line ends and
// tabs become spaces, other characters that show nothing of their own question marks,
// and what is beyond most bytes is cut off. Control characters are C0, DEL and C1
// (ECMA-48); those that turn the direction of text are among the rest (Unicode, Cf).
func Line(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == '\t' {
			return ' '
		}
		return shown(r)
	}, text)
	if len(text) <= most {
		return text
	}
	end := most
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// shown returns a character that can be shown, or a question mark in its place.
func shown(r rune) rune {
	if r == utf8.RuneError || !unicode.IsGraphic(r) {
		return '?'
	}
	return r
}

// NewWriter returns a Writer to a terminal, or to a file that is later shown on one. Of
// the characters that show nothing it passes on the line end and the tab only. Each
// Write is whole: no character is split between two.
func NewWriter(to io.Writer) io.Writer { return writer{to} }

type writer struct{ to io.Writer }

// Write implements io.Writer.
func (w writer) Write(b []byte) (int, error) {
	text := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		return shown(r)
	}, string(b))
	if _, err := io.WriteString(w.to, text); err != nil {
		return 0, err
	}
	return len(b), nil
}
