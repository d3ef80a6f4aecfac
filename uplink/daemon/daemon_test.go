package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/probe"
	"uplinkd/routes/routestest"
	"uplinkd/uplink/daemon"
	"uplinkd/uplink/engine"

	"golang.org/x/sys/unix"
)

type manager struct{}

func (manager) Ready()        {}
func (manager) Status(string) {}
func (manager) Alive()        {}
func (manager) Reloading()    {}

// A FIFO as a file of prefixes kept the daemon from everything else (attack on the first
// stage).
func TestListIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir} {
		_, err := daemon.Parse("f.yaml", []byte(`
state_dir: `+dir+`
uplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}]
policies: [{name: p, to: [file:`+path+`], via: a}]
`))
		if err == nil || !strings.Contains(err.Error(), path+" is no regular file") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// start runs a daemon against a fake kernel until the test ends, or until kill is called.
func start(t *testing.T, file string, loaded daemon.Loaded) *daemon.Daemon {
	t.Helper()
	d, kill := startKillable(t, file, loaded)
	t.Cleanup(kill)
	return d
}

func startKillable(t *testing.T, file string, loaded daemon.Loaded) (d *daemon.Daemon, kill func()) {
	t.Helper()
	d = daemon.New(file, "v", loaded, manager{}, engine.Deps{
		Kernel: routestest.ThreeLinks(), Log: slog.New(slog.DiscardHandler),
		Watch:     func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil },
		OpenProbe: func(probe.Spec) (probe.Conn, error) { return nil, errors.New("none") },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx, make(chan os.Signal)) }()
	time.Sleep(300 * time.Millisecond)
	return d, sync.OnceFunc(func() { cancel(); <-done })
}

// A reload whose requester had gone away took effect and was told as refused; the next
// change of a prefix list put the old configuration back (review before the release).
func TestReloadGivenUp(t *testing.T) {
	dir := t.TempDir()
	file, list := filepath.Join(dir, "u.yaml"), filepath.Join(dir, "list")
	text := `
state_dir: ` + dir + `
uplinks:
  - {name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1, weight: 2}
  - {name: b, interface: eth2, address: 198.51.100.5/24, gateway: 198.51.100.1}
policies: [{name: p, to: [file:` + list + `], via: b}]
`
	put := func(name, s string) {
		if err := os.WriteFile(name, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(list, "203.0.113.0/24\n")
	put(file, text)
	c, err := daemon.LoadToRun(file)
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, file, c)
	ctx := t.Context()
	weight := func() int { return d.Status().Uplinks[0].Weight }
	put(file, strings.Replace(text, "weight: 2", "weight: 7", 1))
	gone, leave := context.WithCancel(ctx)
	leave()
	if err := d.Reload(gone, "test"); err == nil || weight() != 2 {
		t.Errorf("%v, weight %d in force: want an error, and nothing changed", err, weight())
	}
	if err := d.Reload(ctx, "test"); err != nil || weight() != 7 {
		t.Errorf("%v, weight %d in force: want 7", err, weight())
	}
	put(list, "203.0.113.0/24\n198.18.0.0/15\n")
	time.Sleep(1500 * time.Millisecond)
	if s := d.Status(); s.Daemon.ConfigError != "" || weight() != 7 {
		t.Errorf("after a list has changed: %q, weight %d in force", s.Daemon.ConfigError, weight())
	}
}
