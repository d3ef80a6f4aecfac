package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// An orderGiven is one that a watchModel has given.
type orderGiven struct {
	uplink  string
	command api.Command
}

// watching returns a model that has looked some times at so many uplinks.
func watching(t *testing.T, uplinks, width, height int) (m *watchModel, orders *[]orderGiven, press func(keys ...string)) {
	t.Helper()
	orders = &[]orderGiven{}
	m = newWatchModel(nil, func(uplink string, c api.Command) tea.Cmd {
		*orders = append(*orders, orderGiven{uplink, c})
		return nil
	}, true)
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	now := time.Date(2026, 11, 27, 12, 3, 4, 0, time.Local)
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		look := looked{at: now.Add(time.Duration(n) * time.Second), status: api.Snapshot{Daemon: api.Daemon{Version: "v1"}}}
		for i := range uplinks {
			u := api.Uplink{
				Name: fmt.Sprintf("provider-%d", i+1), Interface: fmt.Sprintf("eth%d", i+1), Family: "ipv4", State: api.Up, Active: true, Since: now,
				Reason: "probes are answered", Counters: api.Counters{RxBPS: api.Known(uint64(random.IntN(90_000_000)))},
				Probes: []api.Probe{{Target: "gateway", RTT: 5 + random.ExpFloat64()*3, Sent: 1, Silence: api.Millis(300 * time.Millisecond), DownAfter: 1000}},
			}
			if i == 1 && n > 100 && n < 160 {
				u.State, u.Active, u.Reason = api.Down, false, "the gateway does not answer\x1b[2J"
			} else {
				look.status.DefaultRoute.NextHops = append(look.status.DefaultRoute.NextHops, api.NextHop{Uplink: u.Name, Weight: 1 + i%3})
			}
			look.status.Uplinks = append(look.status.Uplinks, u)
		}
		look.events = []api.Event{{
			ID: 1, Time: now.Add(100 * time.Second), Uplink: "provider-2", Family: "ipv4", Kind: api.EventState, From: "doubtful", To: "down",
			Reason: "the gateway does not answer", Evidence: []string{"gateway: down, 3 missed in a row since 12:04:43.120", "eth2: 48 packets out and 0 in since 12:04:43.100"},
		}}
		m.Update(look)
	}
	return m, orders, func(keys ...string) {
		for _, key := range keys {
			m.press(key)
		}
	}
}

// Whatever the terminal's size and the number of uplinks, the screen fits, the chosen one is on it, and nothing of a
// stranger's reaches the terminal as it is.
func TestWatchFits(t *testing.T) {
	for _, uplinks := range []int{0, 1, 3, 30} {
		for _, size := range [][2]int{{80, 24}, {140, 50}, {40, 10}, {20, 5}, {250, 80}} {
			m, _, press := watching(t, uplinks, size[0], size[1])
			for n := range max(uplinks, 1) {
				screen := m.screen()
				lines := strings.Split(screen, "\n")
				if len(lines) > size[1] || widest(screen) > size[0] {
					t.Fatalf("%d uplinks at %v: %d lines, %d wide\n%s", uplinks, size, len(lines), widest(screen), screen)
				}
				if size[1] >= 10 && uplinks > 0 && !strings.Contains(screen, fmt.Sprintf("> provider-%d ", n+1)) {
					t.Fatalf("the chosen one, %d of %d, is not on the screen at %v:\n%s", n+1, uplinks, size, screen)
				}
				if strings.Contains(screen, "\x1b[2J") {
					t.Fatal("a stranger's escape is on the screen")
				}
				press("down")
			}
		}
	}
	m, _, press := watching(t, 3, 80, 24)
	press("down")
	for _, part := range []string{"3 of 3 paths up", "12:06:23", "round", "━━xxx", "doubtful -> down", "48 packets out and 0 in", "q end"} {
		if screen := m.screen(); !strings.Contains(strings.ToLower(screen), part) {
			t.Errorf("%q is not on\n%s", part, screen)
		}
	}
}

