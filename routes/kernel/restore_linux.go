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

// A restoreFile is the file that remembers what the kernel cannot: what a setting
// was before we changed it, which links we set up, and, for kernels that do not
// tag addresses, which addresses are ours. It is written before the change it
// speaks of, so that a process killed anywhere leaves one entry too many at
// most. It belongs to one boot and one network namespace: elsewhere it is void.
type restoreFile struct {
	path   string
	boot   string
	log    *slog.Logger
	record *restoreRecord // nil until read

	unreadable error    // of a file that is there
	elsewhere  []string // what one of another boot or network namespace would have had given back
	warned     bool     // that it cannot be written
}

type restoreRecord struct {
	Boot      string         `json:"boot"`              // and the network namespace
	Owners    []routes.Owner `json:"owners,omitempty"`  // the tags of what we put into the kernel
	SeenUp    map[string]int `json:"seen_up,omitempty"` // links that were up under our care, name to index
	Sysctls   []savedSetting `json:"sysctls,omitempty"`
	Raised    map[string]int `json:"raised,omitempty"` // link name to index
	Addresses []ownAddress   `json:"addresses,omitempty"`
	Endpoints []ownEndpoint  `json:"endpoints,omitempty"` // of MPTCP
}

type savedSetting struct {
	Name string `json:"name"`
	Was  string `json:"was"`
	Set  string `json:"set"`
}

type ownAddress struct {
	Index  int          `json:"index"`
	Prefix netip.Prefix `json:"prefix"`
}

type ownEndpoint struct {
	ID       uint8      `json:"id"`
	Address  netip.Addr `json:"address"`
	Protocol uint8      `json:"protocol"`
}

// restoreMost bounds what is read: no sane one comes near it.
const restoreMost = 1 << 20

func newRestoreFile(dir string, log *slog.Logger) *restoreFile {
	return &restoreFile{path: filepath.Join(dir, "kernel.json"), boot: where(), log: log}
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

// read returns the saved settings and the raised links.
func (l *restoreFile) read() ([]routes.Saved, map[string]int) {
	record := l.load()
	var saved []routes.Saved
	for _, s := range record.Sysctls {
		setting := routes.ParseSetting(s.Name)
		setting.Value = s.Was
		saved = append(saved, routes.Saved{Setting: setting, Set: s.Set})
	}
	return saved, record.Raised
}

// load reads the file once. Only this process writes it while it runs. A file
// that cannot be read is put aside when there is another to write: a host off
// the net is worse than a setting not given back.
func (l *restoreFile) load() *restoreRecord {
	if l.record != nil {
		return l.record
	}
	l.record = &restoreRecord{Boot: l.boot}
	found, err := l.readFile()
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		l.unreadable = fmt.Errorf("the record of what to give back, %s, is unreadable: settings changed by an "+
			"earlier run keep their present values (look at it and remove it): %w", l.path, err)
		l.log.Warn("the record of what to give back is unreadable: settings changed by an earlier run "+
			"keep their present values", "file", l.path, "err", err)
	case found.Boot == l.boot:
		l.record = found
	default:
		l.elsewhere = found.commands()
	}
	if l.record.Raised == nil {
		l.record.Raised = map[string]int{}
	}
	if l.record.SeenUp == nil {
		l.record.SeenUp = map[string]int{}
	}
	return l.record
}

// commands are how a person would give back what a record names. Addresses have their
// lifetimes, or have gone with the boot.
func (p *restoreRecord) commands() (list []string) {
	for _, s := range p.Sysctls {
		setting := routes.ParseSetting(s.Name)
		setting.Value = s.Was
		list = append(list, routes.RestoreSetting{Saved: routes.Saved{Setting: setting, Set: s.Set}}.String())
	}
	for name := range p.Raised {
		list = append(list, routes.SetLinkDown{Interface: name}.String())
	}
	slices.Sort(list)
	return list
}

func (l *restoreFile) readFile() (*restoreRecord, error) {
	b, err := statefile.Read(l.path, restoreMost)
	if err != nil {
		return nil, err
	}
	record := &restoreRecord{}
	if err := json.Unmarshal(b, record); err != nil {
		return nil, err
	}
	return record, record.check()
}

// check refuses a name that could lead out of the network settings.
func (p *restoreRecord) check() error {
	for _, s := range p.Sysctls {
		switch setting := routes.ParseSetting(s.Name); setting.Kind {
		case routes.LinkMTU:
			if setting.Interface == "" || strings.Contains(setting.Interface, "/") {
				return fmt.Errorf("%q: no interface has such a name", s.Name)
			}
		case routes.MPTCPSubflows:
		case routes.Sysctl:
			if !strings.HasPrefix(s.Name, "net/") || filepath.Clean(s.Name) != s.Name {
				return fmt.Errorf("sysctl %q: not below net/", s.Name)
			}
		}
	}
	return nil
}

