package plain

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want string
	}{
		{"no route to host", 100, "no route to host"},
		{"évil \x1b[2J\x1b]0;pwned\a\n4 of 4 uplinks up", 100, "évil ?[2J?]0;pwned? 4 of 4 uplinks up"},
		{"C1 \u009b31m, DEL \x7f, turned \u202e, not UTF-8 \xff", 100, "C1 ?31m, DEL ?, turned ?, not UTF-8 ?"},
		{"ééé", 3, "é…"},
		{"", 0, ""},
	} {
		if got := Line(tt.text, tt.most); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.text, got, tt.want)
		}
	}
}

func TestWriter(t *testing.T) {
	var b strings.Builder
	n, err := NewWriter(&b).Write([]byte("a\tb\x1b[31m\r\nc"))
	if want := "a\tb?[31m?\nc"; n != 11 || err != nil || b.String() != want {
		t.Errorf("%d, %v, %q; want %q", n, err, b.String(), want)
	}
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b[2Jx", 4)
	f.Fuzz(func(t *testing.T, text string, most int) {
		most = max(0, min(most, 1000))
		line := Line(text, most)
		if !utf8.ValidString(line) || len(line) > most+len("…") {
			t.Errorf("%q, %d: %q", text, most, line)
		}
		if i := strings.IndexFunc(line, func(r rune) bool { return !unicode.IsGraphic(r) }); i >= 0 {
			t.Errorf("%q: %q has %q", text, line, line[i:])
		}
	})
}
