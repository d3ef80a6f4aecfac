package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"uplinkd/routes"
	"uplinkd/routes/kernel"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// The first start is on trial by systemd's own means, which end it whatever becomes of us.
const (
	firstTrial   = "uplinkd-first-trial"
	daemonUnit   = "uplinkd.service"
	systemdLives = "/run/systemd/system" // sd_booted(3)
)

// errFirstTrial is why nothing else can be applied now.
var errFirstTrial = errors.New("the first start is on trial: uplinkd confirm keeps it, uplinkd confirm --reject " +
	"ends it")

// isFirst reports whether a configuration is to be applied by a first start of the daemon: none runs, none has put
// anything into the kernel, and the file is the one that it starts with. Where a daemon has run before it is an error:
// what it left in the kernel carries traffic, and a trial would take it away with its own.
func (c *common) isFirst(ctx context.Context, file string) (bool, error) {
	if firstOnTrial(ctx) {
		return false, errFirstTrial
	}
	if _, err := c.client().Status(ctx); !errors.Is(err, control.ErrNotRunning) {
		return false, nil
	}
	if _, err := os.Stat(systemdLives); err != nil || c.socket != "" || c.config != defaultConfig {
		return false, nil //nolint:nilerr // then it is started by other means
	}
	state := stateOf(ctx, daemonUnit)
	used, err := c.hasRun(ctx)
	path, pathErr := filepath.Abs(file)
	switch {
	case err != nil || pathErr != nil:
		return false, errors.Join(err, pathErr)
	case state != "inactive" && state != "failed":
		return false, fmt.Errorf("no daemon answers, and systemd says that %s is %s: wait for it, or see "+
			"journalctl -u uplinkd",
			daemonUnit, state)
	case used:
		return false, errors.New("no daemon runs, and what one has put into the kernel is there: systemctl start " +
			"uplinkd, then apply")
	case path != defaultConfig:
		return false, fmt.Errorf("no daemon runs, and the first start takes %s: put the file there; then uplinkd "+
			"apply --confirm 2m",
			defaultConfig)
	}
	return true, nil
}

// hasRun reports whether a daemon starts at each boot, or one has left something of ours in the kernel.
func (c *common) hasRun(ctx context.Context) (bool, error) {
	out, _ := exec.CommandContext(ctx, "systemctl", "is-enabled", daemonUnit).Output() // the word says it
	if strings.TrimSpace(string(out)) == "enabled" {
		return true, nil
	}
	config, err := c.load()
	if err != nil {
		return false, err
	}
	k, err := kernel.Look(config.StateDir, quietLog())
	if err != nil {
		return false, err
	}
	defer k.Close()
	for _, owner := range ownersOf(config, k) {
		have, err := k.Read(ctx, routes.Scope{Owner: owner, IPv6: true})
		if err != nil {
			return false, err
		}
		if len(routes.Cleanup(owner, have).Ops) > 0 {
			return true, nil
		}
	}
	return false, nil
}

// startFirst starts the daemon by systemd. On trial it is stopped again after the time, and gives everything back,
// unless confirm comes; after a start of the machine meanwhile it does not run.
func (c *common) startFirst(ctx context.Context, length time.Duration) error {
	until := time.Now().Add(length)
	if length > 0 {
		if err := armTrial(ctx, length, until); err != nil {
			return err
		}
	}
	if err := bySystemd(ctx, "systemctl", "start", daemonUnit); err != nil {
		if length > 0 {
			err = errors.Join(err, c.endFirst(ctx))
		}
		return fmt.Errorf("%w: journalctl -u uplinkd says why", err)
	}
	if c.json {
		answer := applied{Changes: []string{}, Effects: []api.Effect{}, Confirmed: length == 0}
		if length > 0 {
			answer.Until = api.When{Time: until}
		}
		return c.printJSON(answer)
	}
	if length == 0 {
		_, err := fmt.Fprintln(c.out, "started; systemctl enable uplinkd has it start at each boot")
		return err
	}
	_, err := fmt.Fprintf(c.out, "started, until %s: uplinkd confirm keeps it, and has it start at each boot\n",
		until.Format(time.TimeOnly))
	return err
}

// armTrial has systemd end the trial: what fails of that it tries again. A systemd that reads its units anew counts the
// time from then on (systemd issue 31914), and so the clock's time stands beside it: what comes first counts.
func armTrial(ctx context.Context, length time.Duration, until time.Time) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	again := fmt.Sprintf("systemctl --quiet disable %[1]s; systemctl stop %[1]s uplinkd-hooks.service; "+
		"%[2]s cleanup --by-record && systemctl --no-block stop %[3]s.timer", daemonUnit, program, firstTrial)
	return bySystemd(ctx, "systemd-run", "--quiet", "--collect", "--unit="+firstTrial,
		"--timer-property=AccuracySec=100ms",
		"--property=Type=oneshot", "--property=Restart=on-failure", "--property=RestartSec=2",
		fmt.Sprintf("--on-active=%dms", length.Milliseconds()),
		"--on-calendar="+until.Add(time.Second).UTC().Format("2006-01-02 15:04:05 UTC"), "sh", "-c", again)
}

// firstOnTrial reports whether the first start is on trial, or is going back right now.
func firstOnTrial(ctx context.Context) bool {
	return isActive(ctx, firstTrial+".timer") || isActive(ctx, firstTrial+".service")
}

// stateOf returns the state of a unit in systemd's word, "inactive" also where there is none.
func stateOf(ctx context.Context, unit string) string {
	out, _ := exec.CommandContext(ctx, "systemctl", "is-active", unit).Output() // the word says it, not the exit code
	return strings.TrimSpace(string(out))
}

func isActive(ctx context.Context, unit string) bool {
	return slices.Contains([]string{"active", "activating", "reloading"}, stateOf(ctx, unit))
}

// errTooLate is why a trial is not kept.
var errTooLate = errors.New("too late: it goes back")

// keepFirst keeps the daemon that is on trial. Until the timer is stopped, what fails goes back when the time is over.
func (c *common) keepFirst(ctx context.Context) error {
	switch {
	case isActive(ctx, firstTrial+".service"):
		return errTooLate
	case !isActive(ctx, daemonUnit):
		return errors.Join(errors.New("the daemon has ended, and so all is given back: journalctl -u uplinkd says why"),
			c.endFirst(ctx))
	}
	if err := bySystemd(ctx, "systemctl", "stop", firstTrial+".timer"); err != nil {
		return err
	}
	if isActive(ctx, firstTrial+".service") { // the timer came first
		return errTooLate
	}
	if err := bySystemd(ctx, "systemctl", "--quiet", "enable", daemonUnit); err != nil {
		return fmt.Errorf("kept, and it will not start at a boot: %w", err)
	}
	return nil
}

// endFirst ends the trial at once: the timer is there until all has been given back.
func (c *common) endFirst(ctx context.Context) error {
	if err := bySystemd(ctx, "systemctl", "stop", daemonUnit, "uplinkd-hooks.service"); err != nil {
		return err
	}
	if err := c.cleanup(ctx, true); err != nil {
		return err
	}
	return bySystemd(ctx, "systemctl", "stop", firstTrial+".timer")
}

// bySystemd runs one of systemd's commands, and blocks until it has done what it was told.
func bySystemd(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
