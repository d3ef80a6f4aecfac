package web_test

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"uplinkd/uplink/api"
	"uplinkd/uplink/board"
	"uplinkd/uplink/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var noon = time.Date(2026, 11, 27, 12, 3, 4, 120e6, time.UTC)

// hostile is a text as a stranger on the link may have given it.
const hostile = "<script>alert(1)</script>\x1b[31m\" onload=x"

func report() api.Snapshot {
	return api.Snapshot{
		Daemon:       api.Daemon{Version: "v1"},
		DefaultRoute: api.DefaultRoute{NextHops: []api.NextHop{{Uplink: "isp1", Weight: 3}, {Uplink: "isp2", Weight: 1}}},
		Uplinks: []api.Uplink{
			{
				Name: "isp1", Family: "ipv4", State: api.Up, Active: true, Since: noon, Reason: hostile,
				Probes:   []api.Probe{{Target: "gateway", RTT: 12.3, Sent: 100, Received: 100, Silence: api.Millis(300 * time.Millisecond), DownAfter: 1000}},
				Counters: api.Counters{RxBPS: api.Known[uint64](93_500_000), TxBPS: api.Known[uint64](1200), Connections: api.Known(30)},
			},
			{Name: "isp2", Family: "ipv4", State: api.Down, Since: noon, Reason: "eth2 has no carrier", Counters: api.Counters{Connections: api.Known(10)}},
		},
		Kernel: api.Kernel{Conflicts: []api.Conflict{{Have: hostile, Remedy: "remove it"}}},
	}
}

func switches() []api.Switch {
	return []api.Switch{{
		ID: 7, Uplink: "isp2", Interface: "eth2", Family: "ipv4", From: api.Up, To: api.Down, Cause: api.CauseProbes,
		Reason: "the gateway does not answer", Evidence: []string{"gateway: down, 3 missed in a row since 12:03:04.120", "eth2: 48 packets out and 0 in since 12:03:04.100", hostile},
		Since: api.When{Time: noon}, DoubtAt: api.When{Time: noon.Add(208 * time.Millisecond)}, Routed: api.When{Time: noon.Add(212 * time.Millisecond)},
		At: noon.Add(950 * time.Millisecond), Ended: api.When{Time: noon.Add(time.Second)}, Flows: api.Known(31), Sockets: api.Known(4),
	}}
}

// serve shows a board that has looked a few times.
func serve(t *testing.T) (*httptest.Server, *board.Board) {
	t.Helper()
	b := board.New(report, switches)
	for n := range 30 {
		b.Look(noon.Add(time.Duration(n) * time.Second))
	}
	s := httptest.NewServer(web.Handler(b))
	t.Cleanup(s.Close)
	return s, b
}

func get(t *testing.T, s *httptest.Server, path string, set func(*http.Request)) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.URL+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if set != nil {
		set(r)
	}
	answer, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var b strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return answer, b.String()
}

// The page tells all without a script: the table, the bar, the hour, and each switch with its story; what a
// stranger wrote is text.
func TestPage(t *testing.T) {
	s, _ := serve(t)
	answer, text := get(t, s, "/", nil)
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", answer.Status, text)
	}
	for _, part := range []string{
		"1 of 2 paths up", "isp1 75% isp2 25%", ">12.3 ms<", ">30 (75%)<", ">93.5M<", "eth2 has no carrier", `<details id="s7">`,
		`datetime="2026-11-27T12:03:05.070Z"`, "new connections moved after 212 ms", "31 flows and 4 connections of this host ended after 1000 ms",
		"loss, most ?<", "down, most 93.5M bit/s<", "48 packets out and 0 in since 12:03:04.100", "doubtful at ", "after 208 ms", `class="rtt"`,
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not on the page", part)
		}
	}
	if strings.Contains(text, "<script>alert") || strings.Contains(text, "\x1b") || strings.Contains(text, `" onload=x`) {
		t.Error("a stranger's text is part of the page")
	}
	for _, outside := range []string{"http://", "https://", "style=", "onclick"} {
		if strings.Contains(text, outside) {
			t.Errorf("%q is on the page", outside)
		}
	}
}

// Who comes by another name, from another site's page, or wants to change something, is sent away, and every
// answer forbids the page what it does not need.
func TestStrangers(t *testing.T) {
	s, _ := serve(t)
	own := strings.TrimPrefix(s.URL, "http://")
	for name, tt := range map[string]struct {
		set  func(*http.Request)
		code int
	}{
		"by its address":      {func(*http.Request) {}, http.StatusOK},
		"as localhost":        {func(r *http.Request) { r.Host = "localhost:9878" }, http.StatusOK},
		"IPv6":                {func(r *http.Request) { r.Host = "[::1]:9878" }, http.StatusOK},
		"rebound name":        {func(r *http.Request) { r.Host = "evil.example:9878" }, http.StatusForbidden},
		"name like localhost": {func(r *http.Request) { r.Host = "localhost.evil.example" }, http.StatusForbidden},
		"name like address":   {func(r *http.Request) { r.Host = "127.0.0.1.evil.example" }, http.StatusForbidden},
		"own origin":          {func(r *http.Request) { r.Header.Set("Origin", "http://"+own) }, http.StatusOK},
		"other origin":        {func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, http.StatusForbidden},
		"null origin":         {func(r *http.Request) { r.Header.Set("Origin", "null") }, http.StatusForbidden},
		"other port":          {func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") }, http.StatusForbidden},
		"fetched by a page":   {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, http.StatusForbidden},
		"typed":               {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "none") }, http.StatusOK},
		"order":               {func(r *http.Request) { r.Method = http.MethodPost }, http.StatusMethodNotAllowed},
	} {
		for _, path := range []string{"/", "/style.css"} {
			answer, _ := get(t, s, path, tt.set)
			if answer.StatusCode != tt.code {
				t.Errorf("%s, %s: %s, want %d", name, path, answer.Status, tt.code)
			}
			h := answer.Header
			if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'; ") || h.Get("X-Content-Type-Options") != "nosniff" ||
				h.Get("Set-Cookie") != "" || h.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s, %s: headers %v", name, path, h)
			}
		}
	}
	for _, path := range []string{"/v1/status", "/files/index.html", "/../etc/passwd", "/debug/pprof/"} {
		if answer, _ := get(t, s, path, nil); answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
}

// What has changed comes as an event, what has not does not, and pages beyond the bound are told so. One that
// does not read holds up nobody.
func TestLive(t *testing.T) {
	s, b := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func() *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/live", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { answer.Body.Close() })
		return answer
	}
	first := open()
	lines := bufio.NewScanner(first.Body)
	lines.Buffer(nil, 1<<20)
	events := func() (list []string) {
		for lines.Scan() && lines.Text() != "event: beat" {
			if name, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				list = append(list, name)
			}
		}
		lines.Scan() // its data
		return list
	}
	if got := strings.Join(events(), " "); got != "summary uplinks graphs switches" {
		t.Fatalf("at first: %s", got)
	}
	for range 31 {
		open() // and never read
	}
	if over := open(); over.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("one too many: %s", over.Status)
	}
	b.Look(noon.Add(31 * time.Second))
	if got := strings.Join(events(), " "); strings.Contains(got, "switches") || strings.Contains(got, "graphs") {
		t.Errorf("nothing new, and sent: %s", got)
	}
}

// Serve ends with its context, though a page is open.
func TestServeEnds(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := board.New(report, switches)
	b.Look(noon)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(ctx, listener, b, slog.New(slog.DiscardHandler)) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + listener.Addr().String() + "/live")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it did not end")
	}
}
