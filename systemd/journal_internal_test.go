package systemd

import (
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"

	"uplinkd/internal/lab/labtest"
)

// The journal takes capitals and underscores only, and fields of its own must
// not be forged by a key.
func TestJournalFields(t *testing.T) {
	var message string
	var level journal.Priority
	var fields map[string]string
	h := &journalHandler{level: slog.LevelInfo, send: func(m string, p journal.Priority, f map[string]string) error {
		message, level, fields = m, p, f
		return nil
	}}
	log := slog.New(h).With("uplink", "isp1").WithGroup("kernel")
	//nolint:sloglint // a key as it should not be is the point
	log.Warn("uplink state", "reason", "no carrier", "last-rtt", 3, "err", errors.New("x=y"))
	if want := `uplink state uplink=isp1 kernel.reason="no carrier" kernel.last-rtt=3 kernel.err="x=y"`; message != want {
		t.Errorf("message %q, want %q", message, want)
	}
	if level != journal.PriWarning {
		t.Errorf("priority %v, want warning", level)
	}
	want := map[string]string{
		"MESSAGE_ID": messageIDs["uplink state"], "UPLINK": "isp1", "UPLINKD_KERNEL_REASON": "no carrier", "UPLINKD_KERNEL_LAST_RTT": "3", "UPLINKD_KERNEL_ERR": "x=y",
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
	message = ""
	slog.New(h).Debug("not shown")
	if message != "" {
		t.Errorf("a debug line was sent: %q", message)
	}
}

// What a switch is filtered by has the names that are promised, and only at the top: a group's are its own.
func TestPromisedFields(t *testing.T) {
	var fields map[string]string
	h := &journalHandler{level: slog.LevelInfo, send: func(_ string, _ journal.Priority, f map[string]string) error {
		fields = f
		return nil
	}}
	slog.New(h).With("uplink", "isp1", "switch_id", 7).Info("something", "state", "down", "reason", "no carrier", "priority", 1)
	want := map[string]string{
		"UPLINK": "isp1", "SWITCH_ID": "7", "STATE": "down", "REASON": "no carrier", "UPLINKD_PRIORITY": "1",
	}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

var (
	logged   = regexp.MustCompile(`\.(?:Info|Warn|Error)\(\s*("(?:[^"\\]|\\.)*")`)
	entry    = regexp.MustCompile(`(?m)^-- ([0-9a-f]{32})$`)
	variable = regexp.MustCompile(`@([A-Z_]+)@`)
)

// Each message that has a number is one that is logged, each number is explained once, and what the
// explanation quotes is a field that such a line can have.
func TestCatalog(t *testing.T) {
	inUse, keys := map[string]bool{}, ""
	for _, pattern := range []string{"../*/*.go", "../*/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			keys += string(text)
			for _, m := range logged.FindAllStringSubmatch(string(text), -1) {
				if message, err := strconv.Unquote(m[1]); err == nil {
					inUse[message] = true
				}
			}
		}
	}
	catalog, err := os.ReadFile("uplinkd.catalog")
	if err != nil {
		t.Fatal(err)
	}
	explained := map[string]int{}
	for _, m := range entry.FindAllStringSubmatch(string(catalog), -1) {
		explained[m[1]]++
	}
	for message, id := range messageIDs {
		if !inUse[message] {
			t.Errorf("nobody logs %q", message)
		}
		if explained[id] != 1 {
			t.Errorf("%s (%q) is explained %d times", id, message, explained[id])
		}
	}
	if len(explained) != len(messageIDs) || len(explained) < 15 {
		t.Errorf("%d entries and %d numbers", len(explained), len(messageIDs))
	}
	for _, m := range variable.FindAllStringSubmatch(string(catalog), -1) {
		key := strings.ToLower(strings.TrimPrefix(m[1], "UPLINKD_"))
		if !strings.Contains(keys, `"`+key+`"`) {
			t.Errorf("@%s@: no line has such a field", m[1])
		}
	}
}

// journalctl itself takes the catalog, and gives the text out again.
func TestCatalogCompiles(t *testing.T) {
	if _, err := exec.LookPath("journalctl"); err != nil {
		labtest.Skip(t, "needs journalctl")
	}
	root := t.TempDir()
	where := filepath.Join(root, "usr/lib/systemd/catalog")
	for _, dir := range []string{where, filepath.Join(root, "var/lib/systemd/catalog")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("uplinkd.catalog")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(where, "uplinkd.catalog"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("journalctl", "--root="+root, "--update-catalog").CombinedOutput(); err != nil {
		t.Fatalf("journalctl --update-catalog: %v\n%s", err, out)
	}
	for message, id := range messageIDs {
		out, err := exec.Command("journalctl", "--root="+root, "--dump-catalog", id).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "Defined-By: uplinkd") {
			t.Errorf("%s: %v\n%s", message, err, out)
		}
	}
}
