package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Whatever stands in the files that outlive a process: a daemon starts, with the
// configuration of its file or with one that can be in force.
func FuzzStateDir(f *testing.F) {
	f.Add([]byte(`{"refused":[],"before":"dXBsaW5rczogW10="}`), []byte(`{"fwmark_mask":255,"interfaces":{"eth1":{"table":1,"fwmark":2}}}`), []byte(`{"eth1":{"gateway":{"spread_ns":-1}}}`))
	f.Add([]byte(`{"before":"!"}`), []byte(`{"interfaces":{"eth1":{"table":4294967295,"fwmark":4294967295}}}`), []byte(`{"eth1":null}`))
	f.Fuzz(func(t *testing.T, trial, uplinks, learned []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "u.yaml")
		text := []byte("state_dir: " + dir + "\nuplinks: [{name: a, interface: eth1, address: 192.0.2.5/24, gateway: 192.0.2.1}]\n")
		for name, b := range map[string][]byte{
			"u.yaml": text, "trial.json": trial, "uplinks.json": uplinks, "learned.json": learned,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		loaded, err := LoadToRun(file)
		if err != nil {
			t.Fatalf("a daemon does not start: %v", err)
		}
		if u := loaded.Config.Uplinks[0]; u.Table == 0 || u.FwMark == 0 || u.FwMark&^loaded.Config.Routes.FwMarkMask != 0 {
			t.Errorf("table %d, mark %#x of mask %#x", u.Table, u.FwMark, loaded.Config.Routes.FwMarkMask)
		}
		now := time.Now()
		all, err := loadLearned(dir, now)
		if err != nil {
			return
		}
		for _, targets := range all {
			for name, c := range targets {
				if !c.Valid(now) {
					t.Errorf("%q: %+v was taken", name, c)
				}
			}
		}
	})
}
