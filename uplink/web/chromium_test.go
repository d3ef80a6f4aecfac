package web_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/png"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
	"uplinkd/uplink/board"
	"uplinkd/uplink/web"
)

// chromium runs a real browser without a window, and returns what it writes.
func chromium(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		labtest.Skip(t, "needs chromium")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(),
	}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("chromium: %v\n%s", err, errs.String())
	}
	return string(out)
}

// late serves the page with a style sheet for printers that takes its time: the browser is not done loading
// before, and tells what the page's script has made of it by then.
func late(next http.Handler, by time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/late.css":
			time.Sleep(by)
			w.Header().Set("Content-Type", "text/css")
		case "/":
			recorded := httptest.NewRecorder()
			next.ServeHTTP(recorded, r)
			maps.Copy(w.Header(), recorded.Header())
			const end = "</body>"
			_, _ = w.Write([]byte(strings.Replace(recorded.Body.String(), end, `<link rel="stylesheet" media="print" href="/late.css">`+end, 1)))
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// A real browser takes the page as it is meant: its script runs under its policy, brings it up to date, and
// leaves what a person has opened as it is.
func TestChromium(t *testing.T) {
	var looks atomic.Int32
	b := board.New(func() api.Snapshot {
		s := report()
		if looks.Add(1) > 1 {
			s.Uplinks[1].State, s.Uplinks[1].Reason = api.Up, "probes are answered"
		}
		return s
	}, func() []api.Switch {
		list := switches()
		if looks.Load() > 1 {
			list = append(list, api.Switch{ID: 8, Uplink: "isp2", Family: "ipv4", From: api.Down, To: api.Up, At: noon.Add(time.Minute)})
		}
		return list
	})
	b.Look(noon)
	s := httptest.NewServer(late(web.Handler(b), 1500*time.Millisecond))
	t.Cleanup(s.Close)
	timer := time.AfterFunc(time.Second, func() { b.Look(noon.Add(time.Second)) })
	defer timer.Stop()
	dom := chromium(t, "--dump-dom", s.URL+"/#s7")
	for _, part := range []string{"Live.", `<details id="s7" open="">`, `<details id="s8">`, "2 of 2 paths up</h1>", "<title>uplinkd: 2 of 2 paths up</title>"} {
		if !strings.Contains(dom, part) {
			t.Errorf("%q is not in what the browser has made of it:\n%s", part, dom)
		}
	}
	if strings.Contains(dom, "<script>alert") {
		t.Error("a stranger's text has become a script")
	}
}

// screens are the pictures in the documentation, in both colours and on a phone.
var screens = map[string][]string{
	"page.png":       {"--window-size=1100,1420"},
	"page-dark.png":  {"--window-size=1100,1420", "--blink-settings=preferredColorScheme=0"},
	"page-phone.png": {"--window-size=500,1700"},
}

// The page has a picture that is no blank, is dark where that is wanted, and as wide as a phone. With
// UPLINKD_UPDATE the pictures of docs/watch.md are made anew.
func TestScreensOfThePage(t *testing.T) {
	s, _ := shown(t)
	for name, args := range screens {
		file := filepath.Join(t.TempDir(), name)
		chromium(t, append(args, "--timeout=1500", "--screenshot="+file, s.URL+"/#s12")...)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		light, colours := look(picture)
		if dark := name == "page-dark.png"; light == dark || colours < 20 {
			t.Errorf("%s: light %t, %d colours", name, light, colours)
		}
		if os.Getenv("UPLINKD_UPDATE") != "" {
			if err := os.WriteFile("../../docs/"+name, text, 0o644); err != nil { //nolint:gosec // everybody may read it
				t.Fatal(err)
			}
		}
		if _, err := os.Stat("../../docs/" + name); err != nil {
			t.Errorf("docs/watch.md lacks its picture: %v", err)
		}
	}
}

// look tells whether a picture's ground is light, and how many colours it has.
func look(p image.Image) (light bool, colours int) {
	seen := map[[3]uint32]int{}
	for y := p.Bounds().Min.Y; y < p.Bounds().Max.Y; y += 2 {
		for x := p.Bounds().Min.X; x < p.Bounds().Max.X; x += 2 {
			r, g, b, _ := p.At(x, y).RGBA()
			seen[[3]uint32{r, g, b}]++
		}
	}
	var ground [3]uint32
	for c, n := range seen {
		if n > seen[ground] {
			ground = c
		}
	}
	return ground[0] > 0x8000, len(seen)
}

// shown serves an hour of three uplinks, one of which had an outage.
func shown(t *testing.T) (*httptest.Server, *board.Board) {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	at := now.Add(-time.Hour)
	random := rand.New(rand.NewPCG(1, 2))
	outage := func() bool { return at.After(now.Add(-25*time.Minute)) && at.Before(now.Add(-18*time.Minute)) }
	up := func(n int, name string, rtt, traffic float64) api.Uplink {
		wave := 1 + math.Sin(float64(at.Unix())/(200+50*float64(n)))/2
		return api.Uplink{
			Name: name, Interface: fmt.Sprintf("eth%d", n), Family: "ipv4", State: api.Up, Active: true, Since: now.Add(-3 * time.Hour),
			Reason: "probes are answered",
			Probes: []api.Probe{{
				Target: "gateway", RTT: rtt * (1 + random.ExpFloat64()/8), Sent: 1, Silence: api.Millis(time.Duration(100+random.IntN(400)) * time.Millisecond),
				DownAfter: 1000 * float64(n),
			}},
			Counters: api.Counters{
				RxBPS: api.Known(uint64(traffic * wave * 1e6)), TxBPS: api.Known(uint64(traffic * wave * 1e5)),
				Connections: api.Known(40 / n),
			},
		}
	}
	report := func() api.Snapshot {
		list := []api.Uplink{up(1, "fibre", 4, 120), up(2, "cable", 14, 60), up(3, "lte", 42, 9)}
		hops := []api.NextHop{{Uplink: "fibre", Weight: 4}, {Uplink: "cable", Weight: 2}, {Uplink: "lte", Weight: 1}}
		if outage() {
			list[1].State, list[1].Active, list[1].Reason = api.Down, false, "the gateway does not answer"
			list[1].Probes[0].Silence, list[1].Probes[0].Loss = api.Millis(at.Sub(now.Add(-25*time.Minute))), 100
			list[1].Counters.RxBPS = api.Known[uint64](0)
			hops = slices.Delete(hops, 1, 2)
		}
		return api.Snapshot{Daemon: api.Daemon{Version: "v1"}, Uplinks: list, DefaultRoute: api.DefaultRoute{NextHops: hops}}
	}
	died := now.Add(-25 * time.Minute).Add(120 * time.Millisecond)
	book := []api.Switch{
		{
			ID: 12, Uplink: "cable", Interface: "eth2", Family: "ipv4", From: api.Up, To: api.Down, Cause: api.CauseProbes,
			Reason: "the gateway does not answer", Since: api.When{Time: died}, DoubtAt: api.When{Time: died.Add(208 * time.Millisecond)},
			Routed: api.When{Time: died.Add(212 * time.Millisecond)}, At: died.Add(996 * time.Millisecond), Ended: api.When{Time: died.Add(time.Second)},
			Flows: api.Known(31), Sockets: api.Known(4), Evidence: []string{
				"gateway: down, no answer, 14 missed in a row since " + died.Format(api.Clock) + ", last round trip 14.1ms",
				"eth2: 48 packets out and 0 in since " + died.Add(-20*time.Millisecond).Format(api.Clock),
			},
		},
		{
			ID: 13, Uplink: "cable", Interface: "eth2", Family: "ipv4", From: api.Down, To: api.Up, Cause: api.CauseProbes,
			Reason: "probes are answered", At: now.Add(-18 * time.Minute), Routed: api.When{Time: now.Add(-18 * time.Minute).Add(2 * time.Millisecond)},
			Evidence: []string{"gateway: up, last round trip 13.8ms"},
		},
	}
	b := board.New(report, func() []api.Switch { return slices.Clone(book) })
	for ; !at.After(now); at = at.Add(time.Second) {
		b.Look(at)
	}
	s := httptest.NewServer(web.Handler(b))
	t.Cleanup(s.Close)
	return s, b
}
