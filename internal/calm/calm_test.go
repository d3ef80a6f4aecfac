package calm_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/internal/calm"
)

// A log is a logger, and what it has written.
func log() (*slog.Logger, calm.Handler, *safe) {
	text := &safe{}
	h := calm.NewHandler(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return slog.New(h), h, text
}

type safe struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSpace(s.b.String()), "\n")
}

// 20,000 unusable offers were 16,757 lines in 22 s (c82b5ea).
func TestFloodIsSummedUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		log, h, text := log()
		for n := range 20_000 {
			log.Warn("DHCP message not taken", "uplink", "isp1", "err", fmt.Sprint("offer ", n))
			time.Sleep(time.Millisecond)
		}
		log.Warn("DHCP message not taken", "uplink", "isp2", "err", "another's")
		log.Info("uplink state", "uplink", "isp1")
		if lines := text.lines(); len(lines) != 22 {
			t.Errorf("%d lines before the minute is over, want 20 and those of others", len(lines))
		}
		time.Sleep(41 * time.Second)
		lines := text.lines()
		if last := lines[len(lines)-1]; len(lines) != 23 || !strings.Contains(last, "offer 19999") ||
			!strings.Contains(last, "repeated=19980") || !strings.Contains(last, "over=1m0s") {
			t.Errorf("%d lines, the last %s", len(lines), last)
		}
		log.Warn("DHCP message not taken", "uplink", "isp1", "err", "later")
		if lines := text.lines(); len(lines) != 24 {
			t.Errorf("%d lines: what comes later is not let through", len(lines))
		}
		h.Close()
	})
}

// What a line's uplink is may have been said beforehand: one that floods takes no other's lines.
func TestFloodOfOneUplink(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		log, h, text := log()
		for range 100 {
			log.With("uplink", "isp1", "switch_id", 7).Warn("uplink state")
		}
		log.With("uplink", "isp2").Warn("uplink state")
		if lines := text.lines(); len(lines) != 21 || !strings.Contains(lines[20], "isp2") {
			t.Errorf("%d lines, the last %s", len(lines), lines[len(lines)-1])
		}
		h.Close()
	})
}

// What is rare goes through each time, as does what somebody has asked for by --debug.
func TestRareLinesPass(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		log, h, text := log()
		for range 100 {
			log.Warn("uplink state", "uplink", "isp1")
			time.Sleep(4 * time.Second)
		}
		for range 100 {
			log.Debug("kernel operation")
		}
		h.Close()
		if lines := text.lines(); len(lines) != 200 {
			t.Errorf("%d lines, want 200", len(lines))
		}
	})
}

// At the end what was held back is told, and however many kinds there are, they are
// bounded.
func TestCloseAndBounds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		log, h, text := log()
		for n := range 5000 {
			log.Error(fmt.Sprint("message ", n)) //nolint:sloglint // as net/http's own are
		}
		h.Close()
		lines := text.lines()
		if last := lines[len(lines)-1]; len(lines) != 1000+20+1 || !strings.Contains(last, "repeated=3980") {
			t.Errorf("%d lines, the last %s", len(lines), last)
		}
	})
}
