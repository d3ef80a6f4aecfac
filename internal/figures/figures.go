// Package figures keeps what tests have measured, for the page that shows it.
package figures

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Table is one thing that was measured, beside what it is compared with, in one run.
type Table struct {
	Title   string     // of the section of the page, one of those that the page has
	About   string     // what was measured, and how
	Command string     // that makes it
	Limit   string     // which physics or the kernel sets
	Columns []string   // their heads
	Rows    [][]string // as many cells as columns
}

// Keep writes the table into the folder that UPLINKD_FIGURES names, and does nothing where it names none.
func (t Table) Keep() error {
	dir := os.Getenv("UPLINKD_FIGURES")
	if dir == "" {
		return nil
	}
	for _, row := range t.Rows {
		if len(row) != len(t.Columns) {
			return fmt.Errorf("figures: %s: %d cells under %d heads: %q", t.Title, len(row), len(t.Columns), row)
		}
	}
	b, err := json.MarshalIndent(t, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // figures are for all to read
		return err
	}
	return os.WriteFile(filepath.Join(dir, t.file()), append(b, '\n'), 0o600)
}

func (t Table) file() string {
	return strings.ReplaceAll(strings.ToLower(t.Title), " ", "-") + ".json"
}

// Load returns the table of a title that was kept in a folder, nil when there is none.
func Load(dir, title string) (*Table, error) {
	t := Table{Title: title}
	b, err := os.ReadFile(filepath.Join(dir, t.file()))
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		return nil, fmt.Errorf("figures: %s: %w", title, err)
	}
	return &t, nil
}

// Markdown returns the table as a page has it.
func (t Table) Markdown() string {
	var b strings.Builder
	row := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row(t.Columns)
	row(slices.Repeat([]string{"---"}, len(t.Columns)))
	for _, cells := range t.Rows {
		row(cells)
	}
	return b.String()
}

// A Spread is what several runs have measured of one thing.
type Spread struct{ Least, Median, Most float64 }

// SpreadOf returns the spread of values, of which there must be one at least.
func SpreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{sorted[0], (sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[n-1]}
}

// String returns the median, and in brackets the least and the most where they differ from it.
func (s Spread) String() string {
	median, least, most := Number(s.Median), Number(s.Least), Number(s.Most)
	if least == median && most == median {
		return median
	}
	return fmt.Sprintf("%s (%s – %s)", median, least, most)
}

// Number returns a number with three digits that count, and thousands apart.
func Number(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	text := fmt.Sprintf("%.*f", digits, v)
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest = strings.TrimRight(rest, "0"); rest != "" {
		whole += "." + rest
	}
	return whole
}
