package orders_test

import (
	"os"
	"path/filepath"
	"testing"

	"uplinkd/uplink/api"
	"uplinkd/uplink/orders"
)

// Whatever stands in the file of orders, of this version or another: orders come of it that
// can be given, or an error.
func FuzzLoad(f *testing.F) {
	f.Add([]byte(`{"orders":{"isp1":{"state":"drained","weight":3,"by":"root","since":"2026-01-01T00:00:00Z"}}}`))
	f.Add([]byte(`{"orders":{"":{"weight":999999}},"version":99}`))
	f.Add([]byte(`{"orders":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "orders.json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := orders.Load(dir)
		if err != nil {
			return
		}
		for name, o := range list {
			if o.Weight < 0 || o.Weight > 256 || o.State != api.AdminUp && o.State != api.AdminDisabled && o.State != api.AdminDrained {
				t.Errorf("%q: %+v was taken", name, o)
			}
		}
	})
}
