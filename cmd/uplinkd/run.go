package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/dhcp/dhcp6"
	"uplinkd/dhcp/ra"
	"uplinkd/internal/calm"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/routes/flows"
	"uplinkd/routes/kernel"
	"uplinkd/systemd"
	"uplinkd/uplink"
	"uplinkd/uplink/board"
	"uplinkd/uplink/cgroups"
	"uplinkd/uplink/control"
	"uplinkd/uplink/daemon"
	"uplinkd/uplink/engine"
	"uplinkd/uplink/metrics"
	"uplinkd/uplink/resolver"
	"uplinkd/uplink/web"
)

func runCommand(c *common) *cobra.Command {
	var debugging, noHooks bool
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
			handler := calm.NewHandler(systemd.NewLogHandler(c.err, level))
			defer handler.Close()
			return run(cmd.Context(), c.config, noHooks, slog.New(handler))
		},
	}
	c.flagConfig(cmd)
	cmd.Flags().BoolVar(&noHooks, "no-hooks", false, "leave the hooks to uplinkd hooks, another process")
	cmd.Flags().BoolVar(&debugging, "debug", false, "log every kernel operation")
	return cmd
}

// run is the daemon: it builds the parts and runs them until ctx ends.
func run(ctx context.Context, path string, noHooks bool, log *slog.Logger) error {
	boundHeap()
	path, err := filepath.Abs(path) // who asks may be elsewhere
	if err != nil {
		return err
	}
	loaded, err := daemon.LoadToRun(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, statErr := os.Stat(path); statErr != nil { // and not a file that it names
			return fmt.Errorf("there is no configuration yet: uplinkd init writes %s (%w)", path, err)
		}
	}
	if err != nil {
		return err
	}
	config := loaded.Config
	lock, err := control.Lock(ctx, config.Routes.Protocol, config.Routes.RulePriority, config.StateDir)
	if err != nil {
		return err
	}
	defer lock.Close() //nolint:errcheck // the process ends
	listener, err := control.Listen(config.Control.Socket, config.Control.Group, log)
	if err != nil {
		return err
	}
	defer listener.Close() //nolint:errcheck // the process ends
	shown := listen(config.Control, log)
	defer shown.close()
	deps, closeAll, err := open(config, log)
	if err != nil {
		return err
	}
	defer closeAll()
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)

	manager := systemd.NewManager()
	d := daemon.New(path, versionText(), loaded, manager, deps)
	if noHooks {
		d.LeaveHooks()
	}
	log.Info("started", "version", versionText(), "config", path, "uplinks", len(config.Uplinks))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.Run(ctx, hangups) })
	group.Go(func() error { return control.Serve(ctx, listener, d, log) })
	shown.serve(ctx, group, d, log)
	err = group.Wait()
	manager.Stopping()
	if err == nil {
		log.Info("stopped; the kernel's routes stay as they are")
	}
	return err
}

// listeners are where the daemon shows itself beside the control socket; nil: not there.
type listeners struct{ metrics, web net.Listener }

func listen(c configs.Control, log *slog.Logger) listeners {
	return listeners{
		metrics: listenAt("control.metrics", c.Metrics, log), web: listenAt("control.web", c.Web, log),
	}
}

func (l listeners) close() {
	for _, one := range []net.Listener{l.metrics, l.web} {
		if one != nil {
			_ = one.Close() // the process ends
		}
	}
}

// serve shows the daemon until ctx ends. Where nobody may look, nothing is remembered for them.
func (l listeners) serve(ctx context.Context, group *errgroup.Group, d *daemon.Daemon, log *slog.Logger) {
	if l.metrics != nil {
		group.Go(func() error { return survived("control.metrics", metrics.Serve(ctx, l.metrics, d.Report, log), log) })
	}
	if l.web != nil {
		seen := board.New(d.Status, d.Switches)
		group.Go(func() error { return seen.Run(ctx) })
		group.Go(func() error { return survived("control.web", web.Serve(ctx, l.web, seen, log), log) })
	}
}

// survived tells of what no longer shows the daemon, which goes on.
func survived(key string, err error, log *slog.Logger) error {
	if err != nil {
		log.Error("nobody is served there any more: restart", "key", key, "err", err)
	}
	return nil
}

// listenAt listens where a key of the configuration says; nil: nowhere. Where that is not to be had the
// daemon goes without: a host off the net is worse.
func listenAt(key string, address netip.AddrPort, log *slog.Logger) net.Listener {
	if !address.IsValid() {
		return nil
	}
	listener, err := net.Listen("tcp", address.String())
	if err != nil {
		log.Error("nothing is served there: name an address of this host and a free port, and restart",
			"key", key, "address", address, "err", err)
		return nil
	}
	return listener
}