// write replaces the file in one step. It is not forced to the disk: a process
// that dies leaves it to the kernel, and after a restart of the machine it is
// void. When it cannot be written that is logged once, and what was to be done
// is done: a full disk must not take the host off the net.
func (l *restoreFile) write() {
	b, err := json.MarshalIndent(l.record, "", " ")
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

func (l *restoreFile) replaceFile(b []byte) error {
	if l.unreadable != nil {
		_ = os.Rename(l.path, l.path+".unreadable") // if that fails too it is overwritten
		l.unreadable = nil
	}
	return statefile.Replace(l.path, b, statefile.Process)
}

// change lets edit change the record and writes it if edit says so.
func (l *restoreFile) change(edit func(*restoreRecord) bool) {
	if edit(l.load()) {
		l.write()
	}
}

func (l *restoreFile) save(s routes.Setting, was string) {
	l.change(func(p *restoreRecord) bool {
		i := slices.IndexFunc(p.Sysctls, func(e savedSetting) bool { return e.Name == s.ID() })
		if i < 0 {
			p.Sysctls = append(p.Sysctls, savedSetting{Name: s.ID(), Was: was, Set: s.Value})
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

func (l *restoreFile) forget(s routes.Setting) {
	l.change(func(p *restoreRecord) bool {
		p.Sysctls = slices.DeleteFunc(p.Sysctls, func(e savedSetting) bool { return e.Name == s.ID() })
		return true
	})
}

// see notes which of our links are up, and whose tag we use.
func (l *restoreFile) see(owner routes.Owner, ours []string, up map[string]int) {
	l.change(func(p *restoreRecord) bool {
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

func (l *restoreFile) raise(name string, index int) {
	l.change(func(p *restoreRecord) bool {
		was, ok := p.Raised[name]
		p.Raised[name] = index
		return !ok || was != index
	})
}

func (l *restoreFile) lower(name string) {
	l.change(func(p *restoreRecord) bool {
		delete(p.Raised, name)
		delete(p.SeenUp, name)
		return true
	})
}

// remove removes the file: nothing is left to give back.
func (l *restoreFile) remove() error {
	l.record = nil
	if err := os.Remove(l.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (l *restoreFile) raised(name string, index int) bool {
	return l.load().Raised[name] == index
}

func (l *restoreFile) addAddress(index int, prefix netip.Prefix) {
	l.change(func(p *restoreRecord) bool {
		entry := ownAddress{Index: index, Prefix: prefix}
		if slices.Contains(p.Addresses, entry) {
			return false
		}
		p.Addresses = append(p.Addresses, entry)
		return true
	})
}

func (l *restoreFile) removeAddress(index int, prefix netip.Prefix) {
	l.change(func(p *restoreRecord) bool {
		before := len(p.Addresses)
		p.Addresses = slices.DeleteFunc(p.Addresses, func(a ownAddress) bool {
			return a.Index == index && a.Prefix == prefix
		})
		return len(p.Addresses) != before
	})
}

func (l *restoreFile) hasAddress(index int, prefix netip.Prefix) bool {
	return slices.Contains(l.load().Addresses, ownAddress{Index: index, Prefix: prefix})
}

func (l *restoreFile) addEndpoint(e routes.Endpoint) {
	l.change(func(p *restoreRecord) bool {
		entry := ownEndpoint{e.ID, e.Address, e.Protocol}
		if slices.Contains(p.Endpoints, entry) {
			return false
		}
		p.Endpoints = append(p.Endpoints, entry)
		return true
	})
}

func (l *restoreFile) removeEndpoint(e routes.Endpoint) {
	l.change(func(p *restoreRecord) bool {
		before := len(p.Endpoints)
		p.Endpoints = slices.DeleteFunc(p.Endpoints, func(o ownEndpoint) bool {
			return o.ID == e.ID && o.Address == e.Address
		})
		return len(p.Endpoints) != before
	})
}

// whoseEndpoint returns by whose tag an endpoint was put there; 0: not by us.
func (l *restoreFile) whoseEndpoint(id uint8, address netip.Addr) uint8 {
	for _, o := range l.load().Endpoints {
		if o.ID == id && o.Address == address {
			return o.Protocol
		}
	}
	return 0
}
