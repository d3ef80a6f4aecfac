package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uplinkd/internal/plain"
	"uplinkd/internal/statefile"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// defaultTrial is how long a configuration is on trial that may end the login it comes by.
const defaultTrial = time.Minute

func applyCommand(c *common) *cobra.Command {
	var length time.Duration
	cmd := &cobra.Command{
		Use: "apply [FILE]", Short: "Put a configuration in force, on trial if need be", Args: cobra.MaximumNArgs(1),
		Long: "Put the configuration in FILE, or that of --config, in force. With --confirm 60s it goes\n" +
			"back by itself unless `uplinkd confirm` comes in time: also when the daemon is killed or the\n" +
			"host restarted meanwhile. Where it may end the SSH connection that this is typed over, a\n" +
			"minute is the default; --confirm 0 goes without. What is confirmed takes the place of the\n" +
			"file of --config, and the file before it is kept beside it with .old at its end.\n" +
			"Where no daemon runs yet it is started, and on trial it is stopped again and gives back what\n" +
			"it has changed; confirm then also has it start at each boot.",
		RunE: func(cmd *cobra.Command, args []string) error {
			file := c.config
			if len(args) > 0 {
				file = args[0]
			}
			if length != 0 && (length < control.TrialLeast || length > control.TrialMost) {
				return usageError{fmt.Errorf("--confirm %s: must be %s to %s, or 0",
					length, control.TrialLeast, control.TrialMost)}
			}
			given := cmd.Flags().Changed("confirm")
			first, err := c.isFirst(cmd.Context(), file)
			if err != nil {
				return err
			}
			if first {
				if !given && (login() != nil || atTerminal()) { // who is logged in, and from where, is not always known
					length = defaultTrial
				}
				return c.startFirst(cmd.Context(), length)
			}
			return c.apply(cmd.Context(), file, length, given)
		},
	}
	cmd.Flags().DurationVar(&length, "confirm", 0, "go back after this `time` unless uplinkd confirm comes")
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

func (c *common) apply(ctx context.Context, file string, length time.Duration, given bool) error {
	name, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	daemon := c.client()
	plan, err := daemon.Plan(ctx, name, text, login())
	if err != nil {
		return err
	}
	if why := risk(plan); why != "" && !given {
		length = defaultTrial
		fmt.Fprintf(c.err, "uplinkd: %s: on trial for %s\n", why, length)
	}
	kept := length == 0
	if kept { // long enough to be written down
		length = defaultTrial
	}
	trial, err := daemon.Apply(ctx, name, text, length)
	if err != nil {
		return err
	}
	if kept {
		if err := c.keep(ctx, daemon, trial); err != nil {
			return fmt.Errorf("in force, and it will go back at %s: %w", trial.Until.Format(time.TimeOnly), err)
		}
	}
	return c.printApplied(plan, trial, kept)
}

// risk says why the login that a configuration comes by may end, "" when it goes on.
func risk(plan api.Plan) string {
	switch l := plan.Login; {
	case l != nil && l.Ends:
		return fmt.Sprintf("this login from %s may end (%s)", l.Peer.Addr(), l.Why)
	case l == nil && atTerminal() && slices.ContainsFunc(plan.Effects, ends):
		return "connections end, and which of them somebody is logged in by is not known"
	}
	return ""
}

func ends(e api.Effect) bool { return e.Ends }

// atTerminal reports whether somebody types this.
func atTerminal() bool {
	_, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	return err == nil
}

// An applied is the answer of `uplinkd apply`.
type applied struct {
	Changes   []string     `json:"changes"`
	Effects   []api.Effect `json:"effects"`
	Login     *api.Login   `json:"login"`
	Confirmed bool         `json:"confirmed"`
	Until     api.When     `json:"until"` // it goes back then; null: it does not
}

func (c *common) printApplied(plan api.Plan, trial api.Trial, kept bool) error {
	answer := applied{Changes: plan.Changes, Effects: plan.Effects, Login: plan.Login, Confirmed: kept}
	if !kept {
		answer.Until = api.When{Time: trial.Until}
	}
	if c.json {
		return c.printJSON(answer)
	}
	if len(plan.Changes) == 0 {
		fmt.Fprintln(c.out, "no change")
	}
	for _, line := range plan.Changes {
		fmt.Fprintln(c.out, plain.Line(line, lineMost))
	}
	c.printEffects(plan)
	if kept {
		return nil
	}
	_, err := fmt.Fprintf(c.out, "in force until %s: uplinkd confirm\n", trial.Until.Local().Format(time.TimeOnly))
	return err
}

// lineMost bounds a line about a change.
const lineMost = 200

// printEffects says what becomes of connections.
func (c *common) printEffects(plan api.Plan) {
	for _, e := range plan.Effects {
		what := "go on by another gateway"
		if e.Ends {
			what = "end"
		}
		fmt.Fprintf(c.err, "%s: %s: %s connections of this host and %s tracked flows %s\n",
			e.Uplink, e.Why, e.Sockets, e.Flows, what)
	}
	if l := plan.Login; l != nil && l.Ends {
		fmt.Fprintf(c.err, "this login from %s may end: %s\n", l.Peer.Addr(), l.Why)
	}
}

func confirmCommand(c *common) *cobra.Command {
	var reject bool
	cmd := &cobra.Command{
		Use: "confirm", Short: "Keep the configuration that is on trial", Args: cobra.NoArgs,
		Long: "Keep the configuration that `uplinkd apply --confirm` has put in force; with --reject go back\n" +
			"at once.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			daemon := c.client()
			switch first := firstOnTrial(cmd.Context()); {
			case first && reject:
				return c.endFirst(cmd.Context())
			case first:
				return c.keepFirst(cmd.Context())
			case reject:
				return daemon.Reject(cmd.Context())
			}
			trial, err := daemon.Trial(cmd.Context())
			if err != nil {
				return err
			}
			return c.keep(cmd.Context(), daemon, trial)
		},
	}
	cmd.Flags().BoolVar(&reject, "reject", false, "go back to the configuration before at once")
	c.flagSocket(cmd)
	return cmd
}

