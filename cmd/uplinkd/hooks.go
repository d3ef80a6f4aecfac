package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"uplinkd/internal/calm"
	"uplinkd/internal/statefile"
	"uplinkd/systemd"
	"uplinkd/uplink/control"
	"uplinkd/uplink/daemon"
	"uplinkd/uplink/hooks"
)

func hooksCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "hooks", Short: "Run the hooks apart from the daemon, as another user", Args: cobra.NoArgs,
		Long: "Run the hooks of the configuration on what a daemon tells that runs with --no-hooks, as\n" +
			"uplinkd-hooks.service does: the daemon may change the network and is no root, hooks may be\n" +
			"root and cannot change the network. It waits for the daemon, and outlives its restarts.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			handler := calm.NewHandler(systemd.NewLogHandler(c.err, slog.LevelInfo))
			defer handler.Close()
			return c.runHooks(cmd.Context(), slog.New(handler))
		},
	}
	c.flagConfig(cmd)
	return cmd
}

// runHooks runs hooks until ctx ends.
func (c *common) runHooks(ctx context.Context, log *slog.Logger) error {
	h := hooksRun{common: c, log: log, runner: hooks.New(log), told: toldPath()}
	f := follower{client: c.client()}
	f.started, f.after = h.readTold()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.runner.Run(ctx) })
	group.Go(func() error {
		for ctx.Err() == nil {
			events, err := f.next(ctx, restartMost)
			if err != nil {
				pause(ctx, awayPause)
				continue
			}
			h.follow(ctx, f.client)
			for _, e := range events {
				h.runner.Tell(e)
			}
			if len(events) > 0 {
				h.writeTold(f.started, f.after)
			}
		}
		return nil
	})
	return group.Wait()
}

// A hooksRun knows which configuration its hooks are of, and what they were told.
type hooksRun struct {
	*common
	log    *slog.Logger
	runner *hooks.Runner
	told   string // the file that says what hooks were told; "": there is none
	since  string // which configuration the hooks are of
}

// follow reads the hooks anew when the daemon has taken another configuration. They come
// from the file, which only root may write, and not from the daemon.
func (h *hooksRun) follow(ctx context.Context, client *control.Client) {
	s, err := client.Status(ctx)
	if err != nil || s.Daemon.Trial != nil {
		return
	}
	since := s.Daemon.Started.String() + s.Daemon.Reloaded.String()
	if since == h.since {
		return
	}
	config, err := daemon.Load(h.config)
	if err != nil {
		h.log.Error("the hooks stay those of before", "config", h.config, "err", err)
		return
	}
	h.since = since
	h.runner.Set(daemon.HooksOf(config))
}

// A toldRecord is what hooks were told, so that a restart tells nothing twice.
type toldRecord struct {
	Started time.Time `json:"started"`
	Last    uint64    `json:"last"`
}

// toldPath returns where to keep it: in the directory that systemd gives a unit
// (systemd.exec(5), RuntimeDirectory=), "" without one.
func toldPath() string {
	dir := os.Getenv("RUNTIME_DIRECTORY")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "told.json")
}

func (h *hooksRun) readTold() (started time.Time, last uint64) {
	var r toldRecord
	b, err := statefile.Read(h.told, 1<<10)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return time.Time{}, 0 // all is told
	}
	return r.Started, r.Last
}

func (h *hooksRun) writeTold(started time.Time, last uint64) {
	if h.told == "" {
		return
	}
	b, err := json.Marshal(toldRecord{started, last})
	if err == nil {
		err = statefile.Replace(h.told, b, statefile.Process)
	}
	if err != nil {
		h.log.Warn("after a restart hooks may be told again what they know", "err", err)
	}
}
