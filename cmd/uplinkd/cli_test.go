package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"

	"golang.org/x/sys/unix"
)

func command(t *testing.T, args ...string) (code int, out, complaint string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = execute(context.Background(), args, stdio{out: &stdout, err: &stderr})
	return code, stdout.String(), stderr.String()
}

// A check that is not root's looks at the file alone, and says so; it could not be run at
// all (from installing the first stage).
func TestCheckAsOrdinaryUser(t *testing.T) {
	labtest.NeedRoot(t)                     // to become one
	dir, err := os.MkdirTemp("", "uplinkd") //nolint:usetesting // that is the owner's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // others are to read it
		t.Fatal(err)
	}
	file := filepath.Join(dir, "u.yaml")
	text := "state_dir: " + dir + "\nuplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}]\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // likewise
		t.Fatal(err)
	}
	check := func(args ...string) (string, error) {
		cmd := exec.Command("/proc/self/exe", append([]string{"check", "-c", file}, args...)...)
		cmd.Env, cmd.Dir = append(os.Environ(), asProgram+"=1"), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 54321, Gid: 54321}}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := check(); err != nil || !strings.Contains(out, "good; be root") {
		t.Errorf("%v, %s: want a good file, and that the host was not looked at", err, out)
	}
	out, err := check("--json")
	if err != nil || !strings.Contains(out, `"host_error"`) || !strings.Contains(out, `"findings": []`) {
		t.Errorf("%v, %s", err, out)
	}
}

// Commands share the variables behind their flags: the default of one, "" for replay's
// --config, was that of all, and `uplinkd status` asked at another socket than the
// configuration's (from installing).
func TestDefaultsAreEachCommandsOwn(t *testing.T) {
	root := newRoot(stdio{out: io.Discard, err: io.Discard})
	for _, cmd := range root.Commands() {
		for _, name := range []string{"config", "socket", "json"} {
			if f := cmd.Flags().Lookup(name); f != nil && f.Value.String() != f.DefValue {
				t.Errorf("%s --%s is %q where it is not given, want %q", cmd.Name(), name, f.Value, f.DefValue)
			}
		}
	}
}

