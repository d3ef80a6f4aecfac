package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"uplinkd/configs"
	"uplinkd/internal/statefile"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// A trial is a configuration in force that goes back unless it is confirmed. Its record is
// on the disk before it is in force: a daemon that starts and finds that its file is the
// one on trial takes what was before. To go back nothing need be written.
type trial struct {
	api.Trial
	before Loaded
}

// A record is a trial on the disk.
type record struct {
	api.Trial
	Before string `json:"before"` // the text to go back to
}

// recordMost bounds what is read of a record: two configurations.
const recordMost = 4 << 20

func recordPath(dir string) string { return filepath.Join(dir, "trial.json") }

// A Loaded configuration is one with the text that it was read from.
type Loaded struct {
	Config configs.Config
	Text   []byte
	// PassedOver is why this is not what the file says; "": it is.
	PassedOver string
}

// LoadToRun reads the configuration that a daemon starts with: that of its file, or, where
// that one was on trial and was not confirmed, the one before it.
func LoadToRun(path string) (Loaded, error) {
	text, err := readConfig(path)
	if err != nil {
		return Loaded{}, err
	}
	config, err := Parse(path, text)
	if err != nil {
		return Loaded{}, err
	}
	r, err := readRecord(config.StateDir)
	if err != nil || r.SHA256 != sumOf(text) {
		return Loaded{Config: config, Text: text}, nil
	}
	before, err := Parse(path, []byte(r.Before))
	if err != nil {
		return Loaded{}, fmt.Errorf("%s is on trial, and what was before it cannot be read: %w", path, err)
	}
	return Loaded{Config: before, Text: []byte(r.Before), PassedOver: notConfirmed(r.Trial)}, nil
}

func notConfirmed(t api.Trial) string {
	return fmt.Sprintf("%s was applied by %s and not confirmed by %s: what was before it is in force; "+
		"uplinkd apply, or put back the file", t.File, t.By, t.Until.Format(time.DateTime))
}

func readRecord(dir string) (record, error) {
	var r record
	b, err := statefile.Read(recordPath(dir), recordMost)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Apply implements control.Daemon.
func (d *Daemon) Apply(ctx context.Context, name string, text []byte, o api.Apply) (api.Trial, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if err := d.noTrial(); err != nil {
		return api.Trial{}, err
	}
	next, err := d.read(name, text)
	if err != nil {
		return api.Trial{}, err
	}
	t := trial{before: d.inForce(), Trial: api.Trial{
		File: name, Config: d.path, SHA256: sumOf(text), Until: time.Now().Add(o.For).Round(0), By: o.By,
	}}
	b, err := json.Marshal(record{t.Trial, string(t.before.Text)})
	if err == nil {
		err = statefile.Replace(recordPath(next.Config.StateDir), b, statefile.Power)
	}
	if err != nil {
		return api.Trial{}, fmt.Errorf("nothing has changed: what to go back to cannot be kept: %w", err)
	}
	if err := d.change(ctx, next, o.By); err != nil {
		d.dropRecord()
		return api.Trial{}, err
	}
	t.Text = string(text)
	d.noteReload(nil)
	d.setTrial(&t)
	d.log.Warn("the configuration goes back unless it is confirmed", "file", name, "until", t.Until, "by", o.By)
	return t.Trial, nil
}

// Trial implements control.Daemon.
func (d *Daemon) Trial() (api.Trial, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.trial == nil {
		return api.Trial{}, control.ErrNoTrial
	}
	return d.trial.Trial, nil
}

// Confirm implements control.Daemon.
func (d *Daemon) Confirm(sum, by string) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	t, err := d.Trial()
	if err != nil {
		return err
	}
	if t.SHA256 != sum {
		return fmt.Errorf("%w: another is on trial by now, from %s", control.ErrNoTrial, t.File)
	}
	if err := statefile.Remove(recordPath(d.config().StateDir)); err != nil {
		return fmt.Errorf("not confirmed: a restart would go back: %w", err)
	}
	d.setTrial(nil)
	d.noteReload(nil) // the file says so by now
	d.log.Info("configuration confirmed", "file", t.File, "by", by)
	return nil
}

// Reject implements control.Daemon.
func (d *Daemon) Reject(ctx context.Context, by string) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	if _, err := d.Trial(); err != nil {
		return err
	}
	return d.goBack(ctx, by)
}

// goBack puts what was before a trial in force again. Whoever calls it holds changing.
func (d *Daemon) goBack(ctx context.Context, by string) error {
	t := d.trial
	err := d.commit(ctx, t.before.Config)
	if err != nil {
		return fmt.Errorf("the configuration before the trial: %w", err)
	}
	lines := configs.Difference(d.inForce().Text, t.before.Text)
	d.setText(t.before.Text)
	d.setTrial(nil)
	d.log.Warn("configuration gone back", "file", t.File, "by", cmp.Or(by, "nobody: it was not confirmed in time"),
		"changes", summary(lines))
	// Where the file itself is what was on trial, the record keeps it from being taken at
	// the next start.
	if text, err := readConfig(d.path); err == nil && sumOf(text) != t.SHA256 {
		d.dropRecord()
		return nil
	}
	d.noteReload(errors.New(notConfirmed(t.Trial)))
	return nil
}

// goBackEvery is how often a configuration that is due to go back is tried.
const goBackEvery = time.Second

// watchTrial has what is on trial go back when its time is up.
func (d *Daemon) watchTrial(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-d.tried:
		case <-timer.C:
		}
		t, err := d.Trial()
		if err != nil {
			continue
		}
		// By the wall clock as it was: a suspended host has had its time, too.
		if wait := time.Until(t.Until); wait > 0 {
			timer.Reset(min(wait, goBackEvery))
			continue
		}
		d.changing.Lock()
		if now, err := d.Trial(); err == nil && now.SHA256 == t.SHA256 && now.Until.Equal(t.Until) {
			if err := d.goBack(ctx, ""); err != nil {
				d.log.Error("the configuration cannot go back yet", "file", t.File, "err", err)
			}
		}
		d.changing.Unlock()
		timer.Reset(goBackEvery)
	}
}

func (d *Daemon) setTrial(t *trial) {
	d.mu.Lock()
	d.trial = t
	d.mu.Unlock()
	d.tried.Set()
}

// noTrial says why nothing else may be put in force, while something is on trial.
func (d *Daemon) noTrial() error {
	t, err := d.Trial()
	if err != nil {
		return nil
	}
	return fmt.Errorf("%w from %s until %s: uplinkd confirm, or uplinkd confirm --reject",
		control.ErrOnTrial, t.File, t.Until.Format(time.TimeOnly))
}

// dropRecord removes what keeps a file from being taken at the next start.
func (d *Daemon) dropRecord() {
	if err := statefile.Remove(recordPath(d.config().StateDir)); err != nil {
		d.log.Error("the record of a trial cannot be removed: a restart may go back", "err", err)
	}
}
