// Compare reads what the benchmarks of two commits have printed, and fails when one takes over a tenth more of what is
// stable: allocations, bytes, messages. Times are for benchstat to show.
package main

import (
	"fmt"
	"os"

	"uplinkd/internal/figures"
)

func main() {
	if len(os.Args) != 3 {
		fail(fmt.Errorf("want two files, of before and after"))
	}
	var runs [2][]figures.Benchmark
	for i := range runs {
		f, err := os.Open(os.Args[i+1])
		if err != nil {
			fail(err)
		}
		runs[i], err = figures.ReadBenchmarks(f)
		_ = f.Close()
		if err == nil && len(runs[i]) == 0 {
			err = fmt.Errorf("%s: no benchmark is in it", os.Args[i+1])
		}
		if err != nil {
			fail(err)
		}
	}
	losses := figures.Losses(runs[0], runs[1], 0.1)
	for _, l := range losses {
		if l.Unit == figures.Gone {
			_, _ = fmt.Fprintf(os.Stdout, "%s is there no more\n", l.Name)
			continue
		}
		_, _ = fmt.Fprintf(os.Stdout, "%s: %s %s, before %s\n",
			l.Name, figures.Number(l.After), l.Unit, figures.Number(l.Before))
	}
	if len(losses) > 0 {
		os.Exit(1)
	}
	_, _ = fmt.Fprintln(os.Stdout, "nothing that is stable has grown by over 10 %")
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "compare:", err)
	os.Exit(2)
}
