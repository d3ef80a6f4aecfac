package hooks_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/uplink/api"
	"uplinkd/uplink/hooks"
)

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func program(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// start runs a Runner with hooks until the test ends.
func start(t *testing.T, list ...hooks.Hook) (*hooks.Runner, *buffer) {
	t.Helper()
	log := &buffer{}
	r := hooks.New(slog.New(slog.NewTextHandler(log, nil)))
	r.Set(list)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r, log
}

func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	for range 500 {
		if met() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}

var down = api.Event{
	ID: 7, Uplink: "isp1", Interface: "eth1", Address: "192.0.2.5/24", Kind: "state", From: "up", To: "down",
	Reason: "the gateway `rm -rf /` $HOME \"says\" no",
	DNS:    []netip.Addr{netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("192.0.2.54")}, Domain: "isp.$(example)`",
}

// A program gets its arguments and an environment, and nothing else; what it says
// is logged.
func TestRun(t *testing.T) {
	path := program(t, `echo "$1|$2|$#|$UPLINKD_EVENT|$UPLINKD_UPLINK|$UPLINKD_INTERFACE|$UPLINKD_ADDRESS|$UPLINKD_FROM|$UPLINKD_TO|$UPLINKD_REASON|$UPLINKD_DNS|$UPLINKD_DOMAIN|$HOME|$PWD"`)
	r, log := start(t, hooks.Hook{Run: []string{path, "a b", "*"}, On: []string{"down"}, Timeout: time.Second})
	r.Tell(down)
	want := "a b|*|2|down|isp1|eth1|192.0.2.5/24|up|down|the gateway rm -rf / HOME says no|192.0.2.53 192.0.2.54|isp.(example)||/"
	until(t, "the output is logged", func() bool { return strings.Contains(log.String(), want) })
}

// Which hooks are run on what.
func TestWhichOn(t *testing.T) {
	dir := t.TempDir()
	all := []string{"lease", "address", "up", "down", "switch"}
	note := program(t, `echo "$1 $UPLINKD_EVENT" >> `+dir+`/notes`)
	r, _ := start(t,
		hooks.Hook{Run: []string{note, "all"}, On: all, Timeout: time.Second},
		hooks.Hook{Run: []string{note, "two"}, On: all, Uplinks: []string{"isp2"}, Timeout: time.Second},
	)
	for _, e := range []api.Event{
		{Kind: "state", Uplink: "isp1", From: "starting", To: "up"},
		{Kind: "state", Uplink: "isp1", From: "up", To: "disabled"},
		{Kind: "state", Uplink: "isp2", From: "up", To: "down"},
		{Kind: "lease", Uplink: "isp1"},
		{Kind: "address", Uplink: "isp1"},
		{Kind: "route"},
		{Kind: "order", Uplink: "isp1"},
		{Kind: "state", Uplink: "isp1", From: "disabled", To: "starting"},
	} {
		r.Tell(e)
	}
	read := func(who string) string {
		b, _ := os.ReadFile(filepath.Join(dir, "notes"))
		var list []string
		for line := range strings.Lines(string(b)) {
			if name, event, _ := strings.Cut(strings.TrimSpace(line), " "); name == who {
				list = append(list, event)
			}
		}
		return strings.Join(list, " ")
	}
	until(t, "all have run", func() bool {
		return read("all") == "up down down lease address switch" && read("two") == "down switch"
	})
}

// One that fails, one that is not there, one that hangs with children: logged, and
// the others run.
func TestBadHooks(t *testing.T) {
	on, limit := []string{"down"}, 300*time.Millisecond
	good := program(t, "echo fine")
	r, log := start(t,
		hooks.Hook{Run: []string{program(t, "echo oh dear >&2; exit 3")}, On: on, Timeout: limit},
		hooks.Hook{Run: []string{"/nowhere/at/all"}, On: on, Timeout: limit},
		hooks.Hook{Run: []string{program(t, "sleep 60 & sleep 60")}, On: on, Timeout: limit},
		hooks.Hook{Run: []string{program(t, "yes")}, On: on, Timeout: limit},
		hooks.Hook{Run: []string{good}, On: on, Timeout: limit},
	)
	r.Tell(down)
	for _, want := range []string{"oh dear", "exit status 3", "no such file", "ended by its time limit", "output=fine"} {
		until(t, want, func() bool { return strings.Contains(log.String(), want) })
	}
	until(t, "both that hang are ended", func() bool { return strings.Count(log.String(), "time limit") == 2 })
	if n := len(log.String()); n > 20_000 {
		t.Errorf("%d bytes of log", n)
	}
}

// A storm of events: one run at a time, and no more than a few wait.
func TestStorm(t *testing.T) {
	dir := t.TempDir()
	r, _ := start(t, hooks.Hook{
		Run: []string{program(t, `mkdir `+dir+`/lock || echo twice >> `+dir+`/twice; sleep 0.02; rmdir `+dir+`/lock; echo $UPLINKD_ID >> `+dir+`/ran`)},
		On:  []string{"down"}, Timeout: 5 * time.Second,
	})
	for n := range 500 {
		e := down
		e.ID = uint64(n)
		r.Tell(e)
	}
	ran := func() []string {
		b, _ := os.ReadFile(filepath.Join(dir, "ran"))
		return strings.Fields(string(b))
	}
	until(t, "the last has run", func() bool { list := ran(); return len(list) > 0 && list[len(list)-1] == fmt.Sprint(499) })
	if n := len(ran()); n > 30 {
		t.Errorf("%d runs of 500 events", n)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "twice")); err == nil {
		t.Errorf("two runs beside each other: %s", b)
	}
}

