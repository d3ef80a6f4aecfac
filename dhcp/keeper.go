package dhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"uplinkd/internal/statefile"
)

// A Keeper writes a client's lease down when it has changed: S says where, L is the lease.
type Keeper[S, L any] struct {
	Store interface{ Save(S, *L) error } // nil is to be forgotten

	kept  *L    // what is written
	fails error // told
}

// Has says that a lease is what is written already.
func (k *Keeper[S, L]) Has(lease *L) { k.kept = lease }

// Keep writes a lease down, nil for none. The error is one that has not been told before.
func (k *Keeper[S, L]) Keep(spec *S, lease *L) error {
	if spec == nil || lease == k.kept {
		return nil
	}
	err := k.Store.Save(*spec, lease)
	if err == nil {
		k.kept = lease
	} else {
		// Rather none than an old one, which would be taken up after a restart.
		err = errors.Join(err, k.Store.Save(*spec, nil))
	}
	told := k.fails != nil
	if k.fails = err; told {
		return nil
	}
	return err
}

// leaseMost bounds what is read of a file, in bytes.
const leaseMost = 64 << 10

// WritePage replaces a file in one step, nil forgets it.
func WritePage(path string, page any) error {
	if page == nil {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.MarshalIndent(page, "", " ")
	if err != nil {
		return err
	}
	return statefile.Replace(path, b, statefile.Process)
}

// ReadPage returns the lease that a file holds, as parse makes it of its bytes; nil when there is no file.
func ReadPage[L any](path string, parse func([]byte) (*L, error)) (*L, error) {
	b, err := statefile.Read(path, leaseMost)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	lease, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return lease, nil
}
