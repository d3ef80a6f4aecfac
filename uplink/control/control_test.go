package control_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

func TestMain(m *testing.M) {
	// net/http waits half a second after it has closed a connection.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// A daemon answers as it is told.
type daemon struct {
	reload  error
	trial   *api.Trial
	ordered []api.Command

	mu     sync.Mutex // guards what follows
	events []api.Event
	more   chan struct{}
}

func (d *daemon) Status() api.Snapshot {
	return api.Snapshot{Version: 1, Uplinks: []api.Uplink{{Name: "isp1", State: "up"}}}
}

func (d *daemon) Reload(context.Context, string) error { return d.reload }

func (d *daemon) Command(_ context.Context, name string, o api.Command) error {
	switch name {
	case "isp1":
	case "isp2":
		return fmt.Errorf("%w: the disk is full", control.ErrInPart)
	default:
		return control.ErrUnknownUplink
	}
	d.ordered = append(d.ordered, o)
	return nil
}

func (d *daemon) Drain(name string) (api.DrainProgress, error) {
	if name != "isp1" {
		return api.DrainProgress{}, control.ErrUnknownUplink
	}
	return api.DrainProgress{State: api.DrainRunning, Connections: api.Known(3)}, nil
}

func (d *daemon) Plan(_ context.Context, name string, text []byte, login *api.Login) (api.Plan, error) {
	return api.Plan{Operations: []string{name, string(text)}, Conflicts: []api.Conflict{}, Login: login}, nil
}

func (d *daemon) Apply(_ context.Context, name string, text []byte, o api.Apply) (api.Trial, error) {
	if d.trial != nil {
		return api.Trial{}, control.ErrOnTrial
	}
	d.trial = &api.Trial{File: name, Text: text, SHA256: "sum", Until: time.Now().Add(o.For), By: o.By}
	return *d.trial, nil
}

func (d *daemon) Trial() (api.Trial, error) {
	if d.trial == nil {
		return api.Trial{}, control.ErrNoTrial
	}
	return *d.trial, nil
}

func (d *daemon) Confirm(sum, _ string) error {
	if d.trial == nil || sum != d.trial.SHA256 {
		return control.ErrNoTrial
	}
	d.trial = nil
	return nil
}

func (d *daemon) Reject(context.Context, string) error { d.trial = nil; return nil }

func (d *daemon) Report() api.Snapshot { return d.Status() }

func (d *daemon) Switches() []api.Switch { return []api.Switch{{ID: 1, Uplink: "isp1", To: api.Up}} }

func (d *daemon) Started() time.Time { return time.Unix(1, 0) }

func (d *daemon) Events(after uint64) ([]api.Event, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []api.Event
	for _, e := range d.events {
		if e.ID > after {
			list = append(list, e)
		}
	}
	return list, d.more
}

// serve starts a server at a path; it ends with the test.
func serve(t *testing.T, path string, d control.Daemon) {
	t.Helper()
	listener, err := control.Listen(path, "nogroup-here", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- control.Serve(ctx, listener, d, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "u") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "run", "sock")
}

// Who is neither root nor the daemon's own user may ask, so and so often, and not order. As
// root the test becomes such a user for a moment; otherwise there is none to be.
func TestOthersMayOnlyAsk(t *testing.T) {
	if os.Geteuid() != 0 {
		labtest.Skip(t, "needs root: sudo make test")
	}
	path := socket(t)
	serve(t, path, &daemon{})
	for _, dir := range []string{path, filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	client := control.NewClient(path)
	asNobody := func(do func() error) error {
		t.Helper()
		result := make(chan error, 1)
		go func() {
			// The thread keeps the other user, and ends with the goroutine.
			runtime.LockOSThread()
			if _, _, e := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); e != 0 {
				result <- e
				return
			}
			result <- do()
		}()
		return <-result
	}
	// net/http dials in a goroutine of its own, so the connection is made here.
	call := func(method, url string) (status int, err error) {
		err = asNobody(func() error {
			conn, err := net.Dial("unix", path)
			if err != nil {
				return err
			}
			defer conn.Close()
			request, _ := http.NewRequest(method, "http://uplinkd"+url, http.NoBody)
			if err := request.Write(conn); err != nil {
				return err
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), request)
			if err == nil {
				status = response.StatusCode
				_ = response.Body.Close()
			}
			return err
		})
		return status, err
	}
	for _, tt := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/v1/status", 200},
		{"GET", "/v1/trial", 410},
		{"POST", "/v1/plan?file=f", 403},
		{"POST", "/v1/reload", 403},
		{"POST", "/v1/uplinks/isp1/disable", 403},
		{"POST", "/v1/trial?for=1m", 403},
		{"PUT", "/v1/trial", 403},
		{"DELETE", "/v1/trial", 403},
	} {
		if status, err := call(tt.method, tt.path); err != nil || status != tt.status {
			t.Errorf("%s %s: %d, %v; want %d", tt.method, tt.path, status, err, tt.status)
		}
	}
	refused := 0
	for range 400 {
		if status, err := call("GET", "/v1/status"); err == nil && status == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 {
		t.Error("400 questions at once were all answered")
	}
	if err := client.Reload(t.Context()); err != nil {
		t.Errorf("root's own: %v", err)
	}
}

