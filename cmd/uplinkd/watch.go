package main

import (
	"context"
	"errors"
	"slices"
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
	client := control.NewWatcher(c.socketPath())
	defer client.Close()
	if _, err := client.Status(ctx); err != nil {
		return err // not on a screen that is gone at once
	}
	w := &watched{client: client}
	model := newWatchModel(w.look, w.order, c.color())
	program := tea.NewProgram(model, tea.WithContext(ctx), tea.WithOutput(c.terminal), tea.WithFPS(framesMost))
	if _, err := program.Run(); err != nil && !errors.Is(err, tea.ErrInterrupted) && ctx.Err() == nil {
		return err
	}
	return nil
}

// A watched is a daemon that is watched.
type watched struct {
	client   *control.Client
	status   api.Snapshot // the last; the rest is of it
	switches []api.Switch
	events   []api.Event // the last that it has told
}

// eventsShown is how many are remembered: more than any screen has lines.
const eventsShown = 500

// look asks how things stand, and what has happened, where something has since the last look. It blocks until
// the daemon has answered, or for some seconds, and one look must have ended before the next.
func (w *watched) look() tea.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := w.ask(ctx)
	return looked{at: time.Now(), status: w.status, switches: w.switches, events: w.events, err: err}
}

func (w *watched) ask(ctx context.Context) error {
	status, err := w.client.Status(ctx)
	if err != nil {
		return err
	}
	now, before := &status.Daemon, &w.status.Daemon
	events, last := w.events, before.LastEvent
	if !now.Started.Equal(before.Started) {
		events, last = nil, 0 // the numbers were another's
	}
	if now.LastEvent > last {
		news, err := w.client.Events(ctx, last, false)
		if err != nil {
			return err
		}
		events = slices.Concat(events, news.Events) // a new list: what was shown is read meanwhile
		now.LastEvent = news.Last                   // there may have been another by then
	}
	if !now.Started.Equal(before.Started) || now.SwitchesChanged != before.SwitchesChanged {
		book, err := w.client.Switches(ctx)
		if err != nil {
			return err
		}
		w.switches = book.Switches
	}
	w.status, w.events = status, events[max(0, len(events)-eventsShown):]
	return nil
}

// order gives an order, and tells what came of it.
func (w *watched) order(name string, o api.Command) tea.Cmd {
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		return ordered{name, o, w.client.Command(ctx, name, o)}
	}
}
