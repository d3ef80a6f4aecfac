package main

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

const (
	// lookEvery is how often the daemon is asked: the screen is brought up to date then, and on a key.
	lookEvery = time.Second

	// framesMost is how often a second the screen is written at the most: lines may be slow.
	framesMost = 10
)

func watchCommand(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "watch", Short: "Watch the uplinks live, and give orders", Args: cobra.NoArgs,
		Long: "Watch the uplinks live: how each is, what speaks for that, and what happens. Keys give orders, and\n" +
			"each asks before it acts: d drain, e enable, w weight, r renew. Arrows choose the uplink, q ends it.",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.watch(cmd.Context()) },
	}
	c.flagSocket(cmd)
	return cmd
}

func (c *common) watch(ctx context.Context) error {
	if c.width() == 0 {
		return errors.New("watch needs a terminal: uplinkd status and uplinkd events --follow do without one")
	}
	client := c.client()
	if _, err := client.Status(ctx); err != nil {
		return err // not on a screen that is gone at once
	}
	model := newWatchModel(watched{client}.look, watched{client}.order, c.color())
	program := tea.NewProgram(model, tea.WithContext(ctx), tea.WithOutput(c.terminal), tea.WithFPS(framesMost))
	if _, err := program.Run(); err != nil && !errors.Is(err, tea.ErrInterrupted) && ctx.Err() == nil {
		return err
	}
	return nil
}

// watched is a daemon that is watched.
type watched struct{ client *control.Client }

// look asks how things stand, and what has happened. It blocks until the daemon has answered, or for some seconds.
func (w watched) look() tea.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	status, err := w.client.Status(ctx)
	if err != nil {
		return looked{at: time.Now(), err: err}
	}
	book, err := w.client.Switches(ctx)
	if err != nil {
		return looked{at: time.Now(), err: err}
	}
	events, err := w.client.Events(ctx, 0, false)
	return looked{at: time.Now(), status: status, switches: book.Switches, events: events.Events, err: err}
}

// order gives an order, and tells what came of it.
func (w watched) order(name string, o api.Command) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return ordered{name, o, w.client.Command(ctx, name, o)}
	}
}
