package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uplinkd/internal/plain"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

func reloadCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "reload", Short: "Make the daemon read its configuration anew", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.client().Reload(cmd.Context()) },
	}
	c.flagSocket(cmd)
	return cmd
}

// flagFamily adds --family. Left out it is "": of both.
func flagFamily(cmd *cobra.Command, to *string) {
	cmd.Flags().Func("family", "of one `family` alone: ipv4 or ipv6", func(text string) error {
		if text != "ipv4" && text != "ipv6" {
			return errors.New("must be ipv4 or ipv6")
		}
		*to = text
		return nil
	})
}

// flagFor adds --for. Left out it is zero: until another order.
func flagFor(cmd *cobra.Command, to *time.Duration) {
	cmd.Flags().Func("for", "end the order by itself after this `time`, such as 30m", func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return errors.New("must be a time such as 30m")
		}
		*to = d
		return nil
	})
}

// remembered is what the help of lasting orders says of them.
const remembered = "The order outlives restarts, and shows in status with who gave it and when."

// orderCommand is a command that gives an order on one uplink.
func orderCommand(c *common, cmd *cobra.Command, lasting bool) *cobra.Command {
	o := api.Command{Action: api.Action(cmd.Name())}
	if cmd.Args == nil {
		cmd.Args = named("UPLINK")
	}
	cmd.ValidArgsFunction = c.uplinkNames
	if cmd.RunE == nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			return c.client().Command(cmd.Context(), args[0], o)
		}
	}
	if lasting {
		flagFor(cmd, &o.For)
	}
	flagFamily(cmd, &o.Family)
	c.flagSocket(cmd)
	return cmd
}

func enableCommand(c *common) *cobra.Command {
	return orderCommand(c, &cobra.Command{
		Use: "enable UPLINK", Short: "Take an uplink back into use",
		Long: "Take an uplink back into use that was disabled, drained, or left out by auto_disable. What\n" +
			"past falls hold against it is forgotten.",
	}, false)
}

func disableCommand(c *common) *cobra.Command {
	return orderCommand(c, &cobra.Command{
		Use: "disable UPLINK", Short: "Take an uplink out of use at once, and release its lease, until enable",
		Long: "Take an uplink out of use at once, and release its lease, until enable.\n" + remembered,
	}, true)
}

func renewCommand(c *common) *cobra.Command {
	return orderCommand(c, &cobra.Command{
		Use: "renew UPLINK", Short: "Renew an uplink's lease now",
		Long: "Renew an uplink's lease now. Asked again it asks any server, and the third time for a\n" +
			"lease as if there were none; a lease in force stays in force meanwhile.",
	}, false)
}

func drainCommand(c *common) *cobra.Command {
	var wait bool
	o := api.Command{Action: api.Drain}
	cmd := &cobra.Command{
		Use: "drain UPLINK", Short: "Give an uplink no new connections, and leave it those it has, until enable",
		Long: "Give an uplink no new connections, and leave it those it has, until enable.\n" + remembered + "\n" +
			"With --wait the command ends when none are left: TCP connections of this host, and flows\n" +
			"that are translated to the uplink's address.",
		Args: named("UPLINK"), ValidArgsFunction: c.uplinkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			client := c.client()
			if err := client.Command(cmd.Context(), args[0], o); err != nil {
				return err
			}
			if !wait {
				return nil
			}
			return c.untilDrained(cmd.Context(), client, args[0])
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has no connections left")
	flagFor(cmd, &o.For)
	flagFamily(cmd, &o.Family)
	c.flagSocket(cmd)
	return cmd
}

const (
	// restartMost is how long a daemon may be away while it is restarted.
	restartMost = 15 * time.Second

	// awayPause is how long a daemon that is away is left alone.
	awayPause = 300 * time.Millisecond

	// unknownMost is how long connections may go uncounted before we say that we
	// cannot know.
	unknownMost = 10 * time.Second
)

// isAway reports whether an error is that of a daemon that may be in the middle of a
// restart.
func isAway(err error) bool {
	return errors.Is(err, control.ErrNotRunning) || errors.Is(err, control.ErrWentAway)
}

// A drainer says how far an uplink is from having no connections left.
type drainer interface {
	Drain(ctx context.Context, name string) (api.DrainProgress, error)
}

// untilDrained waits until the daemon says that an uplink has no connections left.
func (c *common) untilDrained(ctx context.Context, daemon drainer, name string) error {
	answered, known := time.Now(), time.Now()
	told := ""
	for {
		p, err := daemon.Drain(ctx, name)
		switch {
		case err == nil:
			answered = time.Now()
		case !isAway(err) || time.Since(answered) > restartMost:
			return err
		}
		if p.Connections.Known && p.Connections.String() != told {
			told = p.Connections.String()
			fmt.Fprintf(c.err, "%s connections left\n", told)
		}
		if p.State != api.DrainUnknown {
			known = time.Now()
		}
		switch {
		case p.State == api.DrainDone:
			return nil
		case p.State == api.DrainEnded:
			return errors.New(p.Reason)
		case time.Since(known) > unknownMost:
			return fmt.Errorf("whether %s has connections left cannot be known: %s", name, p.Reason)
		}
		if pause(ctx, time.Second); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func weightCommand(c *common) *cobra.Command {
	o := api.Command{Action: api.Weight}
	cmd := &cobra.Command{
		Use: "weight UPLINK N", Short: "Give an uplink another weight, 1 to 256, or `default` for the configured one",
		Long: "Give an uplink another weight, 1 to 256, or `default` for the configured one.\n" + remembered,
		Args: named("UPLINK", "N"), ValidArgsFunction: c.uplinkNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] != "default" {
				n, err := strconv.Atoi(args[1])
				if err != nil || n < 1 || n > 256 {
					return usageError{fmt.Errorf("weight %q: must be 1 to 256, or default", args[1])}
				}
				o.Weight = n
			}
			return c.client().Command(cmd.Context(), args[0], o)
		},
	}
	flagFor(cmd, &o.For)
	flagFamily(cmd, &o.Family)
	c.flagSocket(cmd)
	return cmd
}

func eventsCommand(c *common) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use: "events", Short: "Show the last 1000 changes and what caused them", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.events(cmd.Context(), follow) },
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on, and show each as it comes")
	c.flagSocket(cmd)
	c.flagJSON(cmd)
	return cmd
}

func (c *common) events(ctx context.Context, follow bool) error {
	f := follower{client: c.client()}
	for {
		events, err := f.next(ctx, restartMost)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // who follows ends it so
		}
		if err == nil {
			err = c.writeEvents(events)
		}
		if err != nil || !follow {
			return err
		}
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, length time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(length):
	}
}

func (c *common) writeEvents(events []api.Event) error {
	for _, e := range events {
		if err := writeEvent(c.out, e, c.json); err != nil {
			return err
		}
	}
	return nil
}

// writeEvent writes one event: a line, and one for each piece of evidence; or one
// line of JSON.
func writeEvent(w io.Writer, e api.Event, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(e)
	}
	text := fmt.Sprintf("%s  %-5s  ", e.Time.Local().Format("2006-01-02 15:04:05.000"), e.Kind)
	if e.Uplink != "" {
		text += e.Uplink + "  "
	}
	if e.Family == familyIPv6 {
		text += "v6  "
	}
	text += fmt.Sprintf("%s -> %s", dash(e.From), dash(e.To))
	if e.Reason != "" {
		text += "  " + plain.Line(e.Reason, remarkMost)
	}
	for _, fact := range e.Evidence {
		text += "\n" + strings.Repeat(" ", 25) + plain.Line(fact, remarkMost)
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
