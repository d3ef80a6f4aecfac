// Package daemon owns the life of a configuration: it is loaded, checked, staged,
// and committed or rolled back. It answers the control socket, and hands what happens
// to the hooks.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"uplinkd/configs"
	"uplinkd/internal/latest"
	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
	"uplinkd/uplink/engine"
	"uplinkd/uplink/hooks"
	"uplinkd/uplink/orders"
)

// commandLimit is how long a command may take until it is on the disk.
const commandLimit = 4 * time.Second

// A Manager is told that a reload is under way (sd_notify(3), RELOADING=1).
type Manager interface {
	engine.Notifier
	Reloading()
}

// A Daemon is what runs: the engine, the hooks, and the configuration they have in
// common.
type Daemon struct {
	path    string
	version string
	started time.Time
	engine  *engine.Engine
	manager Manager
	hooks   *hooks.Runner // nil: another process runs them
	log     *slog.Logger
	lists   map[string]string // what the files of prefixes looked like; of watchLists
	relist  atomic.Bool       // those in force may be of another time

	changing sync.Mutex           // held while the configuration changes; never by who only asks
	numbers  *latest.Box[numbers] // to be written down
	boot     func() time.Duration // since the boot; nil: not known
	tried    latest.Wake          // a trial has begun or ended
	kept     configs.Given        // what is on the disk of the uplinks' numbers; of keepNumbers
	stale    bool                 // a record of a trial is left from before the start

	mu          sync.Mutex // guards what follows, and is held for no longer than reading it takes
	running     configs.Config
	text        []byte // of it
	sum         string // of that
	reloaded    time.Time
	configError string // why the last reload changed nothing
	listError   string // why a file of prefixes was not read again
	trial       *trial // nil: nothing is on trial
}

var _ control.Daemon = (*Daemon)(nil)

// New returns a Daemon for the configuration that was loaded from a file. deps is
// what the engine needs of the world; orders and the service manager are the
// Daemon's to add. It starts nothing.
func New(path, version string, loaded Loaded, manager Manager, deps engine.Deps) *Daemon {
	c := loaded.Config
	kept, err := loadGiven(c.StateDir)
	if err != nil {
		deps.Log.Error("the tables and marks that uplinks had are not known: they follow the order in the file",
			"err", err)
	}
	d := &Daemon{
		path: path, version: version, started: time.Now(), manager: manager,
		hooks: hooks.New(deps.Log), log: deps.Log, lists: stamps(c), running: c,
		numbers: latest.New[numbers](), boot: deps.SinceBoot, kept: kept,
		text: loaded.Text, sum: sumOf(loaded.Text), stale: loaded.stale, configError: loaded.PassedOver,
		tried: latest.NewWake(),
	}
	stood, err := orders.Load(c.StateDir)
	if err != nil {
		d.log.Error("the operator's orders of before are not known: none is in force", "err", err)
	}
	learned, err := loadLearned(c.StateDir, d.started)
	if err != nil {
		d.log.Warn("what links were like is not known: it is learned anew", "err", err)
	}
	deps.Learned = learned
	deps.SaveLearned = func(all engine.Learned) error { return saveLearned(c.StateDir, all) }
	if deps.Usage, err = loadUsage(c.StateDir); err != nil {
		d.log.Error("what uplinks have used of their quotas is not known: it is counted from now on", "err", err)
	}
	deps.SaveUsage = func(all map[string]uplink.Usage) error { return saveUsage(c.StateDir, all) }
	deps.Notify, deps.Orders = manager, stood
	deps.SaveOrders = func(book map[string]api.Order) error { return orders.Save(c.StateDir, book) }
	switch {
	case loaded.PassedOver != "":
		d.log.Warn("the configuration is not that of the file", "config", path, "err", loaded.PassedOver)
	case loaded.unread:
		d.log.Error("whether a configuration was on trial cannot be read: the file is taken", "config", path)
	}
	d.engine = engine.New(c, deps)
	d.setHooks(c)
	return d
}

// LeaveHooks leaves the hooks to another process. It is called before Run.
func (d *Daemon) LeaveHooks() { d.hooks = nil }

func (d *Daemon) setHooks(c configs.Config) {
	if d.hooks != nil {
		d.hooks.Set(HooksOf(c))
	}
}

// Run runs the daemon until ctx ends and then returns nil, when all it started has
// ended. Each value from hangups has the configuration read again.
func (d *Daemon) Run(ctx context.Context, hangups <-chan os.Signal) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.engine.Run(ctx) })
	group.Go(func() error { return d.reloadOnHangup(ctx, hangups) })
	group.Go(func() error { return d.watchLists(ctx) })
	if d.hooks != nil {
		group.Go(func() error { return d.hooks.Run(ctx) })
		group.Go(func() error { return d.tellHooks(ctx) })
	}
	group.Go(func() error { return d.watchTrial(ctx) })
	group.Go(func() error { return d.keepNumbers(ctx) })
	return group.Wait()
}

