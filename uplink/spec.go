package uplink

import (
	"fmt"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
)

// respec brings what is to be probed up to date. Another interface, gateway or
// target begins another series: nothing that was proved before counts for it.
// Another address on the same link does not; until that is in place the probes
// go on from the old one.
func (s *State) respec(u *Uplink) {
	spec := probeSpec(u)
	if spec == nil {
		u.Probe, u.Series, u.subject = nil, 0, subject{}
		return
	}
	about := subject{index: spec.Index, targets: fmt.Sprint(spec.Targets)}
	if u.Series == 0 || about != u.subject {
		s.series++
		u.Series, u.subject = s.series, about
	}
	spec.Series = u.Series
	switch {
	case u.seen():
		u.Probe = spec
	case u.Probe != nil && u.Probe.Series != u.Series:
		u.Probe = nil
	}
}

// probeSpec returns what is to be probed, nil when nothing can be.
func probeSpec(u *Uplink) *probe.Spec {
	hop, ok := u.NextHop()
	addresses := u.Addresses()
	if u.Disabled || !u.Link.Up || !u.Link.Carrier || len(addresses) == 0 || !ok {
		return nil
	}
	c := u.Config.Probe
	spec := &probe.Spec{
		Interface: u.Config.Interface, Index: u.Link.Index, Source: addresses[0].Prefix.Addr(),
		Mark: u.Config.FwMark, Quorum: c.Quorum,
		Pace: probe.Pace{
			Interval: c.Interval, Timeout: c.Timeout, Confirm: c.Confirm, DownAfter: c.DownAfter, UpAfter: c.UpAfter,
		},
	}
	for _, t := range c.Targets {
		if t.Gateway {
			t.IP = hop.Gateway
		}
		spec.Targets = append(spec.Targets, t.IP)
	}
	return spec
}

// leaseSpec returns where a lease is to be kept, nil for nowhere. While the
// interface is away the lease runs on.
func leaseSpec(u *Uplink) *dhcp.Spec {
	if u.Config.Address != configs.AddressDHCP || u.Disabled || u.MAC == "" {
		return nil
	}
	return &dhcp.Spec{
		Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Link.Index, MAC: u.MAC,
		Carrier: u.Link.Up && u.Link.Carrier, Mark: u.Config.FwMark, Router: u.Config.Gateway == configs.GatewayLease,
	}
}
