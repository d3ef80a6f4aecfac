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
	now := string(text)
	for screen, want := range map[string]string{"status": status.String(), "blocks": blocks.String(), "drill": drilled.String()} {
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
