package figures

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
)

// A Benchmark is what runs of one benchmark of Go came to, by their units: ns/op, B/op, allocs/op and those of the
// benchmark itself.
type Benchmark struct {
	Name   string
	Values map[string][]float64
}

// ReadBenchmarks reads what `go test -bench` prints (golang.org/design/14313-benchmark-format), in the order of
// first mention. Lines that are none of a benchmark are skipped.
func ReadBenchmarks(r io.Reader) ([]Benchmark, error) {
	var list []Benchmark
	for lines := bufio.NewScanner(r); ; {
		if !lines.Scan() {
			return list, lines.Err()
		}
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "Benchmark")
		if base, procs, ok := strings.Cut(name, "-"); ok && digits(procs) {
			name = base
		}
		i := slices.IndexFunc(list, func(b Benchmark) bool { return b.Name == name })
		if i < 0 {
			i = len(list)
			list = append(list, Benchmark{Name: name, Values: map[string][]float64{}})
		}
		for ; len(fields) >= 4; fields = fields[2:] {
			if v, err := strconv.ParseFloat(fields[2], 64); err == nil {
				list[i].Values[fields[3]] = append(list[i].Values[fields[3]], v)
			}
		}
	}
}

func digits(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// Stable are the units that do not differ from run to run, and so may be held to what they were.
var Stable = []string{"allocs/op", "B/op", "messages/op"}

// Gone is the unit of a Loss of the benchmark itself.
const Gone = "gone"

// A Loss is what a benchmark takes more of than before.
type Loss struct {
	Name, Unit    string
	Before, After float64 // medians
}

// Losses returns what is stable and has grown by more than a share, or is not there any more. Of what was nothing, one
// more is a loss.
func Losses(before, after []Benchmark, share float64) []Loss {
	var list []Loss
	for _, b := range before {
		i := slices.IndexFunc(after, func(a Benchmark) bool { return a.Name == b.Name })
		if i < 0 {
			list = append(list, Loss{Name: b.Name, Unit: Gone})
			continue
		}
		for _, unit := range Stable {
			was, is := b.Values[unit], after[i].Values[unit]
			if len(was) == 0 || len(is) == 0 {
				continue
			}
			l := Loss{b.Name, unit, SpreadOf(was).Median, SpreadOf(is).Median}
			if l.After > l.Before*(1+share) && l.After-l.Before >= 1 {
				list = append(list, l)
			}
		}
	}
	return list
}
