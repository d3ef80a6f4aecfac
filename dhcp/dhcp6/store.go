package dhcp6

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"uplinkd/dhcp"
)

// A Store keeps leases across restarts of the process.
type Store interface {
	// Load returns the lease last saved for the interface and MAC of spec, or nil when there is none
	// that is still in force. An error says why one that is there cannot be used; it is then as if
	// there were none.
	Load(spec Spec) (*Lease, error)
	// Save keeps a lease, or with nil forgets the last one.
	Save(spec Spec, lease *Lease) error
}

// Files is a Store of one file an interface in a directory.
type Files struct {
	Dir   string
	Clock dhcp.Clock
}

var _ Store = Files{}

// A page is a lease on disk.
type page struct {
	Interface string       `json:"interface"`
	MAC       string       `json:"mac"`
	BootID    string       `json:"boot_id"`
	Written   time.Time    `json:"written"`
	Server    []byte       `json:"server"`
	Addresses []entry      `json:"addresses,omitempty"`
	Prefixes  []entry      `json:"prefixes,omitempty"`
	DNS       []netip.Addr `json:"dns,omitempty"`
	Domain    string       `json:"domain,omitempty"`
	Renew     *dhcp.Moment `json:"renew,omitempty"` // none: never
	Rebind    *dhcp.Moment `json:"rebind,omitempty"`
}

type entry struct {
	Prefix    netip.Prefix `json:"prefix"`
	Preferred *dhcp.Moment `json:"preferred,omitempty"`
	Valid     *dhcp.Moment `json:"valid,omitempty"`
}

func (f Files) path(spec Spec) string { return filepath.Join(f.Dir, "lease-"+spec.Interface+"-6.json") }

// Save implements Store. The file is replaced in one step.
func (f Files) Save(spec Spec, lease *Lease) error {
	path := f.path(spec)
	if lease == nil {
		return dhcp.WritePage(path, nil)
	}
	at := dhcp.MomentsOf(f.Clock)
	entries := func(list []Lent) []entry {
		out := make([]entry, len(list))
		for i, x := range list {
			out[i] = entry{x.Prefix, at(x.Preferred), at(x.Valid)}
		}
		return out
	}
	return dhcp.WritePage(path, page{
		Interface: spec.Interface, MAC: spec.MAC, BootID: f.Clock.BootID(), Written: time.Now().Round(0),
		Server: lease.Server, Addresses: entries(lease.Addresses), Prefixes: entries(lease.Prefixes),
		DNS: lease.DNS, Domain: lease.Domain, Renew: at(lease.Renew), Rebind: at(lease.Rebind),
	})
}

// Load implements Store.
func (f Files) Load(spec Spec) (*Lease, error) {
	return dhcp.ReadPage(f.path(spec), func(b []byte) (*Lease, error) { return f.parse(b, spec) })
}

func (f Files) parse(b []byte, spec Spec) (*Lease, error) {
	var p page
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, err
	}
	if p.Interface != spec.Interface || p.MAC != spec.MAC {
		return nil, fmt.Errorf("it is of %s with %s, not of %s with %s", p.Interface, p.MAC, spec.Interface, spec.MAC)
	}
	if len(p.Server) == 0 || len(p.Server) > duidMost {
		return nil, errors.New("it names no server")
	}
	at, err := dhcp.TimesOf(f.Clock, p.BootID, p.Written)
	if err != nil {
		return nil, err
	}
	lease := Lease{Server: p.Server, Domain: text(p.Domain), Renew: at(p.Renew), Rebind: at(p.Rebind)}
	if lease.Addresses, err = lentOf(p.Addresses, at, 128, 128); err != nil {
		return nil, err
	}
	if lease.Prefixes, err = lentOf(p.Prefixes, at, shortestPrefix, 64); err != nil {
		return nil, err
	}
	for _, a := range p.DNS[:min(len(p.DNS), serversMost)] {
		if a.Is6() {
			lease.DNS = append(lease.DNS, a)
		}
	}
	left := lease.at(time.Now())
	if left == nil || len(left.Addresses)+len(left.Prefixes) == 0 {
		return nil, errors.New("it has expired")
	}
	return left, nil
}

// lentOf returns what entries say, each of a length between two.
func lentOf(list []entry, at func(*dhcp.Moment) time.Time, shortest, longest int) (lent []Lent, err error) {
	for _, e := range list[:min(len(list), lentMost)] {
		if !hostAddress(e.Prefix.Addr()) || e.Prefix.Bits() < shortest || e.Prefix.Bits() > longest {
			return nil, fmt.Errorf("%s is nothing that is lent", e.Prefix)
		}
		lent = append(lent, Lent{e.Prefix.Masked(), at(e.Preferred), at(e.Valid)})
	}
	return lent, nil
}
