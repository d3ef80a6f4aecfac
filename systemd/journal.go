package systemd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// NewLogHandler returns a handler that writes to the journal with a field for
// each attribute when w, standard error, is the journal's stream, and text to w
// otherwise. A terminal's or a pipe's lines carry the time; with the journal it
// is the journal's.
func NewLogHandler(w io.Writer, level slog.Leveler) slog.Handler {
	if toJournal() {
		return &journalHandler{level: level, send: journal.Send}
	}
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: level})
}

// toJournal reports whether standard error is the journal's stream.
func toJournal() bool {
	ok, err := journal.StderrIsJournalStream()
	return err == nil && ok
}

// ErrorText returns a text for standard error, each line of which has priority err in the
// journal when standard error is its stream (sd-daemon(3)); plain text has info.
func ErrorText(text string) string {
	if !toJournal() {
		return text
	}
	prefix := fmt.Sprintf("<%d>", journal.PriErr)
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
}

// A journalHandler sends records to the journal. A group's name and a dot stand
// before the keys within it.
type journalHandler struct {
	level  slog.Leveler
	prefix string
	fields map[string]string
	text   string // of fields, as it stands behind the message
	send   func(message string, priority journal.Priority, fields map[string]string) error
}

var _ slog.Handler = (*journalHandler)(nil)

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler. The message carries the attributes as text
// too: `journalctl -u uplinkd` shows the message alone.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	fields := make(map[string]string, len(h.fields)+r.NumAttrs())
	for key, value := range h.fields {
		fields[key] = value
	}
	var text strings.Builder
	text.WriteString(r.Message + h.text)
	r.Attrs(func(a slog.Attr) bool {
		h.add(fields, &text, a)
		return true
	})
	if id, ok := messageIDs[r.Message]; ok {
		fields["MESSAGE_ID"] = id
	}
	return h.send(text.String(), priority(r.Level), fields)
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	next.fields = make(map[string]string, len(h.fields)+len(attrs))
	for key, value := range h.fields {
		next.fields[key] = value
	}
	var text strings.Builder
	for _, a := range attrs {
		h.add(next.fields, &text, a)
	}
	next.text += text.String()
	return &next
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.prefix += name + "."
	return &next
}

func (h *journalHandler) add(fields map[string]string, text *strings.Builder, a slog.Attr) {
	value := a.Value.Resolve().String()
	if fieldsOfItsOwn[h.prefix+a.Key] {
		fields[strings.ToUpper(a.Key)] = value
	} else {
		fields[fieldName(h.prefix+a.Key)] = value
	}
	if strings.ContainsAny(value, " \"=\n") || value == "" {
		value = fmt.Sprintf("%q", value)
	}
	text.WriteString(" " + h.prefix + a.Key + "=" + value)
}

// fieldsOfItsOwn are the keys whose fields are promised to who filters, without UPLINKD_ before them.
var fieldsOfItsOwn = map[string]bool{"uplink": true, "state": true, "reason": true, "switch_id": true}

// fieldName makes a journal field of a key: UPLINKD_, so that no key is taken
// for one of the journal's own, and capitals, digits and underscores.
func fieldName(key string) string {
	return "UPLINKD_" + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

func priority(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