// Exit codes are promised: 0 done, 1 failed, 2 wrong usage. stdout is the
// answer, stderr the rest.
func TestExitCodes(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.yaml")
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("uplinks: [{name: a, interface: eth1, address: dhcp, weight: 0}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "good.yaml")
	text := "uplinks: [{name: isp1, interface: eth1, address: dhcp, gateway: lease}]\n"
	if err := os.WriteFile(good, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "none")
	for _, tt := range []struct {
		args []string
		code int
		says string // on stderr, or on stdout when the code is 0
	}{
		{[]string{"version"}, 0, "uplinkd "},
		{[]string{"version", "--json"}, 0, `"version"`},
		{[]string{"--help"}, 0, "Available Commands"},
		{[]string{"completion", "bash"}, 0, "bash completion"},
		{[]string{"__complete", "drain", "-c", good, ""}, 0, "isp1\n"},
		{[]string{"__complete", "weight", "-c", good, "isp1", ""}, 0, ":4\n"},
		{[]string{"--version"}, 0, "uplinkd "},
		{[]string{"statsu"}, 2, `unknown command "statsu": did you mean status?`},
		{[]string{"check", bad}, 1, "weight"},
		{[]string{"nonsense"}, 2, `unknown command "nonsense"`},
		{[]string{"status", "--nonsense"}, 2, "unknown flag: --nonsense; see uplinkd status --help"},
		{[]string{"ping"}, 2, "UPLINK is missing"},
		// From installing the first stage: these were orders without an end.
		{[]string{"disable", "a", "--for", "0s"}, 2, "must be a time such as 30m"},
		{[]string{"weight", "a", "3", "--for", "-5m"}, 2, "must be a time such as 30m"},
		{[]string{"ping", "isp1", "--count", "0"}, 2, "count must be"},
		{[]string{"disable"}, 2, "UPLINK is missing"},
		{[]string{"disable", ""}, 2, "UPLINK is empty"},
		{[]string{"completion"}, 2, "name bash, zsh, fish or powershell"},
		{[]string{"completion", "frob"}, 2, "frob"},
		{[]string{"help", "frob"}, 2, "frob"},
		{[]string{"run", "-c", missing}, 1, missing},
		{[]string{"check", "-c", missing}, 1, missing},
		{[]string{"check", "-c", bad}, 1, "weight: 0: must be 1 to 256"},
		{[]string{"run", "-c", bad}, 1, "gateway: missing"},
		{[]string{"plan", "-c", bad}, 1, "weight: 0"},
		{[]string{"cleanup", "-c", bad}, 1, "weight: 0"},
		{[]string{"status", "--socket", socket}, 1, "start it (systemctl start uplinkd)"},
		{[]string{"reload", "--socket", socket}, 1, "no daemon is running"},
		{[]string{"ping", "isp1", "--socket", socket}, 1, "no daemon is running"},
	} {
		code, out, complaint := command(t, tt.args...)
		text := complaint
		if tt.code == 0 {
			text = out
		} else if out != "" {
			t.Errorf("%v: a failure wrote to stdout: %s", tt.args, out)
		}
		if code != tt.code || !strings.Contains(text, tt.says) {
			t.Errorf("%v: code %d, %q; want %d and %q", tt.args, code, text, tt.code, tt.says)
		}
	}
}

// The life of an operator: check, plan, run, plan again, status, ping, a bad
// reload, a good one, disable, enable, cleanup.
// The cause of a failed start had priority info in the journal (from installing the
// first stage). Standard error is the journal's stream where JOURNAL_STREAM says so
// (systemd.exec(5)), and a line's prefix its priority (sd-daemon(3)).
func TestFailureHasPriority(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("uplinks: [{name: a, weight: 0}]\nroutes: {metric: -1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, journal := range []bool{true, false} {
		stderr, err := os.Create(filepath.Join(dir, "stderr"))
		if err != nil {
			t.Fatal(err)
		}
		defer stderr.Close()
		var info unix.Stat_t
		if err := unix.Fstat(int(stderr.Fd()), &info); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "run", "-c", bad)
		cmd.Env, cmd.Stderr = append(os.Environ(), asProgram+"=1"), stderr
		if journal {
			cmd.Env = append(cmd.Env, fmt.Sprintf("JOURNAL_STREAM=%d:%d", info.Dev, info.Ino))
		}
		_ = cmd.Run() // its words say more
		text, err := os.ReadFile(stderr.Name())
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		for _, line := range lines {
			if strings.HasPrefix(line, "<3>") != journal || !strings.Contains(string(text), "uplinkd: ") || len(lines) < 2 {
				t.Errorf("to the journal %v: %q", journal, text)
				break
			}
		}
	}
}