// subscribe hears of changes of the kernel from now on: before the first reading, so that none falls between.
func subscribe(k *kernel.Kernel) (
	watcher *kernel.Watcher, neighbours *kernel.NeighbourWatcher, carriers *kernel.CarrierWatcher, err error,
) {
	if watcher, err = kernel.NewWatcher(k); err != nil {
		return nil, nil, nil, err
	}
	if neighbours, err = kernel.NewNeighbourWatcher(); err != nil {
		return nil, nil, nil, err
	}
	carriers, err = kernel.NewCarrierWatcher()
	return watcher, neighbours, carriers, err
}

// open opens what the engine needs of this host's kernel. closeAll frees it.
func open(config configs.Config, log *slog.Logger) (deps engine.Deps, closeAll func(), err error) {
	k, err := kernel.Open(config.StateDir, log)
	if err != nil {
		return deps, nil, err
	}
	watcher, neighbours, carriers, err := subscribe(k)
	if err != nil {
		k.Close()
		return deps, nil, err
	}
	counters, err := flows.OpenCounters()
	if err != nil {
		k.Close()
		return deps, nil, err
	}
	links, err := flows.OpenLinks()
	if err != nil {
		counters.Close()
		k.Close()
		return deps, nil, err
	}
	closeAll = func() {
		links.Close()
		counters.Close()
		k.Close()
	}
	return engine.Deps{
		Kernel: k, Watch: watcher.Watch, Neighbours: neighbours.Watch, Carriers: carriers.Watch, OpenProbe: probe.Open,
		DHCP: dhcp.Outside{
			Store: dhcp.Files{Dir: config.StateDir, Clock: dhcp.SystemClock{}}, Open: dhcp.Open,
			Random: rand.Uint32, DUID: machineDUID(), Log: log,
		},
		DHCP6: dhcp6.Outside{
			Store: dhcp6.Files{Dir: config.StateDir, Clock: dhcp.SystemClock{}}, Open: dhcp6.Open,
			Random: rand.Uint32, DUID: machineDUID(), Log: log,
		},
		Groups:  cgroups.New(cgroups.Root(), nil),
		Routers: ra.Outside{Open: ra.Open, Random: rand.Uint32, Log: log},
		Meters: engine.Meters{
			Connections: flows.Connections, Flows: flows.Count, Stalled: flows.Stalled,
			Sockets: flows.Sockets,
			Counters: func(_ context.Context, table string) (map[string]flows.Counter, error) {
				return counters.Read(table)
			},
		},
		Explain: func(ctx context.Context, p routes.Packet) (routes.Way, error) {
			return wayOf(ctx, config.StateDir, p)
		},
		OfferDNS: resolver.New(filepath.Dir(config.Control.Socket)).Offer,
		ReadLink: links.Read, Disconnect: disconnect, SinceBoot: dhcp.SystemClock{}.SinceBoot, Log: log,
	}, closeAll, nil
}

// heapGrowth is how many percent the heap grows between two collections: half of what Go would have. The daemon makes
// little, so that it is collected seldom all the same.
const heapGrowth = 50

// boundHeap keeps the heap small, unless the environment says how it is to be.
func boundHeap() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(heapGrowth)
	}
}

// wayOf asks the kernel which way a packet takes, over sockets of its own.
func wayOf(ctx context.Context, stateDir string, p routes.Packet) (routes.Way, error) {
	k, err := kernel.Look(stateDir, quietLog())
	if err != nil {
		return routes.Way{}, err
	}
	defer k.Close()
	if _, err := k.Read(ctx, routes.Scope{}); err != nil {
		return routes.Way{}, err
	}
	return k.Explain(ctx, p)
}

// machineDUID returns the DUID of this machine, nil where it has no machine id.
func machineDUID() []byte {
	id, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		return nil
	}
	return dhcp.HostDUID(string(id))
}

// disconnect ends the connections of an uplink: its flows, and beside that its
// sockets.
func disconnect(ctx context.Context, d uplink.Disconnect) (ended uplink.Disconnected, err error) {
	if len(d.Untranslated) > 0 {
		ended.Flows, err = flows.ForgetUntranslated(ctx, d.Family == uplink.IPv6, d.Untranslated)
		return ended, err
	}
	var forgotten, closed error
	var both sync.WaitGroup
	if d.Mask != 0 {
		both.Go(func() { ended.Flows, forgotten = flows.Forget(ctx, d.Family == uplink.IPv6, d.Mark, d.Mask) })
	}
	if len(d.Addresses) > 0 {
		both.Go(func() { ended.Sockets, closed = flows.EndSockets(ctx, d.Addresses) })
	}
	both.Wait()
	return ended, errors.Join(forgotten, closed)
}
