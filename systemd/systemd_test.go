package systemd_test

import (
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/internal/lab/labtest"
	"uplinkd/systemd"
)

// unit returns a unit of ours, with a program that is there.
func unit(t *testing.T, name string) (path, text string) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		labtest.Skip(t, "needs systemd-analyze")
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	text = strings.NewReplacer("/usr/sbin/uplinkd", "/bin/true", "/usr/lib/uplinkd/hooks/upnp", "/bin/true",
		"/usr/lib/uplinkd/hooks/bgp-prefixes", "/bin/true").Replace(string(b))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, text
}

// TestUnit asks systemd itself. The program need not be installed for that.
func TestUnit(t *testing.T) {
	for _, name := range []string{"uplinkd.service", "uplinkd-hooks.service", "uplinkd-upnp@.service", "uplinkd-bgp@.service", "uplinkd-bgp@.timer"} {
		path, _ := unit(t, name)
		out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
		for line := range strings.Lines(string(out)) {
			// systemd before 254 does not know them, says so, and goes on.
			if !strings.Contains(line, "'RestartSteps'") && !strings.Contains(line, "'RestartMaxDelaySec'") {
				t.Errorf("systemd-analyze verify: %s", line)
			}
		}
	}
	// From installing the first stage: danted began before there were addresses, and
	// after five failures in ten seconds the daemon stayed away for good. ProcSubset=pid
	// would hide /proc/sys, which we write.
	_, text := unit(t, "uplinkd.service")
	for _, line := range []string{
		"Type=notify", "WatchdogSec=", "ExecReload=", "StateDirectory=uplinkd", "Wants=network-pre.target network.target",
		"Before=network.target network-online.target", "StartLimitIntervalSec=0", "User=uplinkd", "run --no-hooks",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no %s in the unit", line)
		}
	}
	if strings.Contains(text, "ProcSubset") || strings.Contains(text, "ProtectKernelTunables=yes") {
		t.Error("the unit hides /proc/sys")
	}
}

// The exposure that systemd itself sees, of ten: two at the most. What is left is what the
// daemon is for: the host's network, sockets of four families, and /proc/sys/net.
func TestUnitExposure(t *testing.T) {
	path, _ := unit(t, "uplinkd.service")
	out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", path).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	t.Log(lines[len(lines)-1])
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// listen plays the service manager.
func listen(t *testing.T) func() string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "n")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		b := make([]byte, 1000)
		n, _ := conn.Read(b)
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	heard := listen(t)
	m := systemd.NewManager()
	m.Ready()
	if got := heard(); got != "READY=1" {
		t.Errorf("ready: %q", got)
	}
	m.Status("2/3 up: isp1 isp3")
	if got := heard(); got != "STATUS=2/3 up: isp1 isp3" {
		t.Errorf("status: %q", got)
	}
	m.Alive()
	if got := heard(); got != "" {
		t.Errorf("without a watchdog: %q", got)
	}
	m.Reloading()
	if got := heard(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("reloading: %q", got)
	}
	m.Stopping()
	if got := heard(); got != "STOPPING=1" {
		t.Errorf("stopping: %q", got)
	}
}

func TestWatchdog(t *testing.T) {
	heard := listen(t)
	t.Setenv("WATCHDOG_USEC", "3000000")
	m := systemd.NewManager()
	m.Alive()
	if got := heard(); got != "WATCHDOG=1" {
		t.Errorf("first sign of life: %q", got)
	}
	m.Alive()
	if got := heard(); got != "" {
		t.Errorf("a second one at once: %q", got)
	}
}

// Without a manager nothing happens, and nothing fails.
func TestNoManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	bubble.Test(t, func(*testing.T) {
		m := systemd.NewManager()
		m.Ready()
		m.Alive()
		m.Stopping()
	})
}

// Where standard error is no journal, lines are text.
func TestTextLog(t *testing.T) {
	var b strings.Builder
	log := slog.New(systemd.NewLogHandler(&b, slog.LevelInfo))
	log.Info("uplink state", "uplink", "isp1")
	log.Debug("not shown")
	if got := b.String(); !strings.Contains(got, `msg="uplink state" uplink=isp1`) || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}
