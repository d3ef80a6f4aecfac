package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// served has the daemon show itself by HTTP too.
func (b *bench) served() {
	text, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte(strings.Replace(string(text), "control: {",
		"control: {metrics: '127.0.0.1:9877', web: '127.0.0.1:9878', ", 1)), 0o600))
}

// read returns what an address answers.
func (b *bench) read(url string) string {
	b.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	b.ok(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	b.ok(err)
	return string(text)
}

// One outage is told by events, switches, the log, the metrics and the page with the same times, to the
// millisecond, under one number.
func TestOutageIsToldAlike(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), normalProbe)
	b.served()
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	time.Sleep(time.Second)
	last := b.lastEvent()
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(12*time.Second, "down", "up")
	time.Sleep(2500 * time.Millisecond) // the page looks each second; what slipped between is ended after one

	client := b.client
	events, err := client.Events(t.Context(), last, false)
	b.ok(err)
	at := map[string]time.Time{}
	number := uint64(0)
	for _, e := range events.Events {
		if e.Kind == api.EventState && e.Uplink == "isp1" {
			at[e.To], number = e.Time, e.Switch
		}
	}
	if at["doubtful"].IsZero() || at["down"].IsZero() || number == 0 {
		t.Fatalf("events: %+v", events.Events)
	}
	ms := func(t time.Time) string { return t.Local().Format(api.Clock) }
	t.Logf("switch %d: doubtful at %s, down at %s", number, ms(at["doubtful"]), ms(at["down"]))

	book, err := client.Switches(t.Context())
	b.ok(err)
	for _, s := range book.Switches {
		if s.ID == number && (!s.DoubtAt.Equal(at["doubtful"]) || !s.At.Equal(at["down"]) || s.Routed.IsZero() ||
			s.To != api.Down) {
			t.Errorf("the switch: %+v", s)
		}
	}
	log := b.log.String()
	for state, when := range at {
		line := regexp.MustCompile(fmt.Sprintf(`uplink=isp1 family=ipv4 switch_id=%d .*state=%s .* at=%s `, number,
			state, regexp.QuoteMeta(ms(when))))
		if !line.MatchString(log) {
			t.Errorf("the log has no line of %s at %s:\n%s", state, ms(when), log)
		}
	}
	scraped := regexp.MustCompile(`uplinkd_uplink_state_timestamp_seconds\{family="ipv4",uplink="isp1"\} (\S+)`).
		FindStringSubmatch(b.read("http://127.0.0.1:9877/metrics"))
	if scraped == nil {
		t.Fatal("no time of the state in the metrics")
	}
	seconds, err := strconv.ParseFloat(scraped[1], 64)
	b.ok(err)
	if got := time.UnixMilli(int64(seconds*1000 + 0.5)); ms(got) != ms(at["down"]) {
		t.Errorf("by the metrics it is down since %s, want %s", ms(got), ms(at["down"]))
	}
	page := b.read("http://127.0.0.1:9878/")
	_, entry, found := strings.Cut(page, fmt.Sprintf(`<details id="s%d">`, number))
	entry, _, _ = strings.Cut(entry, "</details>")
	for _, part := range []string{
		`datetime="` + at["down"].UTC().Format("2006-01-02T15:04:05.000Z") + `"`,
		"doubtful at " + ms(at["doubtful"]), "down at " + ms(at["down"]),
		"new connections moved after", "missed in a row since",
	} {
		if !strings.Contains(entry, part) {
			t.Errorf("%q is not in the page's entry (there: %t):\n%s", part, found, entry)
		}
	}
}

// watched has ten ask as watch does and one scrape each second, and the page open, until stop is called.
func (b *bench) watched() (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var all sync.WaitGroup
	each := func(do func() error) {
		all.Go(func() {
			ticker := time.NewTicker(time.Second)
			defer ticker.Stop()
			for ctx.Err() == nil {
				if err := do(); err != nil && ctx.Err() == nil {
					b.Error(err)
				}
				select {
				case <-ctx.Done():
				case <-ticker.C:
				}
			}
		})
	}
	for range 10 {
		w := &watched{client: control.NewWatcher(filepath.Join(b.dir, "sock"))}
		b.Cleanup(w.client.Close)
		each(func() error { return w.look().(looked).err })
	}
	scraper := http.Client{Timeout: 5 * time.Second}
	each(func() error {
		answer, err := scraper.Get("http://127.0.0.1:9877/metrics")
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return errors.Join(err, answer.Body.Close())
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9878/live", http.NoBody)
	b.ok(err)
	page, err := http.DefaultClient.Do(request)
	b.ok(err)
	all.Go(func() { _, _ = io.Copy(io.Discard, page.Body); _ = page.Body.Close() }) // ends with ctx
	return func() {
		cancel()
		all.Wait()
		scraper.CloseIdleConnections()
	}
}

// Ten watchers, a scrape each second and the page cost little, and the verdict takes no longer: promised is half a
// percent of a core, and the same times.
func TestWatchingCostsLittle(t *testing.T) {
	labtest.Measured(t)
	runs, span := 1, 5*time.Second
	if n, err := strconv.Atoi(os.Getenv("UPLINKD_RUNS")); err == nil {
		runs, span = n, 20*time.Second // one of five differs by as much as it measures
	}
	b := newBench(t, 3)
	// By the fixed rule: the learned one would take each silence that ended for one that the link survives.
	b.configure(b.static(1, 1, 1), "probe: {rule: fixed, hold_down: 0s}\n")
	b.served()
	b.launch(exec.Command(b.build(), "run", "-c", b.config))
	b.untilStates(10*time.Second, "up", "up", "up")
	spend := func() float64 {
		before := cpuTime(t, b.cmd.Process.Pid)
		time.Sleep(span)
		return 100 * (cpuTime(t, b.cmd.Process.Pid) - before).Seconds() / span.Seconds()
	}
	verdict := func() time.Duration {
		last := b.lastEvent()
		began := time.Now()
		b.ok(b.world.ISPs[0].Silence(true))
		b.untilStates(12*time.Second, "down", "up", "up")
		took := b.verdictTime(last, "down").Sub(began)
		b.ok(b.world.ISPs[0].Silence(false))
		b.untilStates(12*time.Second, "up", "up", "up")
		time.Sleep(time.Second)
		return took
	}
	var costs, alone, seen []float64
	for range runs {
		quiet := spend()
		alone = append(alone, verdict().Seconds())
		stop := b.watched()
		costs = append(costs, spend()-quiet)
		seen = append(seen, verdict().Seconds())
		stop()
	}
	slices.Sort(costs)
	slices.Sort(alone)
	slices.Sort(seen)
	t.Logf("watching costs %.2f%% of a core (%.2f to %.2f); down after %.2f s unwatched (%.2f to %.2f), %.2f s "+
		"watched (%.2f to %.2f)",
		costs[runs/2], costs[0], costs[runs-1], alone[runs/2], alone[0], alone[runs-1], seen[runs/2], seen[0],
		seen[runs-1])
	if costs[0] > 2 {
		t.Errorf("it costs %.2f%% of a core at the least", costs[0])
	}
	if seen[0] > alone[runs-1]+0.5 {
		t.Error("the verdict takes longer while somebody watches")
	}
}
