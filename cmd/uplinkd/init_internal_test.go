package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uplinkd/configs/draft"
)

// Who is logged in over an uplink is told to start it on trial; a file elsewhere is to be put in place first.
func TestInitSaysWhatFollows(t *testing.T) {
	link := draft.Link{
		Name: "eth1", Carrier: true, Default: true, Gateway: netip.MustParseAddr("203.0.113.1"), Leased: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("203.0.113.5/24")},
	}
	nobody := func(draft.Question) (string, bool) { return "", false }
	over := link
	over.Login = "198.51.100.200"
	for _, tt := range []struct {
		name, config string
		link         draft.Link
		unsure       bool // who types this may be logged in over anything
		want         string
	}{
		{"over an uplink", defaultConfig, over, false, "logged in over eth1, from 198.51.100.200: the third starts it"},
		{"over an uplink, the command", defaultConfig, over, false, "  uplinkd apply --confirm 2m\n"},
		{"nobody knows", defaultConfig, link, true, "  uplinkd apply --confirm 2m\n"},
		{"over none", defaultConfig, link, false, "  systemctl enable --now uplinkd\n"},
		{"elsewhere", "/tmp/x.yaml", link, true, "  install -m 640 -g uplinkd /tmp/x.yaml /etc/uplinkd/uplinkd.yaml\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := draft.Make(draft.Host{Name: "gw", Links: []draft.Link{tt.link}}, nobody)
			if text := whatFollows(tt.config, d, tt.unsure); !strings.Contains(text, tt.want) {
				t.Errorf("%q is not in\n%s", tt.want, text)
			}
		})
	}
}

// What is there stays as it is, also where it is a link to nothing; what cannot be looked at is said to need root.
func TestInitWritesOverNothing(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "none"), link); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, file} {
		if err := (&common{config: path}).isFree(); err == nil || !strings.Contains(err.Error(), "not written over") {
			t.Errorf("%s: %v", path, err)
		}
		if err := writeNew(path, "ours"); err == nil {
			t.Errorf("%s was written over", path)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
	if err := (&common{config: filepath.Join(file, "below")}).isFree(); err == nil ||
		!strings.Contains(err.Error(), "be root") {
		t.Errorf("%v", err)
	}
	fresh := filepath.Join(dir, "new", "uplinkd.yaml")
	if err := writeNew(fresh, "ours"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, err := os.ReadDir(filepath.Dir(fresh)); err != nil || len(left) != 1 {
		t.Errorf("%v lie about (%v)", left, err)
	}
}