func TestCalls(t *testing.T) {
	path := socket(t)
	d := &daemon{}
	serve(t, path, d)
	client := control.NewClient(path)
	s, err := client.Status(t.Context())
	if err != nil || len(s.Uplinks) != 1 || s.Uplinks[0].Name != "isp1" {
		t.Errorf("status %+v, %v", s, err)
	}
	if err := client.Reload(t.Context()); err != nil {
		t.Error(err)
	}
	d.reload = errors.New("f.yaml:1:2: weight 0: must be 1 to 256")
	if err := client.Reload(t.Context()); err == nil || err.Error() != d.reload.Error() {
		t.Errorf("reload of a bad file: %v", err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	orders := []api.Command{
		{Action: "disable"},
		{Action: "drain", For: 30 * time.Minute},
		{Action: "weight", Weight: 7},
		{Action: "weight"},
		{Action: "renew"},
		{Action: "enable"},
	}
	for i, o := range orders {
		o.By = "a client cannot say who it is"
		if err := client.Command(t.Context(), "isp1", o); err != nil {
			t.Errorf("%s: %v", o.Action, err)
		}
		orders[i].By = me.Username
	}
	if diff := cmp.Diff(orders, d.ordered); diff != "" {
		t.Errorf("(-given +taken):\n%s", diff)
	}
	for name, o := range map[string]api.Command{
		"isp9":         {Action: "enable"},
		"../../status": {Action: "enable"},
		"isp1":         {Action: "weight", Weight: 257},
	} {
		if err := client.Command(t.Context(), name, o); err == nil {
			t.Errorf("%s of %s was taken", o.Action, name)
		}
	}
	if err := client.Command(t.Context(), "isp9", api.Command{Action: api.Enable}); !errors.Is(err,
		control.ErrUnknownUplink) {
		t.Errorf("an unknown uplink: %v", err)
	}
	if err := client.Command(t.Context(), "isp2", api.Command{Action: api.Enable}); !errors.Is(err,
		control.ErrInPart) ||
		!strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("done in part: %v", err)
	}
	if err := client.Command(t.Context(), "isp1", api.Command{Action: "explode"}); err == nil ||
		!strings.Contains(err.Error(), "drain") {
		t.Errorf("an unknown action: %v, want the ones there are", err)
	}
}

// A plan is asked for with the text of a configuration, which is bounded.
func TestPlanAndDrain(t *testing.T) {
	path := socket(t)
	serve(t, path, &daemon{})
	client := control.NewClient(path)
	plan, err := client.Plan(t.Context(), "/etc/a b.yaml", []byte("uplinks: []"), &api.Login{
		Local: netip.MustParseAddrPort("[2001:db8::1]:22"), Peer: netip.MustParseAddrPort("192.0.2.1:4711"),
	})
	if err == nil && (plan.Login == nil || plan.Login.Local.Port() != 22 ||
		plan.Login.Peer.String() != "192.0.2.1:4711") {
		t.Errorf("asked about the login %+v", plan.Login)
	}
	if err != nil || len(plan.Operations) != 2 || plan.Operations[0] != "/etc/a b.yaml" ||
		plan.Operations[1] != "uplinks: []" {
		t.Errorf("plan %+v, %v", plan, err)
	}
	if _, err := client.Plan(t.Context(), "big", make([]byte, 2<<20), nil); err == nil ||
		!strings.Contains(err.Error(), "more than") {
		t.Errorf("two megabytes of configuration: %v", err)
	}
	if p, err := client.Drain(t.Context(), "isp1"); err != nil || p.State != api.DrainRunning ||
		p.Connections != api.Known(3) {
		t.Errorf("drain %+v, %v", p, err)
	}
	if _, err := client.Drain(t.Context(), "isp9"); !errors.Is(err, control.ErrUnknownUplink) {
		t.Errorf("drain of an unknown uplink: %v", err)
	}
}

// A daemon that goes away before it has answered is not running: who waits out a
// restart must be able to tell. From an attack: 221 of 250 calls beside restarts were
// told so, 7 were not.
func TestDaemonGoesAway(t *testing.T) {
	path := socket(t)
	listener, err := control.Listen(path, "nogroup-here", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for n := 0; ; n++ {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if n%2 == 0 { // with the request unread, so that the kernel resets
				_, _ = conn.Read(make([]byte, 1))
			} else {
				_, _ = conn.Read(make([]byte, 4096))
			}
			_ = conn.Close()
		}
	}()
	for range 10 {
		if _, err := control.NewClient(path).Status(t.Context()); !errors.Is(err, control.ErrWentAway) {
			t.Errorf("%v, want ErrWentAway", err) // and not ErrNotRunning, on which plan goes by the file alone
		}
	}
}

// A client that follows gets each event once, as it comes.
func TestEvents(t *testing.T) {
	path := socket(t)
	d := &daemon{more: make(chan struct{}), events: []api.Event{{ID: 1, To: "down"}}}
	serve(t, path, d)
	client := control.NewClient(path)
	first, err := client.Events(t.Context(), 0, false)
	if err != nil || first.Last != 1 || len(first.Events) != 1 {
		t.Fatalf("%+v, %v", first, err)
	}
	time.AfterFunc(50*time.Millisecond, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.events = append(d.events, api.Event{ID: 2, To: "up"})
		close(d.more)
	})
	next, err := client.Events(t.Context(), first.Last, true)
	if err != nil || len(next.Events) != 1 || next.Events[0].To != "up" || next.Last != 2 {
		t.Errorf("%+v, %v; want the one that came meanwhile", next, err)
	}
	// The daemon has been restarted: its numbers begin anew.
	if old, err := client.Events(t.Context(), 99, false); err != nil || old.Last != 2 || len(old.Events) != 0 {
		t.Errorf("%+v, %v; want none, and the newest number", old, err)
	}
}

