package uplink

import (
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/uplink/api"
)

// Whoever follows an uplink by its name is told when that is in the configuration no more; and
// what carries is told when all have been judged, for who was told before that is not known.
// From the review of the hooks.
func TestChangesOfNamesAndAtTheStart(t *testing.T) {
	state := func(settled bool, names ...string) State {
		var lines []string
		for i, name := range names {
			lines = append(lines, strings.NewReplacer("NAME", name, "N", string(rune('1'+i))).Replace("{name: NAME, interface: ethN, address: 192.0.N.5/24, gateway: 192.0.N.1}"))
		}
		c, err := configs.Parse(strings.NewReader("uplinks: ["+strings.Join(lines, ", ")+"]"), configs.Options{File: "t"})
		if err != nil {
			t.Fatal(err)
		}
		s := New(c, time.Unix(0, 0))
		s.Settled = settled
		return s
	}
	for name, tt := range map[string]struct {
		before, after State
		want          string
	}{
		"nothing":  {state(true, "a", "b"), state(true, "a", "b"), ""},
		"removed":  {state(true, "a", "b"), state(true, "a"), "state b down"},
		"renamed":  {state(true, "a", "b"), state(true, "a", "c"), "state b down"},
		"judged":   {state(false, "a"), state(true, "a"), "route  "},
		"not yet":  {state(false, "a"), state(false, "a"), ""},
		"reversed": {state(true, "a", "b"), state(true, "b", "a"), ""},
	} {
		var got []string
		for _, e := range Changes(tt.before, tt.after, time.Unix(1, 0)) {
			if e.Kind == api.EventState && e.To == string(api.Down) || e.Kind == api.EventRoute {
				got = append(got, strings.Join([]string{string(e.Kind), e.Uplink, e.To}, " "))
			}
		}
		if text := strings.Join(got, ", "); text != tt.want {
			t.Errorf("%s: %q, want %q", name, text, tt.want)
		}
	}
}
