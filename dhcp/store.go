package dhcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"
)

// A Store keeps leases across restarts of the process.
type Store interface {
	// Load returns the lease last saved for the interface and MAC of spec, or nil
	// when there is none that is still in force. An error says why one that is
	// there cannot be used; it is then as if there were none.
	Load(spec Spec) (*Lease, error)

	// Save keeps a lease, or with nil forgets the last one.
	Save(spec Spec, lease *Lease) error
}

// Files is a Store of one file an interface in a directory.
type Files struct {
	Dir   string
	Clock Clock
}

var _ Store = Files{}

// A page is a lease on disk. Times are told twice: on the wall clock, and since
// the boot it was written in.
type page struct {
	Interface string       `json:"interface"`
	MAC       string       `json:"mac"`
	BootID    string       `json:"boot_id"`
	Written   time.Time    `json:"written"`
	Prefix    netip.Prefix `json:"prefix"`
	Router    netip.Addr   `json:"router,omitzero"`
	Server    netip.Addr   `json:"server"`
	DNS       []netip.Addr `json:"dns,omitempty"`
	Domain    string       `json:"domain,omitempty"`
	MTU       int          `json:"mtu,omitempty"`
	Renew     *Moment      `json:"renew,omitempty"` // none: the lease never ends
	Rebind    *Moment      `json:"rebind,omitempty"`
	Expire    *Moment      `json:"expire,omitempty"`
}

func (f Files) path(spec Spec) string { return filepath.Join(f.Dir, "lease-"+spec.Interface+".json") }

// Save implements Store. The file is replaced in one step.
func (f Files) Save(spec Spec, lease *Lease) error {
	path := f.path(spec)
	if lease == nil {
		return WritePage(path, nil)
	}
	p := page{
		Interface: spec.Interface, MAC: spec.MAC, BootID: f.Clock.BootID(), Prefix: lease.Prefix,
		Router: lease.Router, Server: lease.Server, DNS: lease.DNS, Domain: lease.Domain, MTU: lease.MTU,
		Written: time.Now().Round(0),
	}
	if !lease.Infinite() {
		at := MomentsOf(f.Clock)
		p.Renew, p.Rebind, p.Expire = at(lease.Renew), at(lease.Rebind), at(lease.Expire)
	}
	return WritePage(path, p)
}

// Load implements Store.
func (f Files) Load(spec Spec) (*Lease, error) {
	return ReadPage(f.path(spec), func(b []byte) (*Lease, error) {
		var p page
		if err := json.Unmarshal(b, &p); err != nil {
			return nil, err
		}
		return f.lease(&p, spec)
	})
}

// check refuses what is not about this interface, or is no lease.
func (p *page) check(spec Spec) error {
	switch {
	case p.Interface != spec.Interface || p.MAC != spec.MAC:
		return fmt.Errorf("it is of %s with %s, not of %s with %s", p.Interface, p.MAC, spec.Interface, spec.MAC)
	case !p.Prefix.IsValid() || !p.Prefix.Addr().Is4() || !hostAddress(p.Prefix.Addr()) || !p.Server.Is4():
		return fmt.Errorf("%s from %s is no lease", p.Prefix, p.Server)
	case p.Router.IsValid() && !p.Router.Is4():
		return fmt.Errorf("%s is no router", p.Router)
	case p.MTU != 0 && (p.MTU < mtuLeast || p.MTU >= 1<<16):
		return fmt.Errorf("%d is no MTU", p.MTU)
	case (p.Renew == nil) != (p.Expire == nil) || (p.Rebind == nil) != (p.Expire == nil):
		return errors.New("some of its times are missing")
	}
	return nil
}

// lease returns what a page says, if it is about this interface and in force.
func (f Files) lease(p *page, spec Spec) (*Lease, error) {
	if err := p.check(spec); err != nil {
		return nil, err
	}
	lease := &Lease{
		Prefix: p.Prefix, Router: p.Router, Server: p.Server, DNS: p.DNS, Domain: printable(p.Domain), MTU: p.MTU,
	}
	if p.Expire == nil {
		return lease, nil
	}
	at, err := TimesOf(f.Clock, p.BootID, p.Written)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	lease.Renew, lease.Rebind, lease.Expire = at(p.Renew), at(p.Rebind), at(p.Expire)
	switch {
	case !now.Before(lease.Expire):
		return nil, fmt.Errorf("it has expired at %s", lease.Expire.Format(time.RFC3339))
	case lease.Rebind.Before(lease.Renew) || lease.Expire.Before(lease.Rebind):
		return nil, errors.New("its times are out of order")
	}
	return lease, nil
}
