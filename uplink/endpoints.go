package uplink

import (
	"slices"

	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// subflowsMost is how many subflows a connection may have beside its first: as many as there
// may be endpoints (MPTCP_PM_ADDR_MAX).
const subflowsMost = "8"

// endpoints has MPTCP connections use every path that works: what carries new connections
// as an equal, what is doubtful, drained or of a worse tier as backup, what is down not at
// all. The kernel takes eight, and the first of the file are given.
func (d *desired) endpoints() {
	if !d.state.Config.MPTCP {
		return
	}
	d.sysctl("net/mptcp/enabled", "1")
	d.set.Settings = append(d.set.Settings, routes.NewMPTCPSubflows(subflowsMost))
	for i := range d.state.Uplinks {
		u := &d.state.Uplinks[i]
		for p := range u.Present() {
			backup, serves := p.servesMPTCP()
			for _, a := range u.Addresses(p) {
				if serves && slices.Contains(p.Assigned, a) {
					d.endpoint(routes.Endpoint{
						Address: a.Addr(), Interface: u.Config.Interface, Backup: backup,
						Protocol: d.set.Owner.Protocol,
					})
				}
			}
		}
	}
}

// endpoint adds one. The kernel takes one an address: of two uplinks with the same, behind
// carrier-grade NAT, the first has it.
func (d *desired) endpoint(e routes.Endpoint) {
	same := func(other routes.Endpoint) bool { return other.Address == e.Address }
	if len(d.set.Endpoints) < routes.Endpoints && !slices.ContainsFunc(d.set.Endpoints, same) {
		d.set.Endpoints = append(d.set.Endpoints, e)
	}
}

// servesMPTCP reports whether the path is to have an endpoint, and whether as backup. What
// carries as the last resort keeps it: its connections have no other.
func (p *Path) servesMPTCP() (backup, serves bool) {
	switch p.OperState {
	case api.Up:
		return !p.Carries, true
	case api.Doubtful, api.Drained:
		return true, true
	case api.Starting, api.Down, api.Disabled:
	}
	return false, p.Carries
}
