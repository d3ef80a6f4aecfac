package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink"
	"uplinkd/uplink/control"
)

// Reload implements control.Daemon.
func (d *Daemon) Reload(ctx context.Context, by string) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	d.manager.Reloading()
	defer d.manager.Ready()
	err := d.reload(ctx, by)
	switch {
	case errors.Is(err, control.ErrInPart):
		d.noteReload(nil)
	case !errors.Is(err, control.ErrOnTrial):
		d.noteReload(err)
	}
	if err != nil && !errors.Is(err, control.ErrInPart) {
		d.log.Error("configuration not reloaded; nothing has changed", "config", d.path, "err", err)
	}
	return err
}

func (d *Daemon) reload(ctx context.Context, by string) error {
	if err := d.noTrial(); err != nil {
		return err
	}
	text, err := readConfig(d.path)
	if err != nil {
		return err
	}
	next, err := d.read(d.path, text)
	if err != nil {
		return err
	}
	if err := d.change(ctx, next, by, false); err != nil {
		return err
	}
	return d.dropRecord() // whoever orders it knows of it
}

// read returns a configuration as it would be put in the place of the running one.
func (d *Daemon) read(name string, text []byte) (Loaded, error) {
	next, err := Parse(name, text)
	if err == nil {
		next, err = d.stage(next)
	}
	return Loaded{Config: next, Text: text}, err
}

// change puts what was read in the place of what runs, for good or on trial, and says in the
// journal what is other. On an error what runs stays.
func (d *Daemon) change(ctx context.Context, next Loaded, by string, onTrial bool) error {
	lines := configs.Difference(d.inForce().Text, next.Text)
	if err := d.commit(ctx, next.Config, onTrial); err != nil {
		return err
	}
	d.setText(next.Text)
	d.log.Info("configuration in force", "uplinks", len(next.Config.Uplinks), "by", by, "changes", summary(lines))
	return nil
}

// changesMost bounds how many changes a line of the journal names.
const changesMost = 20

func summary(lines []string) string {
	switch more := len(lines) - changesMost; {
	case len(lines) == 0:
		return "none"
	case more > 0:
		return fmt.Sprintf("%s; and %d more", strings.Join(lines[:changesMost], "; "), more)
	}
	return strings.Join(lines, "; ")
}

func (d *Daemon) noteReload(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.configError = err.Error()
		return
	}
	d.reloaded, d.configError, d.listError = time.Now(), "", ""
}

// stage returns a configuration as it would be put in the place of the running one:
// checked against that, with the tables and marks that its uplinks have.
func (d *Daemon) stage(next configs.Config) (configs.Config, error) {
	running := d.config()
	if err := configs.CanReload(running, next); err != nil {
		return configs.Config{}, err
	}
	return configs.Keep(configs.GivenOf(running), next), nil
}

// commit puts a staged configuration in the place of the running one. When it returns
// the engine has decided on it. On an error the running one stays. Who asked may go away
// before; then the engine still decides.
func (d *Daemon) commit(ctx context.Context, staged configs.Config, onTrial bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandLimit)
	defer cancel()
	before := d.config()
	d.setHooks(staged)
	if err := d.engine.Do(ctx, uplink.Reloaded{Config: staged, OnTrial: onTrial}); err != nil {
		d.setHooks(before)
		return fmt.Errorf("the engine did not take the configuration: %w", err)
	}
	d.mu.Lock()
	d.running = staged
	d.mu.Unlock()
	d.saveNumbers(staged)
	return nil
}