// keep puts what is on trial into the file that the daemon starts with, and confirms it:
// in this order, so that what cannot be written goes back.
func (c *common) keep(ctx context.Context, daemon *control.Client, t api.Trial) error {
	if sum := sha256.Sum256(t.Text); hex.EncodeToString(sum[:]) != t.SHA256 {
		return errors.New("not confirmed: the daemon shows its configuration to root alone: be root")
	}
	stood, err := replaceConfig(t.Config, t.Text, t.Before)
	if err != nil {
		return fmt.Errorf("not confirmed: %s cannot be written: %w", t.Config, err)
	}
	err = daemon.Confirm(ctx, t.SHA256)
	if errors.Is(err, control.ErrNoTrial) && !bytes.Equal(stood, t.Text) {
		// Too late: it has gone back, or another has been confirmed. What stood in the file
		// comes with the next start, and this does not.
		_, restored := replaceConfig(t.Config, stood, t.Text)
		return errors.Join(err, restored)
	}
	return err
}

// replaceConfig puts text into the place of a configuration file, in one step, and what was
// before it beside it, with .old at the end. A link is followed, and both have the owner and
// the mode that the file has. It returns what stood in the file.
func replaceConfig(path string, text, before []byte) (now []byte, err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	if now, err = os.ReadFile(path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	old := before
	if !bytes.Equal(now, text) {
		old = now // what stands there, in force or not
	}
	if !bytes.Equal(text, old) {
		if err := statefile.ReplaceLike(path+".old", old, info); err != nil {
			return nil, err
		}
	}
	if bytes.Equal(now, text) {
		return now, statefile.Flush(path) // an editor may have left it to chance
	}
	return now, statefile.ReplaceLike(path, text, info)
}
