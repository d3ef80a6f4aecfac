package labtest

import (
	"slices"
	"strings"
)

// LineDiff returns the lines that only one of two texts has.
func LineDiff(a, b string) string {
	in, out := strings.Split(a, "\n"), strings.Split(b, "\n")
	var lines []string
	for _, l := range in {
		if !slices.Contains(out, l) {
			lines = append(lines, "- "+l)
		}
	}
	for _, l := range out {
		if !slices.Contains(in, l) {
			lines = append(lines, "+ "+l)
		}
	}
	return strings.Join(lines, "\n")
}
