package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/grid"
	"uplinkd/routes"
)

const procSys = "/proc/sys"

// settingsEvery is how often the settings are looked at: no event tells of a change.
const settingsEvery = 1500 * time.Millisecond

// A settingsWatch remembers what settings were last read or written, and the endpoints of
// MPTCP, of whose changes no event tells either.
type settingsWatch struct {
	mptcp mptcp // owned by run

	mu        sync.Mutex // guards what follows
	files     openFiles
	values    map[string]string
	endpoints []routes.Endpoint // nil: they are not looked at
	subflows  string            // "": likewise
}

func (w *settingsWatch) expect(list []routes.Setting) {
	values, subflows := make(map[string]string, len(list)), ""
	for _, s := range list {
		switch s.Kind {
		case routes.Sysctl:
			values[s.Name] = s.Value
		case routes.MPTCPSubflows:
			subflows = s.Value
		case routes.LinkMTU: // an event tells of that
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.values, w.subflows = values, subflows
	w.files.keep(func(name string) bool { _, ok := values[name]; return ok })
}

// expectEndpoints has the endpoints looked at, if there are any of ours.
func (w *settingsWatch) expectEndpoints(list []routes.Endpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.endpoints = list
}

// endpointsChanged reports whether the endpoints, or how many subflows there may be, are not
// as they were last read.
func (w *settingsWatch) endpointsChanged(ctx context.Context) bool {
	w.mu.Lock()
	expected, subflows := w.endpoints, w.subflows
	w.mu.Unlock()
	changed := false
	if subflows != "" {
		now, err := w.mptcp.readSubflows(ctx)
		changed = err == nil && now != subflows
	}
	if expected == nil {
		return changed
	}
	now, err := w.mptcp.endpoints(ctx, nil)
	return changed || err == nil && !slices.EqualFunc(now, expected, func(a, b routes.Endpoint) bool {
		return a.ID == b.ID && a.Address == b.Address && a.Backup == b.Backup && a.NoSubflow == b.NoSubflow
	})
}

// last returns the value that was last read or written.
func (w *settingsWatch) last(name string) (value string, known bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	value, known = w.values[name]
	return value, known
}

func (w *settingsWatch) wrote(s routes.Setting) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.values[s.Name]; ok {
		w.values[s.Name] = s.Value
	}
}

// changed reports whether a setting has another value than was last read or written. It
// says so once.
func (w *settingsWatch) changed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := false
	for name, expected := range w.values {
		// One that cannot be read has gone with its interface, and an event tells of that.
		if value, err := w.files.read(name); err == nil && string(value) != expected {
			w.values[name], changed = string(value), true
		}
	}
	return changed
}

// run calls wake when a setting has changed, until ctx ends.
func (w *settingsWatch) run(ctx context.Context, wake func()) error {
	defer w.mptcp.close()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.files.keep(func(string) bool { return false })
	}()
	return grid.Each(ctx, settingsEvery, func() {
		if w.changed() || w.endpointsChanged(ctx) {
			wake()
		}
	})
}

// readSetting returns the present value of a setting.
func (k *Kernel) readSetting(ctx context.Context, s routes.Setting) (string, error) {
	switch s.Kind {
	case routes.LinkMTU:
		if mtu, ok := k.mtus[s.Interface]; ok {
			return strconv.Itoa(mtu), nil
		}
		return "", fs.ErrNotExist
	case routes.MPTCPSubflows:
		value, err := k.mptcp.readSubflows(ctx)
		if err != nil {
			return "", fmt.Errorf("%w (%w)", fs.ErrNotExist, err) // not known: routes do not wait for it
		}
		return value, nil
	case routes.Sysctl:
	}
	value, err := readFile(filepath.Join(procSys, s.Name))
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		// Without descriptors the routes must still be seen to.
		if last, ok := k.settings.last(s.Name); ok {
			return last, nil
		}
	}
	return value, err
}

// readFile reads a file of the kernel's that holds one value.
func readFile(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) // not os.ReadFile, which asks the poller about it
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd) //nolint:errcheck // only read
	var b [256]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return strings.TrimSpace(string(b[:n])), nil
}

func (k *Kernel) readSettings(ctx context.Context, state *routes.State, scope routes.Scope) error {
	seen := map[string]bool{}
	add := func(s routes.Setting) error {
		if seen[s.ID()] {
			return nil
		}
		seen[s.ID()] = true
		var err error
		s.Value, err = k.readSetting(ctx, s)
		// The setting goes and comes with its interface, and some kernels lack some.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read setting %s: %w", s.ID(), err)
		}
		state.Settings = append(state.Settings, s)
		return nil
	}
	for _, s := range scope.Settings {
		if err := add(s); err != nil {
			return err
		}
	}
	for _, saved := range state.Saved {
		if err := add(saved.Setting); err != nil {
			return err
		}
	}
	k.settings.expect(state.Settings)
	return nil
}

func (k *Kernel) writeSetting(ctx context.Context, s routes.Setting) error {
	was, err := k.readSetting(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", s.ID(), routes.ErrGone)
	}
	if err != nil {
		return err
	}
	// First on disk, then in the kernel: killed between the two, the next
	// process still knows what to give back.
	k.restore.save(s, was)
	return k.putSetting(ctx, s)
}

func (k *Kernel) restoreSetting(ctx context.Context, saved routes.Saved) error {
	now, err := k.readSetting(ctx, saved.Setting)
	// What someone has changed since is theirs.
	if err == nil && now == saved.Set {
		if err = k.putSetting(ctx, saved.Setting); err == nil {
			k.solicit(saved.Setting)
		}
	}
	if err = ignore(err, fs.ErrNotExist); err != nil {
		return err
	}
	k.restore.forget(saved.Setting)
	return nil
}

// putSetting opens without creating: a missing file must stay missing.
func (k *Kernel) putSetting(ctx context.Context, s routes.Setting) error {
	switch s.Kind {
	case routes.LinkMTU:
		return k.putMTU(s.Interface, s.Value)
	case routes.MPTCPSubflows:
		return k.mptcp.writeSubflows(ctx, s.Value)
	case routes.Sysctl:
	}
	f, err := os.OpenFile(filepath.Join(procSys, s.Name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.Value)
	if err == nil {
		k.settings.wrote(s)
	}
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
