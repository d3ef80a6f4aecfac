// Package orders keeps on disk what the operator has ordered, over restarts.
package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"uplinkd/internal/statefile"
	"uplinkd/uplink/api"
)

// most bounds what is read, in bytes.
const most = 1 << 20

// A page is the file.
type page struct {
	Orders map[string]api.Order `json:"orders"` // by uplink
}

func path(dir string) string { return filepath.Join(dir, "orders.json") }

// Load returns the orders kept in a directory, those whose time is up included. None
// is no error. A file that cannot be read is one; it stays where it is until the
// next Save.
func Load(dir string) (map[string]api.Order, error) {
	b, err := statefile.Read(path(dir), most)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p page
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", path(dir), err)
	}
	for name, o := range p.Orders {
		known := o.State == api.AdminUp || o.State == api.AdminDisabled || o.State == api.AdminDrained
		known = known && slices.Contains([]string{"", "ipv4", "ipv6"}, o.Family)
		if !known || o.Weight < 0 || o.Weight > 256 {
			return nil, fmt.Errorf("%s: %+v of %s is no order", path(dir), o, name)
		}
	}
	return p.Orders, nil
}

// Save keeps orders in a directory, in the place of those before. They are on
// the disk when it returns, which may take its time.
func Save(dir string, orders map[string]api.Order) error {
	b, err := json.MarshalIndent(page{orders}, "", " ")
	if err != nil {
		return err
	}
	return statefile.Replace(path(dir), b, statefile.Power)
}
