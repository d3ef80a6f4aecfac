package orders_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uplinkd/uplink/api"
	"uplinkd/uplink/orders"
)

func TestKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got, err := orders.Load(dir); err != nil || got != nil {
		t.Errorf("nothing kept: %v, %v", got, err)
	}
	kept := map[string]api.Order{
		"isp1": {State: "drained", Weight: 3, By: "root", Since: now},
		"isp2": {State: "disabled", By: "alice", Since: now, Until: api.When{Time: now.Add(time.Hour)}},
	}
	if err := orders.Save(dir, kept); err != nil {
		t.Fatal(err)
	}
	got, err := orders.Load(dir)
	if diff := cmp.Diff(kept, got); diff != "" || err != nil {
		t.Errorf("%v (-kept +loaded):\n%s", err, diff)
	}
}

// What cannot be orders is not taken for any.
func TestUnusable(t *testing.T) {
	for name, text := range map[string]string{
		"torn": `{"orders": {"isp1": {"sta`, "another state": `{"orders": {"isp1": {"state": "upside down"}}}`,
		"a weight too large": `{"orders": {"isp1": {"weight": 257}}}`, "empty": "",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "orders.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := orders.Load(dir); err == nil || len(got) > 0 {
			t.Errorf("%s: %v, %v; want an error", name, got, err)
		}
	}
}
