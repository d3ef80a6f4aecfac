package daemon

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/internal/statefile"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// A trial is a configuration in force that goes back unless it is confirmed. Its record is
// on the disk before it is in force, and stays there until somebody confirms or reloads: a
// daemon that starts and finds its file to be one that the record refuses takes what was
// before. To go back nothing need be written.
type trial struct {
	api.Trial
	record record
	before Loaded
	due    time.Duration // since the boot: no clock that can be set
}

// A record is what the disk knows of trials.
type record struct {
	api.Trial               // the last one, without its text
	Refused   []string      `json:"refused"` // sums of configurations that are not to be started with
	Before    []byte        `json:"before"`  // the text to go back to
	Numbers   configs.Given `json:"numbers"` // of its uplinks
}

const (
	// recordMost bounds what is read of a record.
	recordMost = 16 << 20

	// refusedMost bounds how many configurations a record refuses: the oldest go.
	refusedMost = 32
)

func recordPath(dir string) string { return filepath.Join(dir, "trial.json") }

func readRecord(dir string) (record, error) {
	var r record
	b, err := statefile.Read(recordPath(dir), recordMost)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

func (r *record) write(dir string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return statefile.Replace(recordPath(dir), b, statefile.Power)
}

// refuse adds what is not to be started with.
func (r *record) refuse(sums ...string) {
	for _, sum := range sums {
		r.Refused = slices.DeleteFunc(r.Refused, func(other string) bool { return other == sum })
		if sum != sumOf(r.Before) {
			r.Refused = append(r.Refused, sum)
		}
	}
	r.Refused = r.Refused[max(0, len(r.Refused)-refusedMost):]
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
	t := d.newTrial(name, text, o)
	if err := t.record.write(next.Config.StateDir); err != nil {
		return api.Trial{}, fmt.Errorf("nothing has changed: what to go back to cannot be kept: %w", err)
	}
	// Before it is in force: whatever comes now, it goes back.
	d.setTrial(t)
	if err := d.change(ctx, next, o.By, true); err != nil {
		// The engine may take it yet. What was before is put in force behind it.
		d.hasten(t)
		return api.Trial{}, err
	}
	d.noteReload(nil)
	d.log.Warn("the configuration goes back unless it is confirmed", "file", name, "until", t.Until, "by", o.By)
	return t.Trial, nil
}

// newTrial returns a trial that is to begin, and what the disk shall know of it.
func (d *Daemon) newTrial(name string, text []byte, o api.Apply) *trial {
	before := d.inForce()
	t := &trial{before: before, due: d.sinceBoot() + o.For, Trial: api.Trial{
		File: name, Config: d.path, SHA256: sumOf(text), Until: time.Now().Add(o.For).Round(0), By: o.By,
	}}
	t.record = record{Trial: t.Trial, Before: before.Text, Numbers: configs.GivenOf(before.Config)}
	if earlier, err := readRecord(before.Config.StateDir); err == nil {
		t.record.refuse(earlier.Refused...)
	}
	// What stands in the file and was never in force is not to come by way of a restart.
	if file, err := readConfig(d.path); err == nil {
		t.record.refuse(sumOf(file))
	}
	t.record.refuse(t.SHA256)
	t.Text, t.Before = text, before.Text
	return t
}

// Trial implements control.Daemon.
func (d *Daemon) Trial() (api.Trial, error) {
	t := d.onTrial()
	if t == nil {
		return api.Trial{}, control.ErrNoTrial
	}
	return t.Trial, nil
}

// onTrial returns the trial; nil: there is none.
func (d *Daemon) onTrial() *trial {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.trial
}

func (d *Daemon) setTrial(t *trial) {
	d.mu.Lock()
	d.trial = t
	d.mu.Unlock()
	d.tried.Set()
}

// hasten ends a trial's time.
func (d *Daemon) hasten(t *trial) {
	now := *t
	now.due = 0
	d.setTrial(&now)
}

// Confirm implements control.Daemon.
func (d *Daemon) Confirm(sum, by string) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	t := d.onTrial()
	if t == nil && sum == sumOf(d.inForce().Text) {
		return nil // somebody else has confirmed it
	}
	if t == nil {
		return control.ErrNoTrial
	}
	if t.SHA256 != sum {
		return fmt.Errorf("%w: another is on trial by now, from %s", control.ErrNoTrial, t.File)
	}
	if err := statefile.Remove(recordPath(d.config().StateDir)); err != nil {
		// It may be gone, and not for good: until then nothing is confirmed.
		return errors.Join(fmt.Errorf("not confirmed: %w", err), t.record.write(d.config().StateDir))
	}
	d.setTrial(nil)
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	if err := d.engine.Do(ctx, uplink.Confirmed{}); err != nil {
		d.log.Warn("what the configuration has taken away is not ended", "err", err)
	}
	d.noteReload(nil) // the file says so by now
	d.log.Info("configuration confirmed", "file", t.File, "by", by)
	return nil
}

