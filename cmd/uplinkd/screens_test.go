package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"uplinkd/uplink/api"
)

// The screens in docs/watch.md are those of the program. UPLINKD_UPDATE=1 writes them.
func TestScreensInTheDocs(t *testing.T) {
	const name = "../../docs/watch.md"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	s := manyUplinks(3)
	after := func(ms int) *api.Millis {
		m := api.Millis(time.Duration(ms) * time.Millisecond)
		return &m
	}
	var status, blocks, drilled bytes.Buffer
	for _, err := range []error{
		(&statusTable{Snapshot: s, now: now, width: 100}).write(&status),
		(&statusTable{Snapshot: manyUplinks(1), now: now, width: 100}).writeBlocks(&blocks),
		(&drill{common: &common{stdio: stdio{out: &drilled}}}).write([]drillResult{
			{
				Uplink: "isp1", Family: "ipv4", Doubt: after(262), Down: after(874), Back: after(603),
				Failed: api.Known(2), Had: api.Known(31), Ended: api.Known(31), Reason: "the gateway does not answer",
			},
			{Uplink: "isp2", Family: "ipv4", Doubt: after(401), Failed: api.Known(0), Had: api.Known(17), Reason: "the gateway answers late"},
		}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m, _, press := watching(t, 3, 100, 24)
	m.color = false
	press("down")
	sick := well()
	sick.status.Uplinks[1].State, sick.status.Uplinks[1].Reason, sick.status.Uplinks[1].Since = api.Down, "the gateway does not answer", sick.now
	sick.status.Uplinks[0].Order = &api.Order{State: api.AdminDrained, By: "uid 1000", Since: sick.now}
	sick.switches = []api.Switch{{
		Uplink: "isp2", Family: "ipv4", To: api.Down, At: sick.now, Cause: api.CauseProbes,
		Evidence: []string{"gateway: down, no answer, 3 missed in a row since 12:04:43.120", "eth2: 48 packets out and 0 in since 12:04:43.100"},
	}}
	doctor := doctorText(diagnose(&sick), 0)
	doctor = strings.ReplaceAll(doctor, sick.now.Local().Format(time.DateTime), "2026-11-27 12:04:44") // it is another one in each zone
	now := string(text)
	for screen, want := range map[string]string{
		"status": status.String(), "blocks": blocks.String(), "drill": drilled.String(), "watch": m.screen(), "doctor": doctor,
	} {
		before, rest, ok := strings.Cut(now, "<!-- screen "+screen+" -->\n```\n")
		_, after, ends := strings.Cut(rest, "```\n")
		if !ok || !ends {
			t.Fatalf("%s has no screen %s", name, screen)
		}
		now = before + "<!-- screen " + screen + " -->\n```\n" + strings.TrimRight(want, "\n") + "\n```\n" + after
	}
	switch {
	case now == string(text):
	case os.Getenv("UPLINKD_UPDATE") != "":
		if err := os.WriteFile(name, []byte(now), 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the screens in %s are other ones: UPLINKD_UPDATE=1 go test ./cmd/uplinkd -run TestScreensInTheDocs", name)
	}
}
