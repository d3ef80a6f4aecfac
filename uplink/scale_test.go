package uplink_test

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/probe"
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
		About:   "Verdicts of targets come and go in memory: an event to the new state, to all that is wanted, compared with what was wanted. One at a time, each is decided of by itself; together are the reports of all uplinks, as they wait when something befalls all at once.",
		Command: "UPLINKD_EVENTS=1000000 go test -run TestFigureCore ./uplink",
		Limit:   "the state is a value: each decision copies the uplinks, and what is wanted is made anew. Cost grows with the uplinks, not with what came before.",
		Columns: []string{"uplinks", "events", "of them together", "an event, µs", "events a second", "bytes an event", "allocations an event", "heap after, MB"},
	}
	for _, n := range sizes {
		table.Rows = append(table.Rows, coreRow(t, n, min(events, max(200, events/n)), 1))
		if n > 3 {
			table.Rows = append(table.Rows, coreRow(t, n, events/n*n, n))
		}
	}
	if events > 2000 {
		if err := table.Keep(); err != nil {
			t.Fatal(err)
		}
	}
}

// coreRow gives a state of n uplinks so many events, so many of them together, each time of other uplinks.
func coreRow(t *testing.T, n, events, together int) []string {
	t.Helper()
	s := beyond(t, n)
	now := time.Now()
	wanted := uplink.Want(&s)
	var before, after, live runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for k := 0; k < events; k += together {
		s = uplink.Step(s, reportsOf(&s, k, together), now)
		if next := uplink.Want(&s); !next.Set.Equal(&wanted.Set) {
			wanted = next
		}
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	runtime.GC()
	runtime.ReadMemStats(&live)
	each := took.Seconds() / float64(events)
	row := []string{figures.Number(float64(n)), figures.Number(float64(events)), figures.Number(float64(together))}
	for _, v := range []float64{
		each * 1e6, 1 / each, float64(after.TotalAlloc-before.TotalAlloc) / float64(events),
		float64(after.Mallocs-before.Mallocs) / float64(events), float64(live.HeapAlloc) / 1e6,
	} {
		row = append(row, figures.Number(v))
	}
	t.Log(row)
	if grown := int64(live.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20+int64(n)*4096 {
		t.Errorf("%d events of %d uplinks have left %d bytes behind", events, n, grown)
	}
	if len(s.Uplinks) != n || s.Uplinks[n-1].OperState() != "up" {
		t.Errorf("%d uplinks, the last %s", len(s.Uplinks), s.Uplinks[n-1].OperState())
	}
	return row
}

// reportsOf returns the k-th event: a target is suspected each second time.
func reportsOf(s *uplink.State, k, together int) uplink.Event {
	n := len(s.Uplinks)
	if together == 1 {
		return answered(&s.Uplinks[k%min(n, 3)], k%2 == 1)
	}
	list := make(uplink.Together, together)
	for i := range list {
		list[i] = answered(&s.Uplinks[i], k/together%2 == 1)
	}
	return list
}

// What befalls all at once is one decision: the state is that of reports which come one after the other, where none
// of them changes what another means.
func TestReportsTogether(t *testing.T) {
	now := time.Now()
	for _, suspect := range []bool{true, false} {
		one, all := many(t, 20), many(t, 20)
		list := make(uplink.Together, 0, 20)
		for i := range all.Uplinks {
			list = append(list, answered(&all.Uplinks[i], suspect))
			one = uplink.Step(one, answered(&one.Uplinks[i], suspect), now)
		}
		list = append(list, uplink.ProbeChanged{Interface: "gone"})
		before, were := all, slices.Clone(all.Uplinks)
		all = uplink.Step(all, list, now)
		if a, b := uplink.Want(&one), uplink.Want(&all); !a.Set.Equal(&b.Set) {
			t.Errorf("suspect %v: another Set is wanted", suspect)
		}
		for i := range all.Uplinks {
			a, b := &one.Uplinks[i], &all.Uplinks[i]
			if !reflect.DeepEqual(a.Paths[0].ProbeReport, b.Paths[0].ProbeReport) || a.OperState() != b.OperState() {
				t.Errorf("suspect %v: %s is %s, one after the other %s", suspect, b.Config.Name, b.OperState(), a.OperState())
			}
			if !reflect.DeepEqual(before.Uplinks[i].Paths, were[i].Paths) {
				t.Errorf("suspect %v: %s of the state before was changed", suspect, b.Config.Name)
			}
		}
	}
}

// Where all that is left fails at once, nothing is decided of a part: no uplink has been the only one that was left.
func TestAllFailTogether(t *testing.T) {
	now := time.Now()
	s := many(t, 3)
	var list uplink.Together
	for i := range s.Uplinks {
		list = append(list, uplink.ProbeChanged{Interface: s.Uplinks[i].Config.Interface, Change: probe.Change{
			Series: s.Uplinks[i].Paths[0].Series, Targets: []probe.Evidence{{Verdict: probe.Down}, {Verdict: probe.Down}},
		}})
	}
	after := uplink.Step(s, list, now)
	cables := uplink.Together{}
	for i := range s.Uplinks {
		cables = append(cables, uplink.CarrierLost{Index: s.Uplinks[i].Device.Link.Index, At: now})
	}
	pulled := uplink.Step(s, cables, now)
	for i := range pulled.Uplinks {
		if got := pulled.Uplinks[i].OperState(); got != "down" {
			t.Errorf("%s is %s after its cable was pulled, with all others, want down", pulled.Uplinks[i].Config.Name, got)
		}
	}
	for i := range after.Uplinks {
		if got := after.Uplinks[i].OperState(); got != "down" {
			t.Errorf("%s is %s after one step, want down", after.Uplinks[i].Config.Name, got)
		}
	}
	if n := len(uplink.Transitions(s, after, now)); n != 3 {
		t.Errorf("%d transitions of that one step, want 3", n)
	}
}

// Of uplinks that are to stay out once they have fallen, one that falls while another is up does, and none of those that
// fall together: nobody could say which is the last, that must not be taken out.
func TestAutoDisabledTogether(t *testing.T) {
	now := time.Now()
	s := many(t, 2)
	for i := range s.Uplinks {
		s.Uplinks[i].Config.AutoDisable = true
	}
	lost := func(i int) uplink.CarrierLost {
		return uplink.CarrierLost{Index: s.Uplinks[i].Device.Link.Index, At: now}
	}
	both := uplink.Step(s, uplink.Together{lost(0), lost(1)}, now)
	if list := uplink.AutoDisabled(s, both); len(list) != 0 {
		t.Errorf("of two that fell together %v", list)
	}
	first := uplink.Step(s, lost(0), now)
	if list := uplink.AutoDisabled(s, first); len(list) != 1 || list[0].Uplink != s.Uplinks[0].Config.Name {
		t.Errorf("of the one that fell %v", list)
	}
	if list := uplink.AutoDisabled(first, uplink.Step(first, lost(1), now)); len(list) != 0 {
		t.Errorf("of the last one %v", list)
	}
}
