package main

import (
	"fmt"
	"strconv"
	"time"

	tea "charm.land/bubbletea/v2"

	"uplinkd/uplink/api"
	"uplinkd/uplink/board"
)

// A looked is what one look at the daemon has shown.
type looked struct {
	at       time.Time
	status   api.Snapshot
	switches []api.Switch
	events   []api.Event
	err      error
}

// An ordered is what came of an order.
type ordered struct {
	uplink  string
	command api.Command
	err     error
}

// A lookAgain says that it is time.
type lookAgain struct{}

// A watchModel is what watch shows, and what it asks. Update and View wait for nobody.
type watchModel struct {
	look  func() tea.Msg
	order func(uplink string, c api.Command) tea.Cmd
	color bool

	width, height int
	last          looked // that succeeded
	silent        error  // why the daemon has not answered since; nil: it has
	board         *board.Board
	chosen        int    // of the uplinks
	asking        *wish  // that a key has asked for; nil: none
	digits        string // of a weight that is being typed
	typing        bool
	told          string // what came of the last order
}

// A wish is an order that a person is asked about: it stays with its uplink, whatever the list is by then.
type wish struct {
	uplink  string
	command api.Command
}

func newWatchModel(look func() tea.Msg, order func(string, api.Command) tea.Cmd, color bool) *watchModel {
	m := &watchModel{look: look, order: order, color: color, width: 80, height: 24}
	m.board = board.New(func() api.Snapshot { return m.last.status }, func() []api.Switch { return m.last.switches })
	return m
}

// Init implements tea.Model.
func (m *watchModel) Init() tea.Cmd { return m.look }

// Update implements tea.Model.
func (m *watchModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case looked:
		if m.silent = msg.err; msg.err == nil {
			m.last = msg
			m.board.Look(msg.at)
		}
		m.chosen = min(m.chosen, max(len(m.last.status.Uplinks)-1, 0))
		return m, tea.Tick(lookEvery, func(time.Time) tea.Msg { return lookAgain{} })
	case lookAgain:
		return m, m.look
	case ordered:
		m.told = fmt.Sprintf("%s %s: done", msg.command.Action, msg.uplink)
		if msg.err != nil {
			m.told = msg.err.Error()
		}
	case tea.KeyPressMsg:
		return m, m.press(msg.String())
	}
	return m, nil
}

// press takes a key in.
func (m *watchModel) press(key string) tea.Cmd {
	switch {
	case key == "ctrl+c":
		return tea.Quit
	case m.typing:
		m.typeWeight(key)
	case m.asking != nil:
		return m.answer(key)
	case key == "q" || key == "esc":
		return tea.Quit
	case key == "up" || key == "k":
		m.chosen = max(m.chosen-1, 0)
	case key == "down" || key == "j":
		m.chosen = min(m.chosen+1, max(len(m.last.status.Uplinks)-1, 0))
	default:
		m.ask(key)
	}
	return nil
}

// ask has a person asked whether what a key stands for is to be done.
func (m *watchModel) ask(key string) {
	actions := map[string]api.Action{"d": api.Drain, "e": api.Enable, "w": api.Weight, "r": api.Renew}
	action, ok := actions[key]
	if !ok || len(m.last.status.Uplinks) == 0 {
		return
	}
	m.told = ""
	m.asking = &wish{m.last.status.Uplinks[m.chosen].Name, api.Command{Action: action}}
	m.typing, m.digits = action == api.Weight, ""
}

// typeWeight takes a key of a weight in.
func (m *watchModel) typeWeight(key string) {
	switch {
	case key == "esc":
		m.typing, m.asking = false, nil
	case key == "backspace" && m.digits != "":
		m.digits = m.digits[:len(m.digits)-1]
	case len(key) == 1 && key >= "0" && key <= "9" && len(m.digits) < 3:
		m.digits += key
	case key == "enter":
		n, err := strconv.Atoi(m.digits)
		if err != nil || n < 1 || n > 256 {
			m.told, m.typing, m.asking = fmt.Sprintf("weight %q: must be 1 to 256", m.digits), false, nil
			return
		}
		m.asking.command.Weight, m.typing = n, false
	}
}

// answer takes the answer in: y alone is one.
func (m *watchModel) answer(key string) tea.Cmd {
	w := *m.asking
	m.asking = nil
	if key != "y" {
		m.told = "nothing was done"
		return nil
	}
	return m.order(w.uplink, w.command)
}

// question is what a person is asked; "": nothing.
func (m *watchModel) question() string {
	if m.asking == nil {
		return ""
	}
	name, action := m.asking.uplink, m.asking.command.Action
	switch {
	case m.typing:
		return name + " weight " + m.digits + "_ (1 to 256, Enter; Esc: none)"
	case action == api.Drain:
		return "drain " + name + "? y/n: no new connections go there until enable"
	case action == api.Enable:
		return "enable " + name + "? y/n: its past falls are forgotten"
	case action == api.Weight:
		return fmt.Sprintf("%s weight %d? y/n: until further notice", name, m.asking.command.Weight)
	}
	return "renew " + name + "? y/n: its lease, now"
}
