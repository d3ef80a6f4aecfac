// Package orders keeps on disk what the operator has ordered, over restarts.
package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"uplinkd/uplink/status"
)

// most bounds what is read, in bytes.
const most = 1 << 20

// A page is the file.
type page struct {
	Orders map[string]status.Order `json:"orders"` // by uplink
}

func path(dir string) string { return filepath.Join(dir, "orders.json") }

// Load returns the orders kept in a directory, those whose time is up included. None
// is no error. A file that cannot be read is one; it stays where it is until the
// next Save.
func Load(dir string) (map[string]status.Order, error) {
	f, err := os.Open(path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, err
	}
	var p page
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	for name, o := range p.Orders {
		if o.State != "" && o.State != "disabled" && o.State != "drained" || o.Weight < 0 || o.Weight > 256 {
			return nil, fmt.Errorf("%s: %+v of %s is no order", f.Name(), o, name)
		}
	}
	return p.Orders, nil
}

// Save keeps orders in a directory, in the place of those before. They are on
// the disk when it returns, which may take its time.
func Save(dir string, orders map[string]status.Order) error {
	b, err := json.MarshalIndent(page{orders}, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fresh := path(dir) + ".new"
	if err := write(fresh, b); err != nil {
		return err
	}
	return os.Rename(fresh, path(dir))
}

func write(name string, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}