func TestSocketModeAndOwners(t *testing.T) {
	path := socket(t)
	serve(t, path, &daemon{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode(), err)
	}
	if _, err := control.Listen(path, "nogroup-here", slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "another uplinkd listens") {
		t.Errorf("a live socket: %v", err)
	}
	if _, err := control.NewClient(path).Status(t.Context()); err != nil {
		t.Errorf("after the attempt to take it: %v", err)
	}
}

// A socket that a killed process left is replaced; a file is not.
func TestStaleSocket(t *testing.T) {
	path := socket(t)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := control.NewClient(path).Status(t.Context()); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("asked at a dead socket: %v, want ErrNotRunning", err)
	}
	serve(t, path, &daemon{})
	if _, err := control.NewClient(path).Status(t.Context()); err != nil {
		t.Error(err)
	}

	file := socket(t)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Listen(file, "nogroup-here", slog.New(slog.DiscardHandler)); err == nil ||
		!strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the place of the socket: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

func TestNobodyListens(t *testing.T) {
	_, err := control.NewClient(filepath.Join(t.TempDir(), "none")).Status(t.Context())
	if !errors.Is(err, control.ErrNotRunning) || !strings.Contains(err.Error(), "systemctl start uplinkd") {
		t.Errorf("%v, want ErrNotRunning and the remedy", err)
	}
}

