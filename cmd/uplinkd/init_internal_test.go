package main

import (
	"bytes"
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
		want         string
	}{
		{
			"over an uplink", defaultConfig, over,
			"logged in over eth1, from 198.51.100.200: the third starts it, and gives all back",
		},
		{"over an uplink, the command", defaultConfig, over, "  uplinkd apply --confirm 2m\n"},
		{"not at a terminal", defaultConfig, link, "  systemctl enable --now uplinkd\n"},
		{"elsewhere", "/tmp/x.yaml", link, "  install -m 640 -g uplinkd /tmp/x.yaml /etc/uplinkd/uplinkd.yaml\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.link.Login == "" && atTerminal() {
				t.Skip("run at a terminal, which is another case")
			}
			var out bytes.Buffer
			c := &common{stdio: stdio{out: &out, err: &out}, config: tt.config}
			d := draft.Make(draft.Host{Name: "gw", Links: []draft.Link{tt.link}}, nobody)
			if err := c.sayNext(d); err != nil || !strings.Contains(out.String(), tt.want) {
				t.Errorf("%v: %q is not in\n%s", err, tt.want, &out)
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
	if info, err := os.Stat(fresh); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
