// Package resolver gives the host's resolver the DNS servers of the uplinks: as a file that
// resolv.conf(5) describes, or to systemd-resolved over D-Bus.
package resolver

import (
	"context"
	"errors"
	"path/filepath"

	"uplinkd/configs"
	"uplinkd/uplink"
)

// fileName is that of the file of servers.
const fileName = "resolv.conf"

// A Host is what the servers are given to. One goroutine uses it.
type Host struct {
	path     string
	written  bool // path is ours: what others put there is put right
	resolved resolved
}

// New returns the host whose file of servers lies in a directory: resolv.conf in that of the
// control socket.
func New(dir string) *Host { return &Host{path: filepath.Join(dir, fileName)} }

// Offer gives the servers that are to be asked, and takes back what was given another way. It
// does nothing where all is as it is to be, and blocks until the disk or systemd-resolved have
// answered, or ctx ends.
func (h *Host) Offer(ctx context.Context, d uplink.DNS) error {
	var errs []error
	if d.Mode == configs.DNSFile {
		errs = append(errs, h.write(d))
	} else {
		errs = append(errs, h.remove())
	}
	var links []uplink.DNSLink
	if d.Mode == configs.DNSResolved {
		links = d.Links
	}
	return errors.Join(append(errs, h.resolved.give(ctx, links))...)
}

// TakeBack takes back what any process of ours may have given, by way of d: the file, and in
// systemd-resolved what is set of d's links.
func (h *Host) TakeBack(ctx context.Context, d uplink.DNS) error {
	err := h.remove()
	if d.Mode == configs.DNSResolved {
		for i := range d.Links {
			d.Links[i].Offered = false
		}
		err = errors.Join(err, h.resolved.give(ctx, d.Links))
	}
	return err
}