// Who asks each second does so over one connection; when most of the
// connections are taken it gives its own back after each answer, so that an order comes through.
func TestWatcher(t *testing.T) {
	path, d := socket(t), &daemon{more: make(chan struct{})}
	listener, err := control.Listen(path, "nogroup-here", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	counted := &countingListener{Listener: listener}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- control.Serve(ctx, counted, d, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	client := control.NewWatcher(path)
	defer client.Close()
	look := func() {
		t.Helper()
		if _, err := client.Status(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for range 14 {
		look()
	}
	if n := counted.accepted.Load(); n != 1 {
		t.Errorf("14 questions came over %d connections, want 1", n)
	}
	var others []net.Conn
	for range 40 {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		others = append(others, conn)
	}
	for counted.accepted.Load() < 41 {
		time.Sleep(time.Millisecond)
	}
	look() // the answer takes the connection with it
	look()
	look()
	if n := counted.accepted.Load(); n < 43 {
		t.Errorf("%d connections while most were taken: the watcher keeps its own", n)
	}
	for _, c := range others {
		_ = c.Close()
	}
}

// A countingListener counts connections.
type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// What is not HTTP, and what is too much of it, ends; others are served meanwhile.
func TestHostileClients(t *testing.T) {
	path := socket(t)
	serve(t, path, &daemon{})
	dial := func() net.Conn {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	garbage, endless, silent := dial(), dial(), dial()
	if _, err := garbage.Write([]byte("\x00\x01\x02\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = endless.Write([]byte("GET /v1/status HTTP/1.1\r\n"))
		for {
			if _, err := endless.Write([]byte("X: " + strings.Repeat("y", 4096) + "\r\n")); err != nil {
				return
			}
		}
	}()
	for range 3 {
		if _, err := control.NewClient(path).Status(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for name, conn := range map[string]net.Conn{"garbage": garbage, "endless": endless, "silent": silent} {
		_ = conn.SetReadDeadline(time.Now().Add(8 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: still connected after 8 s", name)
		}
	}
}

// 1,200 held connections used up the daemon's descriptors (attack on the first stage).
// Those over the limit wait, and the others are served.
func TestManyConnections(t *testing.T) {
	path := socket(t)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	serve(t, path, &daemon{})
	before := descriptors()
	const held = 100
	for range held {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	time.Sleep(200 * time.Millisecond)
	if n := descriptors() - before - held; n < 10 || n > 70 {
		t.Errorf("%d connections are taken at a time, want some 64", n)
	}
	if _, err := control.NewClient(path).Status(t.Context()); err != nil {
		t.Errorf("after those that say nothing: %v", err)
	}
}

func BenchmarkStatus(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s")
	listener, err := control.Listen(path, "nogroup-here", slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- control.Serve(ctx, listener, &daemon{}, slog.New(slog.DiscardHandler)) }()
	defer func() { cancel(); <-done }()
	client := control.NewClient(path)
	for b.Loop() {
		if _, err := client.Status(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// A configuration on trial, from end to end of the socket.
func TestTrials(t *testing.T) {
	path := socket(t)
	serve(t, path, &daemon{})
	client := control.NewClient(path)
	if _, err := client.Trial(t.Context()); !errors.Is(err, control.ErrNoTrial) {
		t.Errorf("nothing is on trial: %v", err)
	}
	for _, length := range []time.Duration{0, time.Millisecond, 25 * time.Hour} {
		if _, err := client.Apply(t.Context(), "f", nil, length); err == nil || !strings.Contains(err.Error(),
			"1s to 24h") {
			t.Errorf("for %s: %v, want the bounds", length, err)
		}
	}
	trial, err := client.Apply(t.Context(), "/etc/a b.yaml", []byte("uplinks: []"), time.Minute)
	if err != nil || trial.File != "/etc/a b.yaml" || string(trial.Text) != "uplinks: []" || trial.By == "" {
		t.Errorf("%+v, %v", trial, err)
	}
	if _, err := client.Apply(t.Context(), "f", nil, time.Minute); !errors.Is(err, control.ErrOnTrial) {
		t.Errorf("a second trial: %v", err)
	}
	if err := client.Confirm(t.Context(), "another"); !errors.Is(err, control.ErrNoTrial) {
		t.Errorf("another one confirmed: %v", err)
	}
	if err := client.Confirm(t.Context(), trial.SHA256); err != nil {
		t.Error(err)
	}
	if err := client.Reject(t.Context()); err != nil {
		t.Error(err)
	}
}
