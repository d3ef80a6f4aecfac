package board

import (
	"fmt"
	"time"

	"uplinkd/uplink/api"
)

// Story tells a switch in plain sentences, with the evidence for it.
func Story(s *api.Switch) []string {
	var list []string
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	clock := func(t time.Time) string { return t.Local().Format(api.Clock) }
	after := func(t time.Time) string {
		took, _ := s.Took(t)
		return fmt.Sprintf("%s, after %d ms", clock(t), took.Milliseconds())
	}
	if !s.Since.IsZero() {
		add("a probe unanswered since %s", clock(s.Since.Time))
	}
	if !s.DoubtAt.IsZero() && s.To != api.Doubtful {
		add("doubtful at %s", after(s.DoubtAt.Time))
	}
	add("%s at %s: %s", s.To, after(s.At), s.Reason)
	if took, done := s.Took(s.Routed.Time); done && s.From == api.Up {
		add("new connections moved after %d ms", took.Milliseconds())
	}
	if text := endedText(s); text != "" {
		took, _ := s.Took(s.Ended.Time)
		add("%s ended after %d ms", text, took.Milliseconds())
	}
	if s.Error != "" {
		add("not all could be done: %s", s.Error)
	}
	return append(list, s.Evidence...)
}

// endedText names what was ended, as far as it is known.
func endedText(s *api.Switch) string {
	switch {
	case s.Flows.Known && s.Sockets.Known:
		return fmt.Sprintf("%s flows and %s connections of this host", s.Flows, s.Sockets)
	case s.Flows.Known:
		return s.Flows.String() + " flows"
	case s.Sockets.Known:
		return s.Sockets.String() + " connections of this host"
	}
	return ""
}
