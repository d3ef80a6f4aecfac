package uplink_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/uplink"
)

// beyond returns a state of more uplinks than a configuration may have: its numbers of tables and rules are no longer
// those that a kernel would take, and its logic is the same.
func beyond(tb testing.TB, n int) uplink.State {
	tb.Helper()
	const most = 200
	if n <= most {
		return many(tb, n)
	}
	s := many(tb, most)
	config := s.Config
	config.Uplinks = slices.Clone(config.Uplinks)
	s.Uplinks = slices.Clone(s.Uplinks)
	for i := most; i < n; i++ {
		u := config.Uplinks[i%most]
		u.Name, u.Interface = fmt.Sprint("u", i), fmt.Sprint("eth", i)
		config.Uplinks = append(config.Uplinks, u)
	}
	s.Config = config
	for i := most; i < n; i++ {
		u := s.Uplinks[i%most]
		u.Config = config.Uplinks[i]
		s.Uplinks = append(s.Uplinks, u)
	}
	return s
}

// The core alone: events to a state, and all that is wanted of it, with more and more uplinks. UPLINKD_EVENTS says how
// many events; with many uplinks there are fewer.
func TestFigureCore(t *testing.T) {
	events, sizes := 2000, []int{3, 30, 200}
	if text := os.Getenv("UPLINKD_EVENTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		events, sizes = n, []int{3, 30, 200, 1000, 10_000}
	}
	table := figures.Table{
		Title:   "Core alone",
		About:   "Verdicts of targets come and go in memory: an event to the new state, to all that is wanted, compared with what was wanted.",
		Command: "UPLINKD_EVENTS=1000000 go test -run TestFigureCore ./uplink",
		Limit:   "the state is a value: each event copies the uplinks, and what is wanted is made anew. Cost grows with the uplinks, not with what came before.",
		Columns: []string{"uplinks", "events", "an event, µs", "events a second", "bytes an event", "allocations an event", "heap after, MB"},
	}
	for _, n := range sizes {
		s := beyond(t, n)
		now := time.Now()
		count := min(events, max(200, events*3/n))
		wanted := uplink.Want(&s)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		for k := range count {
			e := answered(&s.Uplinks[k%min(n, 3)], k%2 == 1)
			s = uplink.Step(s, e, now)
			next := uplink.Want(&s)
			if !next.Set.Equal(&wanted.Set) {
				wanted = next
			}
		}
		took := time.Since(began)
		runtime.ReadMemStats(&after)
		runtime.GC()
		var live runtime.MemStats
		runtime.ReadMemStats(&live)
		each := took.Seconds() / float64(count)
		table.Rows = append(table.Rows, []string{
			figures.Number(float64(n)), figures.Number(float64(count)), figures.Number(each * 1e6), figures.Number(1 / each),
			figures.Number(float64(after.TotalAlloc-before.TotalAlloc) / float64(count)),
			figures.Number(float64(after.Mallocs-before.Mallocs) / float64(count)), figures.Number(float64(live.HeapAlloc) / 1e6),
		})
		t.Log(table.Rows[len(table.Rows)-1])
		if grown := int64(live.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 && n <= 200 {
			t.Errorf("%d events of %d uplinks have left %d bytes behind", count, n, grown)
		}
		if len(s.Uplinks) != n || s.Uplinks[n-1].OperState() != "up" {
			t.Errorf("%d uplinks, the last %s", len(s.Uplinks), s.Uplinks[n-1].OperState())
		}
	}
	if events > 2000 {
		if err := table.Keep(); err != nil {
			t.Fatal(err)
		}
	}
}
