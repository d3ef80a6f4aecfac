package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"uplinkd/routes"
)

const procSys = "/proc/sys"

// readSysctl reads a setting: a file below /proc/sys, or an interface's MTU.
func (k *Kernel) readSysctl(name string) (string, error) {
	if link, ok := (routes.Sysctl{Name: name}).MTUOf(); ok {
		if mtu, ok := k.mtus[link]; ok {
			return strconv.Itoa(mtu), nil
		}
		return "", fs.ErrNotExist
	}
	return readFile(filepath.Join(procSys, name))
}

// readFile reads a file of the kernel's that holds one value.
func readFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

func (k *Kernel) readSysctls(state *routes.State, scope routes.Scope) error {
	seen := map[string]bool{}
	add := func(name string) error {
		if seen[name] {
			return nil
		}
		seen[name] = true
		value, err := k.readSysctl(name)
		// The setting goes and comes with its interface, and some kernels lack some.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read sysctl %s: %w", name, err)
		}
		state.Sysctls = append(state.Sysctls, routes.Sysctl{Name: name, Value: value})
		return nil
	}
	for _, name := range scope.Sysctls {
		if err := add(name); err != nil {
			return err
		}
	}
	for _, saved := range state.Saved {
		if err := add(saved.Name); err != nil {
			return err
		}
	}
	return nil
}

func (k *Kernel) writeSysctl(s routes.Sysctl) error {
	was, err := k.readSysctl(s.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", s.Name, routes.ErrGone)
	}
	if err != nil {
		return err
	}
	// First on disk, then in the kernel: killed between the two, the next
	// process still knows what to give back.
	k.ledger.save(s, was)
	return k.putSysctl(s)
}

func (k *Kernel) restoreSysctl(saved routes.Saved) error {
	now, err := k.readSysctl(saved.Name)
	// What someone has changed since is theirs.
	if err == nil && now == saved.Set {
		err = k.putSysctl(saved.Sysctl)
	}
	if err = ignore(err, fs.ErrNotExist); err != nil {
		return err
	}
	k.ledger.forget(saved.Name)
	return nil
}

// putSysctl opens without creating: a missing file must stay missing.
func (k *Kernel) putSysctl(s routes.Sysctl) error {
	if link, ok := s.MTUOf(); ok {
		return k.putMTU(link, s.Value)
	}
	f, err := os.OpenFile(filepath.Join(procSys, s.Name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.Value)
	return errors.Join(err, f.Close())
}

func (k *Kernel) putMTU(name, value string) error {
	mtu, err := strconv.Atoi(value)
	if err != nil {
		return fmt.Errorf("MTU of %s: %w", name, err)
	}
	index, err := k.linkIndex(name)
	if err != nil {
		return err
	}
	if err = k.handle.LinkSetMTU(linkWithIndex(index), mtu); err == nil {
		k.mtus[name] = mtu
	}
	return err
}
