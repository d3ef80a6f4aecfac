package daemon_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
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
	c, err := daemon.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	d := daemon.New(file, "v", c, manager{}, engine.Deps{
		Kernel: routestest.ThreeLinks(), Log: slog.New(slog.DiscardHandler),
		Watch:     func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil },
		OpenProbe: func(probe.Spec) (probe.Conn, error) { return nil, errors.New("none") },
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- d.Run(ctx, make(chan os.Signal)) }()
	defer func() { cancel(); <-done }()
	weight := func() int { return d.Status().Uplinks[0].Weight }
	time.Sleep(300 * time.Millisecond)
	put(file, strings.Replace(text, "weight: 2", "weight: 7", 1))
	gone, leave := context.WithCancel(ctx)
	leave()
	if err := d.Reload(gone); err == nil || weight() != 2 {
		t.Errorf("%v, weight %d in force: want an error, and nothing changed", err, weight())
	}
	if err := d.Reload(ctx); err != nil || weight() != 7 {
		t.Errorf("%v, weight %d in force: want 7", err, weight())
	}
	put(list, "203.0.113.0/24\n198.18.0.0/15\n")
	time.Sleep(1500 * time.Millisecond)
	if s := d.Status(); s.Daemon.ConfigError != "" || weight() != 7 {
		t.Errorf("after a list has changed: %q, weight %d in force", s.Daemon.ConfigError, weight())
	}
}
