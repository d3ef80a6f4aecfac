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
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"uplinkd/internal/statefile"
	"uplinkd/routes"
)

// A ledger is the file that remembers what the kernel cannot: what a setting
// was before we changed it, which links we set up, and, for kernels that do not
// tag addresses, which addresses are ours. It is written before the change it
// speaks of, so that a process killed anywhere leaves one entry too many at
// most. It belongs to one boot and one network namespace: elsewhere it is void.
type ledger struct {
	path string
	boot string
	log  *slog.Logger
	page *ledgerPage // nil until read

	unreadable error // of a file that is there
	warned     bool  // that it cannot be written
}

type ledgerPage struct {
	Boot      string          `json:"boot"`              // and the network namespace
	Owners    []routes.Owner  `json:"owners,omitempty"`  // the tags of what we put into the kernel
	SeenUp    map[string]int  `json:"seen_up,omitempty"` // links that were up under our care, name to index
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
	return &ledger{path: filepath.Join(dir, "kernel.json"), boot: where(), log: log}
}

// where names this boot and this network namespace. What cannot be told looks
// the same everywhere.
func where() string {
	namespace := ""
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		// A namespace's inode is used again, its cookie never (Linux 5.14).
		if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
			namespace = strconv.FormatUint(cookie, 10)
		}
		_ = unix.Close(fd)
	}
	return statefile.BootID() + "/" + namespace
}

// read returns the saved sysctls and the raised links.
func (l *ledger) read() ([]routes.Saved, map[string]int) {
	page := l.load()
	var saved []routes.Saved
	for _, s := range page.Sysctls {
		saved = append(saved, routes.Saved{Sysctl: routes.Sysctl{Name: s.Name, Value: s.Was}, Set: s.Set})
	}
	return saved, page.Raised
}

// load reads the file once. Only this process writes it while it runs. A file
// that cannot be read is put aside when there is another to write: a host off
// the net is worse than a setting not given back.
func (l *ledger) load() *ledgerPage {
	if l.page != nil {
		return l.page
	}
	l.page = &ledgerPage{Boot: l.boot}
	found, err := l.readFile()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		l.unreadable = fmt.Errorf("the record of what to give back, %s, is unreadable: settings changed by an "+
			"earlier run keep their present values (look at it and remove it): %w", l.path, err)
		l.log.Warn("the record of what to give back is unreadable: settings changed by an earlier run "+
			"keep their present values", "file", l.path, "err", err)
	case found.Boot == l.boot:
		l.page = found
	}
	if l.page.Raised == nil {
		l.page.Raised = map[string]int{}
	}
	if l.page.SeenUp == nil {
		l.page.SeenUp = map[string]int{}
	}
	return l.page
}

func (l *ledger) readFile() (*ledgerPage, error) {
	b, err := statefile.Read(l.path, ledgerMost)
	if err != nil {
		return nil, err
	}
	page := &ledgerPage{}
	if err := json.Unmarshal(b, page); err != nil {
		return nil, err
	}
	return page, page.check()
}

// check refuses a name that could lead out of the network settings.
func (p *ledgerPage) check() error {
	for _, s := range p.Sysctls {
		link, isMTU := (routes.Sysctl{Name: s.Name}).MTUOf()
		if isMTU && link != "" && !strings.Contains(link, "/") {
			continue
		}
		if !strings.HasPrefix(s.Name, "net/") || filepath.Clean(s.Name) != s.Name {
			return fmt.Errorf("sysctl %q: not below net/", s.Name)
		}
	}
	return nil
}

// write replaces the file in one step. It is not forced to the disk: a process
// that dies leaves it to the kernel, and after a restart of the machine it is
// void. When it cannot be written that is logged once, and what was to be done
// is done: a full disk must not take the host off the net.
func (l *ledger) write() {
	b, err := json.MarshalIndent(l.page, "", " ")
	if err == nil {
		err = l.replaceFile(b)
	}
	if err != nil && !l.warned {
		l.warned = true
		l.log.Error("the record of what to give back cannot be written: if this process is killed, "+
			"cleanup will not know of its last changes", "file", l.path, "err", err)
	}
	if err == nil {
		l.warned = false
	}
}

func (l *ledger) replaceFile(b []byte) error {
	if l.unreadable != nil {
		_ = os.Rename(l.path, l.path+".unreadable") // if that fails too it is overwritten
		l.unreadable = nil
	}
	return statefile.Replace(l.path, b, statefile.Process)
}

// change lets edit change the page and writes it if edit says so.
func (l *ledger) change(edit func(*ledgerPage) bool) {
	if edit(l.load()) {
		l.write()
	}
}

func (l *ledger) save(s routes.Sysctl, was string) {
	l.change(func(p *ledgerPage) bool {
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

func (l *ledger) forget(name string) {
	l.change(func(p *ledgerPage) bool {
		p.Sysctls = slices.DeleteFunc(p.Sysctls, func(e ledgerSysctl) bool { return e.Name == name })
		return true
	})
}

// see notes which of our links are up, and whose tag we use.
func (l *ledger) see(owner routes.Owner, ours []string, up map[string]int) {
	l.change(func(p *ledgerPage) bool {
		changed := !slices.Contains(p.Owners, owner)
		if changed {
			p.Owners = append(p.Owners, owner)
		}
		for name, index := range up {
			changed = changed || p.SeenUp[name] != index
			p.SeenUp[name] = index
		}
		for name := range p.SeenUp {
			if !slices.Contains(ours, name) { // no uplink any more: what becomes of it is not ours to say
				delete(p.SeenUp, name)
				changed = true
			}
		}
		return changed
	})
}

func (l *ledger) raise(name string, index int) {
	l.change(func(p *ledgerPage) bool {
		was, ok := p.Raised[name]
		p.Raised[name] = index
		return !ok || was != index
	})
}

func (l *ledger) lower(name string) {
	l.change(func(p *ledgerPage) bool {
		delete(p.Raised, name)
		delete(p.SeenUp, name)
		return true
	})
}

// remove removes the file: nothing is left to give back.
func (l *ledger) remove() error {
	l.page = nil
	if err := os.Remove(l.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (l *ledger) raised(name string, index int) bool {
	return l.load().Raised[name] == index
}

func (l *ledger) addAddress(index int, prefix netip.Prefix) {
	l.change(func(p *ledgerPage) bool {
		entry := ledgerAddress{Index: index, Prefix: prefix}
		if slices.Contains(p.Addresses, entry) {
			return false
		}
		p.Addresses = append(p.Addresses, entry)
		return true
	})
}

func (l *ledger) removeAddress(index int, prefix netip.Prefix) {
	l.change(func(p *ledgerPage) bool {
		before := len(p.Addresses)
		p.Addresses = slices.DeleteFunc(p.Addresses, func(a ledgerAddress) bool {
			return a.Index == index && a.Prefix == prefix
		})
		return len(p.Addresses) != before
	})
}

func (l *ledger) hasAddress(index int, prefix netip.Prefix) bool {
	return slices.Contains(l.load().Addresses, ledgerAddress{Index: index, Prefix: prefix})
}
