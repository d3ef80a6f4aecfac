package systemd

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
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
		"UPLINKD_UPLINK": "isp1", "UPLINKD_KERNEL_REASON": "no carrier", "UPLINKD_KERNEL_LAST_RTT": "3", "UPLINKD_KERNEL_ERR": "x=y",
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
