package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
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
	"uplinkd/uplink/hooks"
	"uplinkd/uplink/orders"
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
	neighbours, err := kernel.NewNeighbourWatcher()
	if err != nil {
		return err
	}
	k, err := kernel.Open(config.StateDir, log)
	if err != nil {
		return err
	}
	defer k.Close()

	manager := systemd.NewManager()
	d := &daemon{
		path: path, config: config, started: time.Now(), manager: manager, log: log, hooks: hooks.New(log),
		files: stamps(config),
	}
	d.hooks.Set(hooksOf(config))
	stood, err := orders.Load(config.StateDir)
	if err != nil {
		log.Error("the operator's orders of before are not known: none is in force", "err", err)
	}
	d.engine = uplink.NewEngine(config, uplink.Outside{
		Kernel: k, Watch: watcher.Watch, Neighbours: neighbours.Watch, OpenProbe: probe.Open, OpenDHCP: dhcp.Open,
		Random:    rand.Uint32,
		DUID:      machineDUID(),
		Leases:    dhcp.Files{Dir: config.StateDir, Clock: dhcp.SystemClock{}},
		SinceBoot: dhcp.SystemClock{}.SinceBoot, Traffic: traffic, Connections: connections, Flows: flows,
		Stalled: stalled, Notify: manager, Log: log,
		Cut: cut, Counters: func() map[string][2]uint64 { return counters(config) },
		Orders:     stood,
		SaveOrders: func(book map[string]status.Order) error { return orders.Save(config.StateDir, book) },
	})
	log.Info("started", "version", versionText(), "config", path, "uplinks", len(config.Uplinks))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.engine.Run(ctx) })
	group.Go(func() error { return control.Serve(ctx, listener, d, log) })
	group.Go(func() error { return d.reloadOnHangup(ctx) })
	group.Go(func() error { return d.reloadOnNewLists(ctx) })
	group.Go(func() error { return d.hooks.Run(ctx) })
	group.Go(func() error { return d.tellHooks(ctx) })
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

func flows(addresses []string) map[string]int {
	counts, err := kernel.Flows(addresses)
	if err != nil {
		return nil
	}
	return counts
}

func stalled(addresses []string) map[string]bool {
	list, err := kernel.Stalled(addresses)
	if err != nil {
		return nil
	}
	return list
}

// A daemon is what the control socket speaks to.
type daemon struct {
	path    string
	started time.Time
	engine  *uplink.Engine
	manager *systemd.Manager
	log     *slog.Logger
	hooks   *hooks.Runner
	files   map[string]string // what the files of prefixes looked like; of reloadOnNewLists

	mu          sync.Mutex // guards what follows
	config      configs.Config
	reloaded    time.Time
	configError string // why the last reload changed nothing
	listError   string // why a file of prefixes was not read again
}

var _ control.Daemon = (*daemon)(nil)

// Status implements control.Daemon.
func (d *daemon) Status() status.Snapshot {
	s := d.engine.Snapshot()
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Daemon = status.Daemon{
		Version: versionText(), PID: os.Getpid(), Started: d.started, Config: d.path,
		Reloaded: status.When{Time: d.reloaded}, ConfigError: cmp.Or(d.configError, d.listError),
		OrdersError: s.Daemon.OrdersError,
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
		next = uplink.KeepMarks(d.config, next)
	}
	if err != nil {
		d.configError = err.Error()
		d.log.Error("configuration not reloaded; nothing has changed", "config", d.path, "err", err)
		return err
	}
	d.config, d.reloaded, d.configError, d.listError = next, time.Now(), "", ""
	d.hooks.Set(hooksOf(next))
	d.engine.Send(uplink.Reloaded{Config: next})
	d.log.Info("configuration reloaded", "config", d.path, "uplinks", len(next.Uplinks))
	return nil
}

// Order implements control.Daemon.
func (d *daemon) Order(name string, o control.Order) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.config.Uplinks, func(u configs.Uplink) bool { return u.Name == name })
	if i < 0 {
		return fmt.Errorf("%w: %q: see uplinkd status", control.ErrUnknownUplink, name)
	}
	d.log.Info("order", "uplink", name, "action", o.Action, "by", o.By)
	if o.Action != "renew" {
		d.engine.Send(uplink.Ordered{Uplink: name, Verb: uplink.Verb(o.Action), Weight: o.Weight, By: o.By, For: o.For})
		return nil
	}
	if address := d.config.Uplinks[i].Address; address != configs.AddressDHCP {
		return fmt.Errorf("uplink %s has no lease to renew: its address is %s", name, address)
	}
	d.engine.Send(uplink.Renewed{Uplink: name})
	return nil
}

// Events implements control.Daemon.
func (d *daemon) Events(after uint64) ([]status.Event, <-chan struct{}) {
	return d.engine.Events(after)
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

// listsEvery is how often the files of prefixes are looked at.
const listsEvery = time.Second

// reloadOnNewLists reloads the configuration when a file of prefixes has changed.
func (d *daemon) reloadOnNewLists(ctx context.Context) error {
	ticker := time.NewTicker(listsEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		d.mu.Lock()
		now := stamps(d.config)
		d.mu.Unlock()
		if !maps.Equal(now, d.files) {
			d.files = now
			d.reloadLists()
		}
	}
}

// reloadLists reads the files of prefixes again, and nothing else: the configuration
// itself may be in the middle of an edit.
func (d *daemon) reloadLists() {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := d.config
	if err := loadLists(&next); err != nil {
		d.listError = err.Error()
		d.log.Error("a file of prefixes was not reloaded; nothing has changed", "err", err)
		return
	}
	d.config, d.listError = next, ""
	d.engine.Send(uplink.Reloaded{Config: next})
	d.log.Info("a file of prefixes has changed, and was reloaded")
}

// stamps tells the present state of the files of prefixes, by path.
func stamps(c configs.Config) map[string]string {
	list := map[string]string{}
	for _, path := range uplink.Files(c) {
		list[path] = "none"
		if info, err := os.Stat(path); err == nil {
			list[path] = fmt.Sprint(info.ModTime().UnixNano(), info.Size())
		}
	}
	return list
}

// tellHooks hands on what happens.
func (d *daemon) tellHooks(ctx context.Context) error {
	for after := uint64(0); ; {
		events, more := d.engine.Events(after)
		for _, e := range events {
			d.hooks.Tell(e)
			after = e.ID
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		}
	}
}

func hooksOf(c configs.Config) []hooks.Hook {
	list := make([]hooks.Hook, len(c.Hooks))
	for i, h := range c.Hooks {
		list[i] = hooks.Hook(h)
	}
	return list
}

// cut ends the connections of an uplink: its flows, and beside that its sockets.
func cut(c uplink.Cut) (s uplink.Severed, err error) {
	var flows, sockets error
	var both sync.WaitGroup
	if c.Mask != 0 {
		both.Go(func() { s.Flows, flows = kernel.ForgetFlows(c.Mark, c.Mask) })
	}
	if len(c.Addresses) > 0 {
		both.Go(func() { s.Sockets, sockets = kernel.EndSockets(c.Addresses) })
	}
	both.Wait()
	return s, errors.Join(flows, sockets)
}

// counters are those of the policies, by the name of the nft object.
func counters(c configs.Config) map[string][2]uint64 {
	list, err := kernel.Counters(uplink.Owner(c).Table())
	if err != nil {
		return nil
	}
	return list
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
