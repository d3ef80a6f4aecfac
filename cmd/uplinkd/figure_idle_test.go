package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab/labtest"
)

// switches returns how often the threads of a process have been put on a processor (proc_pid_status(5)).
func switches(t *testing.T, pid int) (n float64) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("no threads of process %d: %v", pid, err)
	}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, line := range strings.Split(string(text), "\n") {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.HasSuffix(key, "ctxt_switches") {
				v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				if err != nil {
					t.Fatal(err)
				}
				n += v
			}
		}
	}
	return n
}

// series returns how many series a scrape has.
func (c *crowd) series() float64 {
	c.Helper()
	out, err := exec.Command("curl", "-s", "--unix-socket", filepath.Join(c.dir, "sock"), "http://uplinkd/metrics").Output()
	c.ok(err)
	n := 0
	for _, line := range strings.Split(string(out), "\n") {
		if line != "" && !strings.HasPrefix(line, "#") {
			n++
		}
	}
	return float64(n)
}

// What the daemon takes of a machine at rest, with 3, 32 and 120 uplinks, beside that of the first stage, which
// UPLINKD_FIRST_STAGE names: to be built it needs modules that no lab can fetch.
func TestFigureIdle(t *testing.T) {
	labtest.Bench(t)
	labtest.Need(t)
	runs, span := runsOr(t, 1), 5*time.Second
	table := figures.Table{
		Title:   "Idle, start, stop",
		About:   "Uplinks with fixed addresses, the gateway probed at the default pace; the first stage (c82b5ea) beside it in the same run.",
		Command: "UPLINKD_BENCH=1 UPLINKD_FIRST_STAGE=… UPLINKD_RUNS=3 go test -run TestFigureIdle ./cmd/uplinkd",
		Limit:   "a probe is a system call to send and one to receive, and its sender is woken for each; an address that is new takes three answers to be proved. What is resident and not its own are pages of the program's file, which the kernel may drop.",
		Columns: []string{"uplinks", "program", "ready, s", "CPU, % of a core", "woken a second", "resident, MB", "of that its own, MB", "descriptors", "series of Prometheus", "stopped, s"},
	}
	for _, n := range []int{3, 32, 120} {
		var ready, cpu, woken, resident, own, files, series, stopped [2][]float64
		for range runs {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				c := newCrowd(t, n, "")
				for i, program := range []string{c.build(), os.Getenv("UPLINKD_FIRST_STAGE")} {
					if _, err := os.Stat(program); err != nil {
						continue // nobody has built it
					}
					ready[i] = append(ready[i], c.begin(program).Seconds())
					time.Sleep(2 * time.Second)
					pid := c.cmd.Process.Pid
					used, before := cpuTime(t, pid), switches(t, pid)
					time.Sleep(span)
					cpu[i] = append(cpu[i], 100*(cpuTime(t, pid)-used).Seconds()/span.Seconds())
					woken[i] = append(woken[i], (switches(t, pid)-before)/span.Seconds())
					resident[i] = append(resident[i], float64(residentKB(t, pid))/1024)
					own[i] = append(own[i], float64(statusKB(t, pid, "RssAnon"))/1024)
					open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
					c.ok(err)
					files[i] = append(files[i], float64(len(open)))
					series[i] = append(series[i], c.series())
					stopped[i] = append(stopped[i], c.end().Seconds())
				}
			})
		}
		for i, program := range []string{"now", "c82b5ea"} {
			if len(ready[i]) == 0 {
				continue
			}
			row := []string{fmt.Sprint(n), program}
			for _, values := range [][]float64{ready[i], cpu[i], woken[i], resident[i], own[i], files[i], series[i], stopped[i]} {
				row = append(row, figures.SpreadOf(values).String())
			}
			t.Log(row)
			table.Rows = append(table.Rows, row)
		}
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