func TestOperator(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(2, 1), "")
	if out, err := b.run("check", "-c", b.config); err != nil || !strings.Contains(out, "nothing on this host is in its way") {
		t.Errorf("check: %v\n%s", err, out)
	}
	before := b.kernel(everything...)
	planned, err := b.run("plan", "-c", b.config)
	b.ok(err)
	for _, op := range []string{
		"ip addr replace 100.64.1.10/24 dev eth1 proto 201", "ip rule add pref 20300 from 100.64.1.10 lookup 501 protocol 201",
		"nexthop via 100.64.1.1 dev eth1 weight 2 nexthop via 100.64.2.1 dev eth2 weight 1",
	} {
		if !strings.Contains(planned, op) {
			t.Errorf("the plan lacks %s:\n%s", op, planned)
		}
	}
	if b.kernel(everything...) != before {
		t.Error("plan changed something")
	}
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	if out, err := b.run("plan", "-c", b.config); err != nil || out != "" {
		t.Errorf("plan beside a daemon in sync: %v, %q; want nothing", err, out)
	}

	out, err := b.run("status", "-c", b.config, "--json")
	b.ok(err)
	var s api.Snapshot
	if err := json.Unmarshal([]byte(out), &s); err != nil || len(s.Uplinks) != 2 || s.Daemon.PID != b.cmd.Process.Pid {
		t.Errorf("status --json: %v\n%s", err, out)
	}
	if out, err := b.run("ping", "isp2", "-c", b.config, "-n", "2", "-i", "50ms"); err != nil || !strings.Contains(out, "2 sent, 2 received") {
		t.Errorf("ping: %v\n%s", err, out)
	}
	if out, err := b.run("ping", "isp2", "198.18.0.9", "-c", b.config, "-n", "2", "-i", "50ms", "--json"); err != nil ||
		!strings.Contains(out, `"received": 2`) || !strings.Contains(out, `"source": "100.64.2.10"`) {
		t.Errorf("ping the internet: %v\n%s", err, out)
	}

	good, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte("uplinks: [{name: isp1, weight: 999}]"), 0o600))
	if out, err := b.run("reload", "--socket", filepath.Join(b.dir, "sock")); err == nil || !strings.Contains(out, "must be 1 to 256") {
		t.Errorf("a bad reload: %v\n%s", err, out)
	}
	if got := b.status(); got.Daemon.ConfigError == "" || got.Uplinks[0].Weight != 2 {
		t.Errorf("after a bad reload: %+v", got.Daemon)
	}
	b.ok(os.WriteFile(b.config, []byte(strings.Replace(string(good), "weight: 2", "weight: 9", 1)), 0o600))
	b.ok(b.cmd.Process.Signal(syscall.SIGHUP))
	b.until("the new weight", 2*time.Second, func() bool {
		hops := b.status().DefaultRoute.NextHops
		return len(hops) == 2 && hops[0].Weight == 9
	})
	// A signal is not answered: the routes are there a moment before the reload is noted.
	b.until("the reload is noted", 2*time.Second, func() bool {
		got := b.status().Daemon
		return got.ConfigError == "" && !got.Reloaded.IsZero()
	})

	if out, err := b.run("disable", "isp9", "-c", b.config); err == nil || !strings.Contains(out, "isp9") {
		t.Errorf("disable of an unknown uplink: %v\n%s", err, out)
	}
	_, err = b.run("disable", "isp1", "-c", b.config)
	b.ok(err)
	b.untilStates(2*time.Second, "disabled", "up")
	_, err = b.run("enable", "isp1", "-c", b.config)
	b.ok(err)
	b.untilStates(3*time.Second, "up", "up")

	if out, err := b.run("run", "-c", b.config); err == nil || !strings.Contains(out, "another uplinkd (pid") {
		t.Errorf("a second daemon: %v\n%s", err, out)
	}
	b.kill(syscall.SIGTERM)
	if !strings.Contains(b.log.String(), "stopped; the kernel's routes stay as they are") {
		t.Error("SIGTERM did not end it in good order")
	}
}

// The demo keeps its promises, and says so by its exit code.
func TestDemo(t *testing.T) {
	labtest.Need(t)
	b := newBench(t, 1) // only for its helpers; the demo builds a lab of its own
	b.configure(b.static(1), "")
	b.world.Close()
	out, err := b.run("demo")
	if err != nil || !strings.Contains(out, "Every promise was kept.") {
		t.Errorf("%v\n%s", err, out)
	}
	readme, err := os.ReadFile("../../README.md")
	b.ok(err)
	if shown, said := demoLines(string(readme)), demoLines(out); len(said) < 10 || !slices.Equal(shown, said) {
		t.Errorf("README.md shows\n%s\nand the demo says\n%s", strings.Join(shown, "\n"), strings.Join(said, "\n"))
	}
}

// demoLines returns what the demo says, without its numbers.
func demoLines(text string) (list []string) {
	number := regexp.MustCompile(`[0-9.]*[0-9]`)
	for _, line := range regexp.MustCompile(`(?m)^ +[0-9.]+s  .*$`).FindAllString(text, -1) {
		list = append(list, number.ReplaceAllString(strings.TrimSpace(line), "N"))
	}
	return list
}
