package figures_test

import (
	"reflect"
	"strings"
	"testing"

	"uplinkd/internal/figures"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", 0.1234: "0.123", 12.34: "12.3", 999.4: "999", 1234567: "1,234,567", -1234: "-1,234", 0.5: "0.5",
		-123: "-123", 100: "100",
	} {
		if got := figures.Number(v); got != want {
			t.Errorf("%v is %q, want %q", v, got, want)
		}
	}
	if got := figures.SpreadOf([]float64{3, 1, 2}).String(); got != "2 (1 – 3)" {
		t.Errorf("spread: %s", got)
	}
	if got := figures.SpreadOf([]float64{4, 1}).String(); got != "2.5 (1 – 4)" {
		t.Errorf("of two: %s", got)
	}
}

const before = `goos: linux
pkg: uplinkd/uplink
BenchmarkStep/uplinks=3-2   13347   29875 ns/op   23666 B/op   57 allocs/op
BenchmarkStep/uplinks=3-2   13347   29000 ns/op   23668 B/op   57 allocs/op
BenchmarkApply-2   100   1000 ns/op   14.0 messages/op   0 B/op   0 allocs/op
PASS
`

// What is stable and grows by over a tenth is a loss; a time is none, nor is what has gone.
func TestLosses(t *testing.T) {
	read := func(text string) []figures.Benchmark {
		list, err := figures.ReadBenchmarks(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	for change, want := range map[string][]figures.Loss{
		"":                            nil,
		"29875 ns/op>99999 ns/op":     nil,
		"57 allocs>62 allocs":         nil,
		"57 allocs>63 allocs":         {{"Step/uplinks=3", "allocs/op", 57, 63}},
		"14.0 messages>16.0 messages": {{"Apply", "messages/op", 14, 16}},
		"0 B/op   0 a>0 B/op   1 a":   {{"Apply", "allocs/op", 0, 1}},
		"Apply>Other":                 {{"Apply", figures.Gone, 0, 0}},
	} {
		old, now, _ := strings.Cut(change, ">")
		after := before
		if old != "" {
			after = strings.ReplaceAll(before, old, now)
		}
		if got := figures.Losses(read(before), read(after), 0.1); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", change, got, want)
		}
	}
}
