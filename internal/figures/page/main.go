// Page writes docs/benchmarks.md of what tests have kept in a folder. What was not measured it names.
package main

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"uplinkd/internal/figures"
)

//go:embed promised.md
var promised string

//go:embed head.md
var head string

//go:embed parts.md
var parts string

// sections are the titles of the page, in order.
var sections = []string{
	"Outage", "Outage, script each minute", "Verdict quality", "Rebuild", "Spread", "Throughput",
	"Throughput of one MPTCP connection", "Forwarding", "Policies", "Look-ups", "Probing", "Idle, start, stop",
	"Beside routes", "Beside flows", "Beside rules and events", "Core alone",
}

func main() {
	if len(os.Args) != 2 {
		fail(fmt.Errorf("want the folder that UPLINKD_FIGURES named"))
	}
	if err := write(os.Stdout, os.Args[1]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "page:", err)
	os.Exit(1)
}

// write writes the page of a folder.
func write(w io.Writer, dir string) error {
	machine, err := os.ReadFile(filepath.Join(dir, "machine"))
	if err != nil {
		return err
	}
	fmt.Fprintf(w, head, strings.TrimSpace(string(machine)))
	var missing []string
	for _, title := range sections {
		t, loadErr := figures.Load(dir, title)
		if loadErr != nil {
			return loadErr
		}
		if t == nil {
			missing = append(missing, title)
			continue
		}
		fmt.Fprintf(w, "\n## %s\n\n%s\n\n%s\nLimit: %s\n\n    %s\n", t.Title, t.About, t.Markdown(), t.Limit, t.Command)
	}
	if err = benchmarks(w, dir); err != nil {
		return err
	}
	if len(missing) > 0 {
		fmt.Fprintf(w, "\n## Missing\n\nNot measured when this page was written: %s.\n", strings.Join(missing, ", "))
	}
	_, err = fmt.Fprint(w, "\n", promised)
	return err
}

// benchmarks writes the table of those of Go.
func benchmarks(w io.Writer, dir string) error {
	f, err := os.Open(filepath.Join(dir, "go.txt"))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was read only
	list, err := figures.ReadBenchmarks(f)
	if err != nil {
		return err
	}
	t := figures.Table{Columns: []string{"benchmark", "time, ns", "bytes", "allocations", "messages to the kernel"}}
	for _, b := range list {
		row := []string{b.Name}
		for _, unit := range []string{"ns/op", "B/op", "allocs/op", "messages/op"} {
			text := ""
			if values := b.Values[unit]; len(values) > 0 {
				text = figures.SpreadOf(values).String()
			}
			row = append(row, text)
		}
		t.Rows = append(t.Rows, row)
	}
	_, err = fmt.Fprintf(w, parts, t.Markdown())
	return err
}
