package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"uplinkd/routes"
)

// A ledger is the file that remembers what the kernel cannot: what a setting
// was before we changed it, which links we set up, and, for kernels that do not
// tag addresses, which addresses are ours. It is written before the change it
// speaks of, so that a process killed anywhere leaves one entry too many at
// most. It belongs to one boot: after a restart all of it is void.
type ledger struct {
	path string
	boot string
	log  *slog.Logger
	page *ledgerPage // nil until read
}

type ledgerPage struct {
	Boot      string          `json:"boot_id"`
	Sysctls   []ledgerSysctl  `json:"sysctls,omitempty"`
	Raised    map[string]int  `json:"raised,omitempty"` // link name to index
	Addresses []ledgerAddress `json:"addresses,omitempty"`
}

type ledgerSysctl struct {
	Name string `json:"name"`
	Was  string `json:"was"`
	Set  string `json:"set"`
}

type ledgerAddress struct {
	Index  int          `json:"index"`
	Prefix netip.Prefix `json:"prefix"`
}

// ledgerMost bounds what is read: no sane ledger comes near it.
const ledgerMost = 1 << 20

func newLedger(dir string, log *slog.Logger) *ledger {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // without one, every boot looks the same
	return &ledger{path: filepath.Join(dir, "kernel.json"), boot: strings.TrimSpace(string(boot)), log: log}
}

// read returns the saved sysctls and the raised links.
func (l *ledger) read() ([]routes.Saved, map[string]int, error) {
	page, err := l.load()
	if err != nil {
		return nil, nil, err
	}
	var saved []routes.Saved
	for _, s := range page.Sysctls {
		saved = append(saved, routes.Saved{Sysctl: routes.Sysctl{Name: s.Name, Value: s.Was}, Set: s.Set})
	}
	return saved, page.Raised, nil
}

// load reads the file once. Only this process writes it while it runs.
func (l *ledger) load() (*ledgerPage, error) {
	if l.page != nil {
		return l.page, nil
	}
	page := &ledgerPage{Boot: l.boot, Raised: map[string]int{}}
	info, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		l.page = page
		return page, nil
	}
	if err == nil && info.Size() > ledgerMost {
		err = fmt.Errorf("%d bytes, more than %d", info.Size(), ledgerMost)
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(l.path)
	}
	var found ledgerPage
	if err == nil {
		err = json.Unmarshal(b, &found)
	}
	if err == nil {
		err = found.check()
	}
	if err != nil {
		// Routing goes on without it: a host off the net is worse than a setting not given back.
		l.log.Warn("the record of what to give back is unreadable: it is put aside, and settings "+
			"changed by an earlier run keep their present values", "file", l.path, "err", err)
		if moved := os.Rename(l.path, l.path+".unreadable"); moved != nil {
			return nil, fmt.Errorf("put the unreadable %s aside: %w; remove it", l.path, moved)
		}
	}
	if err == nil && found.Boot == l.boot {
		page = &found
		if page.Raised == nil {
			page.Raised = map[string]int{}
		}
	}
	l.page = page
	return page, nil
}

// check refuses a name that could lead out of the network settings.
func (p *ledgerPage) check() error {
	for _, s := range p.Sysctls {
		if !strings.HasPrefix(s.Name, "net/") || !filepath.IsLocal(s.Name) {
			return fmt.Errorf("sysctl %q: not below net/", s.Name)
		}
	}
	return nil
}

// write replaces the file in one step, and its content is on disk when it returns.
func (l *ledger) write() error {
	b, err := json.MarshalIndent(l.page, "", " ")
	if err != nil {
		return err
	}
	if err := l.replaceFile(b); err != nil {
		l.page = nil // what is on disk counts, not what we meant to write
		return fmt.Errorf("write %s, without which nothing may be changed that has to be given back: %w", l.path, err)
	}
	return nil
}

func (l *ledger) replaceFile(b []byte) error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(l.path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), l.path)
}

// change loads the page, lets edit change it and writes it if edit says so.
func (l *ledger) change(edit func(*ledgerPage) bool) error {
	page, err := l.load()
	if err != nil || !edit(page) {
		return err
	}
	return l.write()
}

func (l *ledger) save(s routes.Sysctl, was string) error {
	return l.change(func(p *ledgerPage) bool {
		i := slices.IndexFunc(p.Sysctls, func(e ledgerSysctl) bool { return e.Name == s.Name })
		if i < 0 {
			p.Sysctls = append(p.Sysctls, ledgerSysctl{Name: s.Name, Was: was, Set: s.Value})
			return true
		}
		entry := &p.Sysctls[i]
		if was != entry.Set {
			entry.Was = was // someone changed it since: that is what to give back
		}
		entry.Set = s.Value
		return true
	})
}

func (l *ledger) forget(name string) error {
	return l.change(func(p *ledgerPage) bool {
		p.Sysctls = slices.DeleteFunc(p.Sysctls, func(e ledgerSysctl) bool { return e.Name == name })
		return true
	})
}

func (l *ledger) raise(name string, index int) error {
	return l.change(func(p *ledgerPage) bool {
		was, ok := p.Raised[name]
		p.Raised[name] = index
		return !ok || was != index
	})
}

func (l *ledger) lower(name string) error {
	return l.change(func(p *ledgerPage) bool {
		delete(p.Raised, name)
		return true
	})
}

func (l *ledger) raised(name string, index int) bool {
	page, err := l.load()
	return err == nil && page.Raised[name] == index
}

func (l *ledger) addAddress(index int, prefix netip.Prefix) error {
	return l.change(func(p *ledgerPage) bool {
		entry := ledgerAddress{Index: index, Prefix: prefix}
		if slices.Contains(p.Addresses, entry) {
			return false
		}
		p.Addresses = append(p.Addresses, entry)
		return true
	})
}

func (l *ledger) removeAddress(index int, prefix netip.Prefix) error {
	return l.change(func(p *ledgerPage) bool {
		before := len(p.Addresses)
		p.Addresses = slices.DeleteFunc(p.Addresses, func(a ledgerAddress) bool {
			return a.Index == index && a.Prefix == prefix
		})
		return len(p.Addresses) != before
	})
}

func (l *ledger) hasAddress(index int, prefix netip.Prefix) bool {
	page, err := l.load()
	return err == nil && slices.Contains(page.Addresses, ledgerAddress{Index: index, Prefix: prefix})
}
