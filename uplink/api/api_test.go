package api_test

import (
	"encoding/json"
	"strings"
	"testing"

	"uplinkd/uplink/api"
)

// The names that are promised to users. Some may be added; none may go.
func TestJSONNames(t *testing.T) {
	// Nothing known is no reason to leave a field out.
	s := api.Snapshot{
		DefaultRoute: api.DefaultRoute{NextHops: []api.NextHop{{}}},
		Uplinks:      []api.Uplink{{DHCP: &api.DHCP{}, Probes: []api.Probe{{}}}},
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	first := func(v any) any { return v.([]any)[0] }
	uplink := first(all["uplinks"]).(map[string]any)
	route := all["default_route"].(map[string]any)
	for _, tt := range []struct {
		in    any
		names string
	}{
		{all, "version daemon default_route uplinks kernel"},
		{all["daemon"], "version pid started config reloaded config_error"},
		{route, "table metric nexthops"},
		{first(route["nexthops"]), "uplink interface gateway weight"},
		{uplink, "name interface state reason since active weight tier table fwmark address gateway dhcp probes counters"},
		{uplink["dhcp"], "state server expires renew_at rebind_at dns"},
		{first(uplink["probes"]), "target state rtt_ms jitter_ms loss_percent sent received last_error"},
		{uplink["counters"], "rx_bytes tx_bytes rx_bps tx_bps connections"},
		{all["kernel"], "in_sync last_error repairs conflicts fights"},
	} {
		for _, name := range strings.Fields(tt.names) {
			if _, ok := tt.in.(map[string]any)[name]; !ok {
				t.Errorf("%s is missing from %v", name, tt.in)
			}
		}
	}
}

// Unknown is null and back, and never a number.
func TestFigures(t *testing.T) {
	for text, want := range map[string]api.Figure[int]{"null": {}, "0": api.Known(0), "12": api.Known(12)} {
		b, err := json.Marshal(want)
		if err != nil || string(b) != text {
			t.Errorf("%v is %s in JSON, %v; want %s", want, b, err, text)
		}
		var got api.Figure[int]
		if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
			t.Errorf("%s reads as %v, %v", text, got, err)
		}
	}
	if got := (api.Figure[int]{}).String(); got != "?" {
		t.Errorf("unknown prints as %q", got)
	}
	if got := api.Known(1).Plus(api.Figure[int]{}); got.Known {
		t.Errorf("one and something unknown are %v", got)
	}
}
