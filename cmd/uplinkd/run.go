package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
	"uplinkd/routes/kernel"
	"uplinkd/systemd"
	"uplinkd/uplink"
	"uplinkd/uplink/control"
	"uplinkd/uplink/status"
)

func runCommand(c *common) *cobra.Command {
	var debugging bool
	cmd := &cobra.Command{
		Use: "run", Short: "Run the daemon in the foreground", Args: cobra.NoArgs,
		Long: "Run the daemon in the foreground. SIGTERM ends it and leaves the kernel's routes in\n" +
			"place: traffic goes on. SIGHUP reads the configuration anew; a bad file changes\n" +
			"nothing and shows in status.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if debugging {
				level = slog.LevelDebug
			}
			return run(cmd.Context(), c.config, slog.New(systemd.NewLogHandler(c.err, level)))
		},
	}
	c.flagConfig(cmd)
	cmd.Flags().BoolVar(&debugging, "debug", false, "log every kernel operation")
	return cmd
}

// run is the daemon: it builds the parts and runs them until ctx ends.
func run(ctx context.Context, path string, log *slog.Logger) error {
	config, err := loadConfig(path)
	if err != nil {
		return err
	}
	lock, err := control.Lock(ctx, config.Routes.Protocol, config.Routes.RulePriority)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the process ends
	listener, err := control.Listen(config.Control.Socket)
	if err != nil {
		return err
	}
	defer listener.Close()              //nolint:errcheck // the process ends
	watcher, err := kernel.NewWatcher() // before the first reading, so that no change falls between
	if err != nil {
		return err
	}
	k, err := kernel.Open(config.StateDir, log)
	if err != nil {
		return err
	}
	defer k.Close()

	manager := systemd.NewManager()
	d := &daemon{path: path, config: config, started: time.Now(), manager: manager, log: log}
	d.engine = uplink.NewEngine(config, uplink.Outside{
		Kernel: k, Watch: watcher.Watch, OpenProbe: probe.OpenICMP, OpenDHCP: dhcp.Open, Random: rand.Uint32,
		DUID:      machineDUID(),
		Leases:    dhcp.Files{Dir: config.StateDir, Clock: dhcp.SystemClock{}},
		SinceBoot: dhcp.SystemClock{}.SinceBoot, Traffic: traffic, Connections: connections, Notify: manager, Log: log,
	})
	log.Info("started", "version", versionText(), "config", path, "uplinks", len(config.Uplinks))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.engine.Run(ctx) })
	group.Go(func() error { return control.Serve(ctx, listener, d, log) })
	group.Go(func() error { return d.reloadOnHangup(ctx) })
	err = group.Wait()
	manager.Stopping()
	if err == nil {
		log.Info("stopped; the kernel's routes stay as they are")
	}
	return err
}

// machineDUID returns the DUID of this machine, nil where it has no machine id.
func machineDUID() []byte {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil
	}
	return dhcp.HostDUID(string(id))
}

// traffic and connections fit the kernel's functions to the engine's. Figures
// that cannot be had are left out: they only inform.
func traffic() map[string]uplink.Traffic {
	figures, err := kernel.Traffic()
	if err != nil {
		return nil
	}
	traffic := make(map[string]uplink.Traffic, len(figures))
	for name, t := range figures {
		traffic[name] = uplink.Traffic{Rx: t[0], Tx: t[1]}
	}
	return traffic
}

func connections(addresses []string) map[string]int {
	counts, err := kernel.Connections(addresses)
	if err != nil {
		return nil
	}
	return counts
}

// A daemon is what the control socket speaks to.
type daemon struct {
	path    string
	started time.Time
	engine  *uplink.Engine
	manager *systemd.Manager
	log     *slog.Logger

	mu          sync.Mutex // guards what follows
	config      configs.Config
	reloaded    time.Time
	configError string
}

var _ control.Daemon = (*daemon)(nil)

// Status implements control.Daemon.
func (d *daemon) Status() status.Snapshot {
	s := d.engine.Snapshot()
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Daemon = status.Daemon{
		Version: versionText(), PID: os.Getpid(), Started: d.started, Config: d.path,
		Reloaded: status.When{Time: d.reloaded}, ConfigError: d.configError,
	}
	return s
}

// Reload implements control.Daemon.
func (d *daemon) Reload() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.manager.Reloading()
	defer d.manager.Ready()
	next, err := loadConfig(d.path)
	if err == nil {
		err = uplink.CanReload(d.config, next)
	}
	if err != nil {
		d.configError = err.Error()
		d.log.Error("configuration not reloaded; nothing has changed", "config", d.path, "err", err)
		return err
	}
	d.config, d.reloaded, d.configError = next, time.Now(), ""
	d.engine.Send(uplink.Reloaded{Config: next})
	d.log.Info("configuration reloaded", "config", d.path, "uplinks", len(next.Uplinks))
	return nil
}

// Disable implements control.Daemon.
func (d *daemon) Disable(name string, disable bool) error {
	return d.order(name, func(configs.Uplink) (uplink.Event, error) {
		return uplink.Ordered{Uplink: name, Disable: disable}, nil
	})
}

// Renew implements control.Daemon.
func (d *daemon) Renew(name string) error {
	return d.order(name, func(u configs.Uplink) (uplink.Event, error) {
		if u.Address != configs.AddressDHCP {
			return nil, fmt.Errorf("uplink %s has no lease to renew: its address is %s", name, u.Address)
		}
		return uplink.Renewed{Uplink: name}, nil
	})
}

// order sends the engine what the operator wants of an uplink.
func (d *daemon) order(name string, event func(configs.Uplink) (uplink.Event, error)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.config.Uplinks {
		if d.config.Uplinks[i].Name == name {
			e, err := event(d.config.Uplinks[i])
			if err == nil {
				d.engine.Send(e)
			}
			return err
		}
	}
	return fmt.Errorf("%w: %q: see uplinkd status", control.ErrUnknownUplink, name)
}

func (d *daemon) reloadOnHangup(ctx context.Context) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			_ = d.Reload() // has been logged, and shows in status
		}
	}
}

func reloadCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "reload", Short: "Make the daemon read its configuration anew", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.client().Reload(cmd.Context()) },
	}
	c.flagSocket(cmd)
	return cmd
}

func disableCommand(c *common, disable bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "enable UPLINK", Short: "Take an uplink back into use", Args: named("UPLINK"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.client().Disable(cmd.Context(), args[0], disable)
		},
	}
	if disable {
		cmd.Use, cmd.Short = "disable UPLINK",
			"Take an uplink out of use at once, and release its lease, until enable or a restart"
	}
	c.flagSocket(cmd)
	return cmd
}

func renewCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "renew UPLINK", Short: "Renew an uplink's lease now", Args: named("UPLINK"),
		Long: "Renew an uplink's lease now. Asked again it asks any server, and the third time for a\n" +
			"lease as if there were none; a lease in force stays in force meanwhile.",
		RunE: func(cmd *cobra.Command, args []string) error { return c.client().Renew(cmd.Context(), args[0]) },
	}
	c.flagSocket(cmd)
	return cmd
}

// running asks the daemon how it is; nil when none runs.
func (c *common) running(ctx context.Context, client *control.Client) (*status.Snapshot, error) {
	s, err := client.Status(ctx)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}
