package imports

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"uplinkd/internal/plain"
)

// IPSet makes a file of prefixes, as policies name it, of what `ipset save` has written, and returns how many it has.
// What has no counterpart, as a port beside an address, becomes a remark.
func IPSet(w io.Writer, r io.Reader) (int, error) {
	out, lines, count, notes := bufio.NewWriter(w), bufio.NewScanner(r), 0, 0
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 0 || fields[0] == "COMMIT" || strings.HasPrefix(fields[0], "#"):
			continue
		case fields[0] == "create" && len(fields) > 2:
			_, _ = fmt.Fprintf(out, "# %s %s\n", plain.Line(fields[1], lineMost), plain.Line(fields[2], lineMost))
			continue
		}
		if prefix, ok := entry(fields); ok {
			count++
			_, _ = fmt.Fprintln(out, prefix)
		} else if notes++; notes <= notesMost {
			_, _ = fmt.Fprintf(out, "# left out: %s\n", plain.Line(lines.Text(), lineMost))
		}
	}
	if err := lines.Err(); err != nil {
		return count, err
	}
	return count, out.Flush()
}

// entry returns the prefix of a line "add NAME PREFIX", with any options but nomatch, which takes it out of a larger
// one.
func entry(fields []string) (string, bool) {
	if len(fields) < 3 || fields[0] != "add" {
		return "", false
	}
	for _, option := range fields[3:] {
		if option == "nomatch" {
			return "", false
		}
	}
	if a, err := netip.ParseAddr(fields[2]); err == nil && a.Zone() == "" {
		return a.String(), true
	}
	p, err := netip.ParsePrefix(fields[2])
	return p.Masked().String(), err == nil
}
