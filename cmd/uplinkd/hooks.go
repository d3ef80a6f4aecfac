package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
			if !h.follow(ctx, f.client) {
				f.after -= uint64(len(events)) // they are told when it is known to whom
				pause(ctx, awayPause)
				continue
			}
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
	sum    string // of the configuration that the hooks are of; "": there are none yet
	why    string // why they are not those in force, as it was last told
}

// follow reads the hooks anew when the daemon has taken another configuration, and reports
// whether there are any to be told. They come from the file, which only root may write, and
// not from the daemon; but not from a file that is not in force: it may have been refused.
func (h *hooksRun) follow(ctx context.Context, client *control.Client) bool {
	s, err := client.Status(ctx)
	switch {
	case err != nil:
		return h.sum != ""
	case !s.Daemon.HooksApart:
		h.tell("the daemon runs the hooks itself: start it with --no-hooks")
		return false
	case s.Daemon.SHA256 == h.sum:
		h.why = ""
		return true
	}
	text, err := os.ReadFile(h.config)
	if err != nil {
		h.tell(err.Error())
		return h.sum != ""
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != s.Daemon.SHA256 {
		h.tell(h.config + " is not the configuration in force")
		return h.sum != ""
	}
	config, err := daemon.Parse(h.config, text)
	if err != nil {
		h.tell(err.Error())
		return h.sum != ""
	}
	h.sum, h.why = s.Daemon.SHA256, ""
	h.runner.Set(daemon.HooksOf(config))
	return true
}

// tell says once why the hooks are not those of the configuration in force.
func (h *hooksRun) tell(why string) {
	if why != h.why {
		h.log.Warn("the hooks stay those of before", "err", why)
	}
	h.why = why
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