// config returns the running configuration.
func (d *Daemon) config() configs.Config { return d.inForce().Config }

// inForce returns the running configuration with its text.
func (d *Daemon) inForce() Loaded {
	d.mu.Lock()
	defer d.mu.Unlock()
	return Loaded{Config: d.running, Text: d.text}
}

func (d *Daemon) setText(text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.text, d.sum = text, sumOf(text)
}

// Status implements control.Daemon.
func (d *Daemon) Status() api.Snapshot {
	s := d.engine.Snapshot()
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Daemon.Version, s.Daemon.PID, s.Daemon.Started, s.Daemon.Config = d.version, os.Getpid(), d.started, d.path
	s.Daemon.Reloaded = api.When{Time: d.reloaded}
	s.Daemon.SHA256, s.Daemon.HooksApart = d.sum, d.hooks == nil
	s.Daemon.ConfigError = cmp.Or(d.configError, d.listError)
	if d.trial != nil {
		t := d.trial.Trial
		t.Text, t.Before = nil, nil
		s.Daemon.Trial = &t
	}
	return s
}

// Report implements control.Daemon.
func (d *Daemon) Report() api.Snapshot {
	s := d.Status()
	s.Figures = d.engine.Figures()
	return s
}

// Plan implements control.Daemon.
func (d *Daemon) Plan(ctx context.Context, name string, text []byte, login *api.Login) (api.Plan, error) {
	next, err := d.read(name, text)
	if err != nil {
		return api.Plan{}, err
	}
	forecast, err := d.engine.Plan(ctx, next.Config, login)
	if err != nil {
		return api.Plan{}, err
	}
	plan := PlanText(forecast.Plan)
	plan.Effects, plan.Login = forecast.Effects, forecast.Login
	plan.Changes = configs.Difference(d.inForce().Text, text)
	return plan, nil
}

// PlanText returns a plan as people read it.
func PlanText(plan routes.Plan) api.Plan {
	p := api.Plan{
		Operations: make([]string, len(plan.Ops)), Conflicts: make([]api.Conflict, len(plan.Conflicts)),
		Changes: []string{}, Effects: []api.Effect{},
	}
	for i, op := range plan.Ops {
		p.Operations[i] = op.String()
	}
	for i, c := range plan.Conflicts {
		p.Conflicts[i] = api.Conflict(c)
	}
	return p
}

// Command implements control.Daemon.
func (d *Daemon) Command(ctx context.Context, name string, c api.Command) error {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	err := d.engine.Do(ctx, uplink.Commanded{Uplink: name, Command: c})
	switch {
	case errors.Is(err, uplink.ErrNoUplink):
		return fmt.Errorf("%w: %q: see uplinkd status", control.ErrUnknownUplink, name)
	case errors.Is(err, context.DeadlineExceeded):
		err = fmt.Errorf("%w: %s of %s is in force, and not on the disk yet: after a restart it may be forgotten",
			control.ErrInPart, c.Action, name)
	case errors.Is(err, engine.ErrNotKept):
		err = fmt.Errorf("%w: %s of %s: %w", control.ErrInPart, c.Action, name, err)
	case err != nil:
		return err
	}
	d.log.Info("order", "uplink", name, "action", c.Action, "by", c.By)
	return err
}

// Drain implements control.Daemon.
func (d *Daemon) Drain(name string) (api.DrainProgress, error) {
	progress, err := d.engine.Drain(name)
	if err != nil {
		return progress, fmt.Errorf("%w: %q: see uplinkd status", control.ErrUnknownUplink, name)
	}
	return progress, nil
}

// Events implements control.Daemon.
func (d *Daemon) Events(after uint64) ([]api.Event, <-chan struct{}) { return d.engine.Events(after) }

// Switches implements control.Daemon.
func (d *Daemon) Switches() []api.Switch {
	list, _ := d.engine.Switches()
	return list
}

// Started implements control.Daemon.
func (d *Daemon) Started() time.Time { return d.started }

func (d *Daemon) reloadOnHangup(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			_ = d.Reload(ctx, "SIGHUP") // has been logged, and shows in status
		}
	}
}

// tellHooks hands on what happens.
func (d *Daemon) tellHooks(ctx context.Context) error {
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

// HooksOf returns the hooks of a configuration.
func HooksOf(c configs.Config) []hooks.Hook {
	list := make([]hooks.Hook, len(c.Hooks))
	for i, h := range c.Hooks {
		list[i] = hooks.Hook(h)
	}
	return list
}