// Reject implements control.Daemon.
func (d *Daemon) Reject(ctx context.Context, by string) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.onTrial() == nil {
		return control.ErrNoTrial
	}
	return d.goBack(ctx, by)
}

// goBack puts what was before a trial in force again. Whoever calls it holds changing.
func (d *Daemon) goBack(ctx context.Context, by string) error {
	t := d.onTrial()
	before := t.before.Config
	if err := d.commit(ctx, before, false); err != nil {
		return fmt.Errorf("the configuration before the trial: %w", err)
	}
	d.relist.Store(true) // its lists of prefixes are as they were then
	lines := configs.Difference(d.inForce().Text, t.before.Text)
	d.setText(t.before.Text)
	d.setTrial(nil)
	d.log.Warn("configuration gone back", "file", t.File, "by", cmp.Or(by, "nobody: it was not confirmed in time"),
		"changes", summary(lines))
	if _, err := os.Stat(recordPath(before.StateDir)); errors.Is(err, fs.ErrNotExist) {
		// A confirmation has removed it, and could not be sure of that.
		if err := t.record.write(before.StateDir); err != nil {
			d.log.Error("a restart may take the configuration that has gone back", "err", err)
		}
	}
	if text, err := readConfig(d.path); err == nil && t.record.refuses(text) {
		d.noteReload(errors.New(t.record.passedOver()))
	}
	return nil
}

func (r *record) refuses(text []byte) bool { return slices.Contains(r.Refused, sumOf(text)) }

// passedOver says why the daemon's file is not what is in force.
func (r *record) passedOver() string {
	return fmt.Sprintf("%s was applied by %s and not confirmed by %s: what was before it is in force; "+
		"uplinkd apply, or put back the file", r.File, r.By, r.Until.Format(time.DateTime))
}

// trialEvery is how often a trial's time is looked at: a suspended host has had its time,
// too. So often a configuration that is due to go back is tried.
const trialEvery = time.Second

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
		t := d.onTrial()
		if t == nil {
			continue
		}
		if wait := t.due - d.sinceBoot(); wait > 0 {
			timer.Reset(min(wait, trialEvery))
			continue
		}
		d.changing.Lock()
		if d.onTrial() == t { // nobody has confirmed or rejected it meanwhile
			if err := d.goBack(ctx, ""); err != nil {
				d.log.Error("the configuration cannot go back yet", "file", t.File, "err", err)
			}
		}
		d.changing.Unlock()
		timer.Reset(trialEvery)
	}
}

// sinceBoot returns the time since the boot, by a clock that nobody can set.
func (d *Daemon) sinceBoot() time.Duration {
	if d.boot != nil {
		return d.boot()
	}
	return time.Since(d.started)
}

// noTrial says why nothing else may be put in force, while something is on trial.
func (d *Daemon) noTrial() error {
	t := d.onTrial()
	if t == nil {
		return nil
	}
	return fmt.Errorf("%w from %s until %s: uplinkd confirm, or uplinkd confirm --reject",
		control.ErrOnTrial, t.File, t.Until.Format(time.TimeOnly))
}

// dropRecord removes what keeps a file from being taken at the next start.
func (d *Daemon) dropRecord() error {
	if err := statefile.Remove(recordPath(d.config().StateDir)); err != nil {
		d.log.Error("the record of a trial cannot be removed: a restart may go back", "err", err)
		return fmt.Errorf("%w: in force, and a restart may go back: %w", control.ErrInPart, err)
	}
	return nil
}