// shipped runs one of the hooks that are shipped, as the Runner does.
func shipped(t *testing.T, name string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join("../../configs/hooks", name), args...)
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s %v: %v: %s", name, args, err, out)
	}
	return string(out)
}

// The shipped hooks do what they say; that for Dante is tried with the real one.
func TestShippedHooks(t *testing.T) {
	dir := t.TempDir()
	track := filepath.Join(dir, "track")
	for code, want := range map[string]string{"1": "1\n", "0": "0\n"} {
		if err := os.WriteFile(filepath.Join(dir, "uplinkd"), []byte("#!/bin/sh\ncase \"$*\" in 'status --quiet --socket /s') exit "+code+";; 'status --socket /s') exit 0;; esac; exit 9"), 0o700); err != nil {
			t.Fatal(err)
		}
		shipped(t, "keepalived-track", []string{"PATH=" + dir + ":/usr/bin:/bin"}, track, "/s")
		if b, err := os.ReadFile(track); err != nil || string(b) != want {
			t.Errorf("uplinkd status --quiet ends with %s: the file says %q, %v; want %q", code, b, err, want)
		}
	}
	sendmail := program(t, "cat > "+dir+"/mail")
	shipped(t, "mail", []string{
		"SENDMAIL=" + sendmail, "UPLINKD_UPLINK=isp1", "UPLINKD_EVENT=down", "UPLINKD_FROM=up", "UPLINKD_TO=down",
		"UPLINKD_REASON=eth1 has no carrier",
	}, "admin@example.org")
	mail, err := os.ReadFile(filepath.Join(dir, "mail"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"To: admin@example.org\n", ": isp1 down\n", "up -> down\n", "eth1 has no carrier\n"} {
		if !strings.Contains(string(mail), want) {
			t.Errorf("lacks %q:\n%s", want, mail)
		}
	}
	if out := shipped(t, "reload-danted", nil, filepath.Join(dir, "none")); !strings.Contains(out, "nobody to tell") {
		t.Errorf("without danted: %s", out)
	}
}

// The hook for systemd-resolved, with a resolvectl that only notes what it is asked; it
// was tried by hand with the real one.
func TestResolvedHook(t *testing.T) {
	dir := t.TempDir()
	asked := filepath.Join(dir, "asked")
	fake := "#!/bin/sh\n[ $# = 2 ] && [ $1 = dns ] && { cat " + dir + "/present; exit; }\necho \"$@\" >> " + asked + "\n"
	if err := os.WriteFile(filepath.Join(dir, "resolvectl"), []byte(fake), 0o755); err != nil { //nolint:gosec // to be run
		t.Fatal(err)
	}
	give := "dns eth1 192.0.2.53 192.0.2.54\ndomain eth1 \ndefault-route eth1 yes\n"
	for _, tt := range []struct{ event, dns, present, want string }{
		{"up", "192.0.2.53 192.0.2.54", "Link 2 (eth1):\n", give},
		{"down", "192.0.2.53", "Link 2 (eth1): 192.0.2.53\n", "revert eth1\n"},
		{"lease", "192.0.2.53 192.0.2.54", "Link 2 (eth1):\n", ""}, // not up yet
		{"lease", "192.0.2.53 192.0.2.54", "Link 2 (eth1): 192.0.2.9\n", give},
		{"lease", "", "Link 2 (eth1): 192.0.2.9\n", "revert eth1\n"},
		{"up", "", "Link 2 (eth1):\n", "revert eth1\n"},
	} {
		_ = os.Remove(asked)
		if err := os.WriteFile(filepath.Join(dir, "present"), []byte(tt.present), 0o600); err != nil {
			t.Fatal(err)
		}
		shipped(t, "resolved", []string{
			"PATH=" + dir + ":/usr/bin:/bin", "UPLINKD_EVENT=" + tt.event, "UPLINKD_INTERFACE=eth1", "UPLINKD_DNS=" + tt.dns,
		})
		if got, _ := os.ReadFile(asked); string(got) != tt.want {
			t.Errorf("%s with %q: asked\n%s\nwant\n%s", tt.event, tt.dns, got, tt.want)
		}
	}
}
