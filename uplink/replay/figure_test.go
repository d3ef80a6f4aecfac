package replay_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/replay"
)

// What our rule and those of others make of links that nobody here made.
func TestFigureVerdict(t *testing.T) {
	labtest.Bench(t)
	table := figures.Table{
		Title: "Verdict quality",
		About: "Recordings of real links (docs/tuning.md says whose); rules of others are modelled from what their documentation says. " +
			"A verdict is wrong when an answer came within 5 s of it.",
		Command: "UPLINKD_BENCH=1 go test -run TestFigureVerdict ./uplink/replay (uplinkd replay --rule --others FILE)",
		Limit:   "a link that pauses for as long as a dead one is silent cannot be told from it: who is quick there is often wrong, and who is never wrong is slow. Doubt, which new connections follow, costs nobody his connection.",
		Columns: []string{"link", "rule", "down an hour", "of these wrong", "down, % of the time", "to doubt, ms: median, 95th", "to down, ms: median, 95th"},
	}
	for _, file := range traces(t) {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		trace, err := replay.Read(filepath.Base(file), f)
		_ = f.Close()
		if err != nil {
			t.Fatal(err)
		}
		list := append([]replay.Measure{replay.Run(subject(t, ""), &trace)}, replay.Others(&trace)...)
		list[0].Rule = "uplinkd"
		for _, m := range list {
			doubt, down := figures.Number(m.Doubt.P50)+", "+figures.Number(m.Doubt.P95), figures.Number(m.Down.P50)+", "+figures.Number(m.Down.P95)
			table.Rows = append(table.Rows, []string{
				strings.TrimSuffix(trace.Name, ".trace"), m.Rule, fmt.Sprintf("%.1f", m.DownsPerHour), fmt.Sprintf("%.1f", m.WrongDownsPerHour),
				fmt.Sprintf("%.2f", m.DownPercent), doubt, down,
			})
		}
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
