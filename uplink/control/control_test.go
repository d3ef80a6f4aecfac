package control_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"uplinkd/uplink/control"
	"uplinkd/uplink/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A daemon answers as it is told.
type daemon struct {
	reload   error
	disabled map[string]bool
	renewed  string
}

func (d *daemon) Status() status.Snapshot {
	return status.Snapshot{Version: 1, Uplinks: []status.Uplink{{Name: "isp1", State: "up"}}}
}

func (d *daemon) Reload() error { return d.reload }

func (d *daemon) Renew(name string) error { d.renewed = name; return nil }

func (d *daemon) Disable(name string, disable bool) error {
	if name != "isp1" {
		return control.ErrUnknownUplink
	}
	d.disabled[name] = disable
	return nil
}

// serve starts a server at a path; it ends with the test.
func serve(t *testing.T, path string, d control.Daemon) {
	t.Helper()
	listener, err := control.Listen(path)
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

func TestCalls(t *testing.T) {
	path := socket(t)
	d := &daemon{disabled: map[string]bool{}}
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
	if err := client.Disable(t.Context(), "isp1", true); err != nil || !d.disabled["isp1"] {
		t.Errorf("disable: %v, %v", err, d.disabled)
	}
	if err := client.Renew(t.Context(), "isp1"); err != nil || d.renewed != "isp1" {
		t.Errorf("renew: %v, %q", err, d.renewed)
	}
	if err := client.Disable(t.Context(), "isp9", false); err == nil || !strings.Contains(err.Error(), "no such uplink") {
		t.Errorf("enable of an unknown uplink: %v", err)
	}
	if err := client.Disable(t.Context(), "../../status", false); err == nil {
		t.Error("a name with slashes led somewhere")
	}
}

func TestSocketModeAndOwners(t *testing.T) {
	path := socket(t)
	serve(t, path, &daemon{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode %v, %v; want 0660", info.Mode(), err)
	}
	if _, err := control.Listen(path); err == nil || !strings.Contains(err.Error(), "another uplinkd listens") {
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
	if _, err := control.Listen(file); err == nil || !strings.Contains(err.Error(), "is no socket") {
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

func BenchmarkStatus(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s")
	listener, err := control.Listen(path)
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
