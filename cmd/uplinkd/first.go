package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

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

// isFirst reports whether a configuration is to be applied by a start of the daemon: none runs, and the file is the one
// that it starts with.
func (c *common) isFirst(ctx context.Context, file string) (bool, error) {
	if firstOnTrial(ctx) {
		return false, errFirstTrial
	}
	if _, err := c.client().Status(ctx); !errors.Is(err, control.ErrNotRunning) {
		return false, nil
	}
	if _, err := os.Stat(systemdLives); err != nil {
		return false, nil //nolint:nilerr // without systemd it is started by other means
	}
	path, err := filepath.Abs(file)
	if err == nil && path != defaultConfig {
		err = fmt.Errorf("no daemon runs, and the first start takes %s: put the file there; then uplinkd apply "+
			"--confirm 2m",
			defaultConfig)
	}
	return err == nil, err
}

// startFirst starts the daemon by systemd. On trial it is stopped again after the time, and gives everything back,
// unless confirm comes; after a start of the machine meanwhile it does not run.
func (c *common) startFirst(ctx context.Context, length time.Duration) error {
	if _, err := c.load(); err != nil {
		return err
	}
	until := time.Now().Add(length)
	if length > 0 {
		again := "systemctl stop " + daemonUnit + " uplinkd-hooks.service; exec uplinkd cleanup"
		err := errors.Join(bySystemd(ctx, "systemctl", "--quiet", "disable", daemonUnit),
			bySystemd(ctx, "systemd-run", "--quiet", "--collect", "--unit="+firstTrial,
				"--timer-property=AccuracySec=100ms",
				"--property=Type=oneshot", fmt.Sprintf("--on-active=%dms", length.Milliseconds()), "sh", "-c", again))
		if err != nil {
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

// firstOnTrial reports whether the first start is on trial, or is going back right now.
func firstOnTrial(ctx context.Context) bool {
	return isActive(ctx, firstTrial+".timer") || isActive(ctx, firstTrial+".service")
}

func isActive(ctx context.Context, unit string) bool {
	out, _ := exec.CommandContext(ctx, "systemctl", "is-active", unit).Output() // the word says it, not the exit code
	state := strings.TrimSpace(string(out))
	return state == "active" || state == "activating"
}

// keepFirst keeps the daemon that is on trial. What fails goes back when the time is over.
func (c *common) keepFirst(ctx context.Context) error {
	if err := bySystemd(ctx, "systemctl", "--quiet", "enable", daemonUnit); err != nil {
		return err
	}
	if err := bySystemd(ctx, "systemctl", "stop", firstTrial+".timer"); err != nil {
		return err
	}
	if isActive(ctx, firstTrial+".service") || !isActive(ctx, daemonUnit) {
		// The timer came first.
		return errors.Join(errors.New("too late: it goes back"), bySystemd(ctx, "systemctl", "--quiet", "disable",
			daemonUnit))
	}
	return nil
}

// endFirst ends the trial at once: the timer goes on until all has been given back.
func (c *common) endFirst(ctx context.Context) error {
	return errors.Join(bySystemd(ctx, "systemctl", "stop", daemonUnit, "uplinkd-hooks.service"), c.cleanup(ctx),
		bySystemd(ctx, "systemctl", "stop", firstTrial+".timer"))
}

// bySystemd runs one of systemd's commands, and blocks until it has done what it was told.
func bySystemd(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
