package replay_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/replay"
)

// subject is a configuration of all defaults.
func subject(tb testing.TB, probe string) configs.Config {
	tb.Helper()
	c, err := configs.Parse(strings.NewReader(
		"uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}]\n"+probe), configs.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	c, _ = replay.Subject(c, "")
	return c
}

func TestRead(t *testing.T) {
	trace, err := replay.Read("x", strings.NewReader("# of a train\n# session\n100 50\n300 -\n500 60.5\n# session\n0 1\n20 2\n"))
	if err != nil || len(trace.Sessions) != 2 || len(trace.Sessions[0]) != 3 || trace.Sessions[0][1] != (replay.Sample{At: 200 * time.Millisecond, Lost: true}) {
		t.Errorf("%+v, %v", trace, err)
	}
	pings := `PING 192.0.2.1 (192.0.2.1) 56(84) bytes of data.
[1700000000.050000] 64 bytes from 192.0.2.1: icmp_seq=1 ttl=57 time=50.0 ms
[1700000000.900000] no answer yet for icmp_seq=2
[1700000001.060000] 64 bytes from 192.0.2.1: icmp_seq=3 ttl=57 time=60.0 ms

--- 192.0.2.1 ping statistics ---
3 packets transmitted, 2 received, 33% packet loss, time 1001ms
rtt min/avg/max/mdev = 50.0/55.0/60.0/5.0 ms
`
	trace, err = replay.Read("x", strings.NewReader(pings))
	if err != nil || len(trace.Sessions) != 1 || len(trace.Sessions[0]) != 3 {
		t.Fatalf("%+v, %v", trace, err)
	}
	if s := trace.Sessions[0]; s[0].RTT != 50*time.Millisecond || !s[1].Lost || s[1].At.Round(time.Millisecond) != 500*time.Millisecond {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"", "1 2 3 4\n5", "10 5\n5 5\n", "x y\n", "1 -5\n2 2\n", "1e99 1\n"} {
		if _, err := replay.Read("x", strings.NewReader(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("# session\n0 1\n20 -\n")
	f.Add("[1700000000.05] 64 bytes from 192.0.2.1: icmp_seq=65535 ttl=57 time=50.0 ms\n[1700000001.05] 64 bytes from 192.0.2.1: icmp_seq=1 ttl=57 time=50.0 ms\n")
	f.Fuzz(func(t *testing.T, text string) {
		trace, err := replay.Read("x", strings.NewReader(text))
		if err == nil && !(trace.Hours() >= 0) {
			t.Errorf("%v hours", trace.Hours())
		}
	})
}

// check holds what is promised of a flaky link: at most one wrong verdict in half an hour,
// doubt within a round trip and 0.8 s, little of it, and death within ten seconds.
func check(t *testing.T, m replay.Measure, rtt, doubtful float64) {
	t.Helper()
	t.Logf("%+v", m)
	if wrong := m.WrongDownsPerHour * m.Hours; wrong > 1.001 {
		t.Errorf("%s: %.0f wrong verdicts, want one at most", m.File, wrong)
	}
	if m.Doubt.P95 < 0 || m.Doubt.P95 > rtt+800 {
		t.Errorf("%s: doubt after %.0f ms, want a round trip (%.0f ms) and 800 ms at most", m.File, m.Doubt.P95, rtt)
	}
	if doubtful > 0 && m.DoubtfulPercent > doubtful {
		t.Errorf("%s: doubtful %.1f %% of the time, want %.0f %% at most", m.File, m.DoubtfulPercent, doubtful)
	}
	if m.Down.Max > 10_001 {
		t.Errorf("%s: down after %.0f ms, want 10 s at most", m.File, m.Down.Max)
	}
}

// Links that are made here, fitted to recorded ones: these are the same for everybody.
func TestGenerated(t *testing.T) {
	for _, kind := range []replay.Kind{replay.LTE, replay.Starlink} {
		for seed := range uint64(2) {
			trace := replay.Generate(kind, 10*time.Minute, seed)
			check(t, replay.Run(subject(t, ""), &trace), 100, 6)
		}
		trace := replay.Generate(kind, 10*time.Minute, 0)
		if m := replay.Run(subject(t, "probe: {rule: fixed}"), &trace); m.WrongDownsPerHour < 10 {
			t.Errorf("%s: the fixed rule makes %.0f wrong verdicts an hour: a link so easy tests little", kind.Name, m.WrongDownsPerHour)
		}
	}
	steady := replay.Generate(replay.Steady, 10*time.Minute, 0)
	m := replay.Run(subject(t, ""), &steady)
	if m.DownsPerHour > 0 || m.DoubtfulPercent > 0 || m.Down.Max > 1000 || m.Doubt.P95 > 650 {
		t.Errorf("a steady link: %+v", m)
	}
}

// traces returns the folder of recordings of real links: UPLINKD_TRACES, or
// ../shared/traces beside the checkout.
func traces(tb testing.TB) []string {
	tb.Helper()
	dir := os.Getenv("UPLINKD_TRACES")
	if dir == "" {
		dir = "../../../shared/traces"
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.trace"))
	if len(files) == 0 {
		labtest.Missing(tb, "no recordings of real links here: UPLINKD_TRACES names a folder of them (docs/tuning.md)")
	}
	return files
}

// Real links that nobody here made. What is promised of a round trip goes by the 95th of
// each.
func TestTraces(t *testing.T) {
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
		doubtful := 0.0
		if strings.HasPrefix(trace.Name, "driving-") {
			doubtful = 4
		}
		check(t, replay.Run(subject(t, ""), &trace), p95(&trace), doubtful)
	}
}

// p95 returns the 95th of the round trips, in milliseconds.
func p95(t *replay.Trace) float64 {
	var rtts []time.Duration
	for _, s := range t.Sessions {
		for _, x := range s {
			if !x.Lost {
				rtts = append(rtts, x.RTT)
			}
		}
	}
	slices.Sort(rtts)
	return float64(rtts[len(rtts)*95/100]) / float64(time.Millisecond)
}

// What others do is modelled from what they say of themselves: it has to come to what is
// known of them.
func TestOthers(t *testing.T) {
	trace := replay.Generate(replay.Steady, 10*time.Minute, 0)
	for _, m := range replay.Others(&trace) {
		want := map[string][2]float64{
			"BFD 300 ms x 3": {800, 1000}, "dpinger, OPNsense": {13_000, 18_000}, "mwan3, as shipped": {110_000, 140_000},
			"mwan3, tuned": {7000, 12_000}, "foolsm": {7000, 14_000},
		}[m.Rule]
		if m.DownsPerHour > 0 || m.Down.P50 < want[0] || m.Down.P50 > want[1] {
			t.Errorf("%s: %+v, want none on a steady link, and down after %v to %v ms", m.Rule, m, want[0], want[1])
		}
	}
}

func BenchmarkReplay(b *testing.B) {
	trace := replay.Generate(replay.LTE, time.Hour, 0)
	c := subject(b, "")
	for b.Loop() {
		replay.Run(c, &trace)
	}
}

func TestPlot(t *testing.T) {
	trace := replay.Generate(replay.LTE, 5*time.Minute, 1)
	trace.Name = "<evil>"
	var b strings.Builder
	if err := replay.Plot(&b, subject(t, ""), &trace); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); !strings.HasPrefix(text, "<svg") || !strings.HasSuffix(text, "</svg>\n") ||
		!strings.Contains(text, "#ffd84d") || strings.Contains(text, "<evil>") {
		t.Errorf("not a plot: %.300s", text)
	}
}