// Each key asks, and only y is yes; the order is for the uplink that was asked about, whatever comes meanwhile.
func TestWatchAsks(t *testing.T) {
	for _, tt := range []struct {
		keys string
		want string
	}{
		{"d", ""},
		{"d n", ""},
		{"d enter", ""},
		{"d esc", ""},
		{"d y", "provider-1 drain 0"},
		{"down e y", "provider-2 enable 0"},
		{"r y", "provider-1 renew 0"},
		{"w 1 7 enter y", "provider-1 weight 17"},
		{"w 1 backspace 9 enter y", "provider-1 weight 9"},
		{"w 0 enter y", ""},
		{"w 3 0 0 enter y", ""},
		{"w enter y", ""},
		{"w 5 esc y", ""},
		{"w 5 enter n", ""},
		{"x y", ""},
		{"y", ""},
		{"w y 5 enter y", "provider-1 weight 5"},
	} {
		_, orders, press := watching(t, 3, 80, 24)
		press(strings.Fields(tt.keys)...)
		got := ""
		for _, o := range *orders {
			got += fmt.Sprintf("%s %s %d", o.uplink, o.command.Action, o.command.Weight)
		}
		if got != tt.want {
			t.Errorf("%s: ordered %q, want %q", tt.keys, got, tt.want)
		}
	}
	m, orders, press := watching(t, 3, 80, 24)
	press("down", "down", "d")
	if q := m.question(); !strings.Contains(m.screen(), q) || !strings.HasPrefix(q, "drain provider-3") {
		t.Errorf("asked %q", q)
	}
	next := m.last
	next.status.Uplinks = next.status.Uplinks[:1] // a reload has taken two away
	m.Update(next)
	press("y")
	if len(*orders) != 1 || (*orders)[0].uplink != "provider-3" {
		t.Errorf("ordered %v", *orders)
	}
	m.Update(looked{err: errors.New("no daemon is running")})
	if !strings.Contains(m.screen(), "has not answered since") {
		t.Errorf("a daemon that is gone:\n%s", m.screen())
	}
}

// A terminal is a real one, of tmux.
type terminal struct {
	*bench
	socket string
}

func (x *terminal) tmux(args ...string) string {
	x.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", x.socket, "-f", "/dev/null"}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	out, err := cmd.CombinedOutput()
	if err != nil {
		x.Fatalf("tmux %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func (x *terminal) shows(text string) {
	x.Helper()
	x.until("the terminal shows "+text, 10*time.Second, func() bool { return strings.Contains(x.tmux("capture-pane", "-p"), text) })
}

// In a terminal, against the real daemon: it is live, asks before it acts, follows the window's size, and leaves
// the terminal as it was, also when the daemon goes away meanwhile.
func TestWatchInATerminal(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		labtest.Skip(t, "needs tmux")
	}
	b := newBench(t, 2)
	b.configure(b.static(1, 1), normalProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	dir := t.TempDir()
	program := b.program("watch", "-c", b.config)
	self, err := os.Executable()
	b.ok(err)
	program.Args[0] = self
	script := filepath.Join(dir, "script")
	b.ok(os.WriteFile(script, []byte(fmt.Sprintf("stty -g >%[1]s/before\n%[2]s %[3]s\necho ended with $?\nstty -g >%[1]s/after\nsleep 60\n",
		dir, strings.Join(quoted(envOf(program)), " "), strings.Join(quoted(program.Args), " "))), 0o700))
	x := &terminal{b, filepath.Join(dir, "tmux")}
	x.tmux("new-session", "-d", "-x", "80", "-y", "24", "sh", script)
	t.Cleanup(func() { x.tmux("kill-server") })
	x.shows("2 of 2 paths up")
	x.shows("> isp1")
	x.tmux("send-keys", "d")
	x.shows("drain isp1? y/n: no new connections go there until enable")
	x.tmux("send-keys", "n")
	x.shows("nothing was done")
	if state := b.status().Uplinks[0].State; state != api.Up {
		t.Errorf("isp1 is %s though nobody said yes", state)
	}
	x.tmux("send-keys", "d")
	x.shows("y/n")
	x.tmux("send-keys", "y")
	x.shows("drain isp1: done")
	b.untilStates(5*time.Second, "drained", "up")
	x.shows("drained")
	x.tmux("resize-window", "-x", "140", "-y", "40")
	x.until("the screen is as wide", 5*time.Second, func() bool { return widest(x.tmux("capture-pane", "-p")) > 80 })
	b.kill(9)
	x.shows("the daemon has not answered since")
	x.tmux("send-keys", "q")
	x.shows("ended with 0")
	if screen := x.tmux("capture-pane", "-p"); strings.Contains(screen, "paths up") {
		t.Errorf("something is left on the terminal:\n%s", screen)
	}
	var before, after []byte
	x.until("the terminal's settings are read", 5*time.Second, func() (done bool) {
		var errs [2]error
		before, errs[0] = os.ReadFile(filepath.Join(dir, "before"))
		after, errs[1] = os.ReadFile(filepath.Join(dir, "after"))
		return errs[0] == nil && errs[1] == nil && len(after) > 10
	})
	if string(before) != string(after) {
		t.Errorf("the terminal's settings were %s, and are %s", before, after)
	}
}

func quoted(words []string) []string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
	}
	return list
}

// envOf returns what a test's program is told by its environment.
func envOf(cmd *exec.Cmd) []string {
	list := []string{"env"}
	for _, v := range cmd.Env {
		if strings.HasPrefix(v, "UPLINKD_") || strings.HasPrefix(v, "GORACE=") {
			list = append(list, v)
		}
	}
	return list
}
