package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"uplinkd/uplink/control"
)

// Names of the units by which the first start is on trial: systemd ends it, whatever becomes of us.
const (
	firstTrial   = "uplinkd-first-trial"
	daemonUnits  = "uplinkd.service uplinkd-hooks.service"
	systemdLives = "/run/systemd/system" // sd_booted(3)
)

// isFirst reports whether a configuration is to be applied by a start of the daemon: none runs, and the file is the one
// that it starts with.
func (c *common) isFirst(ctx context.Context, file string) bool {
	if _, err := c.client().Status(ctx); !errors.Is(err, control.ErrNotRunning) {
		return false
	}
	_, err := os.Stat(systemdLives)
	return err == nil && file == defaultConfig && c.config == defaultConfig
}

// startFirst starts the daemon by systemd. On trial it is stopped again after the time, and gives everything back,
// unless confirm comes.
func (c *common) startFirst(ctx context.Context, length time.Duration) error {
	if _, err := c.load(); err != nil {
		return err
	}
	if length > 0 {
		again := "systemctl stop " + daemonUnits + "; exec uplinkd cleanup"
		if err := bySystemd(ctx, "systemd-run", "--quiet", "--unit="+firstTrial, "--timer-property=AccuracySec=100ms",
			fmt.Sprintf("--on-active=%dms", length.Milliseconds()), "sh", "-c", again); err != nil {
			return err
		}
	}
	if err := bySystemd(ctx, "systemctl", "start", "uplinkd.service"); err != nil {
		if length > 0 {
			err = errors.Join(err, bySystemd(ctx, "systemctl", "start", firstTrial+".service"))
		}
		return err
	}
	if length == 0 {
		_, err := fmt.Fprintln(c.out, "started; systemctl enable uplinkd has it start at each boot")
		return err
	}
	_, err := fmt.Fprintf(c.out, "started, until %s: uplinkd confirm keeps it, and has it start at each boot\n",
		time.Now().Add(length).Format(time.TimeOnly))
	return err
}

// confirmFirst keeps the daemon that is on trial, or ends the trial at once. known is whether there is one.
func confirmFirst(ctx context.Context, reject bool) (known bool, err error) {
	if exec.CommandContext(ctx, "systemctl", "--quiet", "is-active", firstTrial+".timer").Run() != nil {
		return false, nil
	}
	if reject {
		return true, bySystemd(ctx, "systemctl", "start", firstTrial+".service")
	}
	if err := bySystemd(ctx, "systemctl", "stop", firstTrial+".timer"); err != nil {
		return true, err
	}
	return true, bySystemd(ctx, "systemctl", "enable", "uplinkd.service")
}

// bySystemd runs one of systemd's commands.
func bySystemd(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
