package kernel

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uplinkd/routes"
)

func open(t *testing.T, dir string) (*restoreFile, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	return newRestoreFile(dir, slog.New(slog.NewTextHandler(&log, nil))), &log
}

func TestLedgerOutlivesTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "when", "needed")
	first, _ := open(t, dir)
	first.save(routes.NewSysctl("net/a", "2"), "1")
	first.save(routes.NewSysctl("net/b", "2"), "0")
	first.forget(routes.NewSysctl("net/b", ""))
	first.raise("eth1", 7)
	first.addAddress(7, netip.MustParsePrefix("192.0.2.5/24"))

	second, log := open(t, dir)
	saved, raised := second.read()
	if len(saved) != 1 || saved[0].Name != "net/a" || saved[0].Value != "1" || saved[0].Set != "2" {
		t.Errorf("saved %+v", saved)
	}
	if len(raised) != 1 || raised["eth1"] != 7 || !second.raised("eth1", 7) || second.raised("eth1", 8) {
		t.Errorf("raised %v", raised)
	}
	if !second.hasAddress(7, netip.MustParsePrefix("192.0.2.5/24")) || second.hasAddress(8, netip.MustParsePrefix("192.0.2.5/24")) {
		t.Error("addresses")
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", log)
	}
}

// Written twice, a setting's first value is what is given back; changed by
// someone else between, theirs is.
func TestLedgerKeepsWhatWas(t *testing.T) {
	l, _ := open(t, t.TempDir())
	l.save(routes.NewSysctl("net/a", "2"), "0")
	l.save(routes.NewSysctl("net/a", "3"), "2")
	if saved, _ := l.read(); saved[0].Value != "0" || saved[0].Set != "3" {
		t.Errorf("saved %+v, want 0 as it was at first", saved)
	}
	l.save(routes.NewSysctl("net/a", "3"), "9")
	if saved, _ := l.read(); saved[0].Value != "9" {
		t.Errorf("saved %+v, want the 9 that someone set", saved)
	}
}

// Torn, hostile or of another boot: put aside or ignored, and never in the way.
func TestLedgerUnreadable(t *testing.T) {
	for name, content := range map[string]string{
		"torn":        `{"boot": "x", "sys`,
		"not JSON":    "\x00\xff",
		"outside net": `{"sysctls": [{"name": "kernel/core_pattern", "was": "|/bin/sh"}]}`,
		"climbing":    `{"sysctls": [{"name": "net/../kernel/core_pattern", "was": "|/bin/sh"}]}`,
		"too large":   strings.Repeat(" ", restoreMost+1),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "kernel.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			l, log := open(t, dir)
			if saved, raised := l.read(); len(saved) != 0 || len(raised) != 0 {
				t.Errorf("read %v and %v out of it", saved, raised)
			}
			if _, err := os.Stat(l.path); err != nil {
				t.Errorf("looking at it took it away: %v", err)
			}
			l.raise("eth1", 1)
			if strings.Count(log.String(), "\n") != 1 {
				t.Errorf("want one log line, got %q", log)
			}
			if _, err := os.Stat(filepath.Join(dir, "kernel.json.unreadable")); err != nil {
				t.Errorf("not put aside: %v", err)
			}
			if again, _ := open(t, dir); !again.raised("eth1", 1) {
				t.Error("what was written in its place is not read")
			}
		})
	}
	dir := t.TempDir()
	other := `{"boot": "another", "sysctls": [{"name": "net/a", "was": "1", "set": "2"}], "raised": {"eth1": 3}}`
	if err := os.WriteFile(filepath.Join(dir, "kernel.json"), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	l, log := open(t, dir)
	if saved, raised := l.read(); len(saved) != 0 || len(raised) != 0 || log.Len() > 0 {
		t.Errorf("of another boot: %v, %v, %q; want nothing of it", saved, raised, log)
	}
}

// A directory that cannot be written is told once, and nothing stops for it.
// From the first review.
func TestLedgerUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, log := open(t, filepath.Join(file, "below"))
	for range 3 {
		l.raise("eth1", 1)
		l.lower("eth1")
	}
	l.save(routes.NewSysctl("net/a", "2"), "0")
	if saved, _ := l.read(); len(saved) != 1 {
		t.Errorf("saved %v, want it kept in memory at least", saved)
	}
	if n := strings.Count(log.String(), "cannot be written"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, log)
	}
}
