package uplink

import (
	"fmt"
	"net/netip"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
)

// respec brings what is to be probed up to date. Another interface, gateway or
// target begins another series: nothing that was proved before counts for it.
// Another address on the same link does not; until that is in place the probes
// go on from the old one.
func (s *State) respec(i int, now time.Time) {
	u := &s.Uplinks[i]
	spec := probeSpec(u)
	if spec == nil {
		u.Probe, u.Series, u.subject = nil, 0, subject{}
		return
	}
	about := subject{index: spec.Index, targets: fmt.Sprint(spec.Targets)}
	if u.Series == 0 || about != u.subject {
		s.series++
		u.Series, u.subject, u.Began = s.series, about, now
	}
	spec.Series = u.Series
	spec.Hurry, spec.Void = s.hurry(i), s.void(i)
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
	if u.Disabled() || !u.Link.Up || !u.Link.Carrier || len(addresses) == 0 || !ok {
		return nil
	}
	c := &u.Config.Probe
	spec := &probe.Spec{
		Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Link.Index,
		Source: addresses[0].Prefix.Addr(), Gateway: hop.Gateway, Mark: u.Config.FwMark, Budget: c.Budget,
		Pace: probe.Pace{
			Interval: c.Interval, Timeout: c.Timeout, Confirm: c.Confirm, DownAfter: c.DownAfter, UpAfter: c.UpAfter,
		},
		Limits: probe.Limits{
			Loss: c.MaxLoss, ReturnLoss: c.ReturnLoss, RTT: c.MaxRTT, ReturnRTT: c.ReturnRTT,
			Jitter: c.MaxJitter, ReturnJitter: c.ReturnJitter,
		},
	}
	if lease := u.lease(); lease != nil {
		spec.DNS = lease.DNS
	}
	for _, t := range c.Targets {
		spec.Targets = append(spec.Targets, probeTarget(t, c, hop.Gateway))
	}
	return spec
}

// probeTarget turns a target of the configuration into one of the probes.
func probeTarget(t configs.Target, c *configs.Probe, gateway netip.Addr) probe.Target {
	to := probe.Target{Name: t.Text, IP: t.IP}
	switch t.Kind {
	case configs.TargetGateway:
		to.Name, to.IP = gateway.String(), gateway
	case configs.TargetIP:
	case configs.TargetTCP:
		to.Kind, to.Port = probe.TCP, t.Port
	case configs.TargetHTTP:
		to.Kind, to.URL, to.Status, to.Body = probe.HTTP, t.Rest, c.Expect.Status, c.Expect.Body
	case configs.TargetDNS:
		to.Kind, to.Query = probe.DNS, t.Rest
	case configs.TargetExec:
		to.Kind, to.Program, to.Limit = probe.Exec, t.Rest, c.ExecTimeout
	}
	return to
}

// mostDoubtPause is the longest time between two questions about a lease over
// which nothing answers.
const mostDoubtPause = 10 * time.Minute

// doubts returns how often, by now, there was reason to doubt the lease. While
// the probes are dead and all else stands, that is after renew_after, and again
// at pauses that double: a provider that has forgotten its customer is the
// commonest outage that a person ends by hand. The operator's wishes count too.
func (u *Uplink) doubts(now time.Time) int {
	count := u.Asked
	pause := u.Config.DHCP.RenewAfter
	if u.Phase != Down || u.obstacle().why != "" || pause == 0 {
		return count
	}
	for at := u.Since.Add(pause); !at.After(now); at = at.Add(pause) {
		count++
		pause = min(pause*2, mostDoubtPause)
		if pause == mostDoubtPause {
			return count + int(now.Sub(at)/pause)
		}
	}
	return count
}

// leaseSpec returns where a lease is to be kept, nil for nowhere. While the
// interface is away the lease runs on.
func leaseSpec(s *State, u *Uplink) *dhcp.Spec {
	if u.Config.Address != configs.AddressDHCP || u.Disabled() || u.MAC == "" {
		return nil
	}
	check := map[configs.ConflictProbe]dhcp.Check{
		configs.ConflictQuick: dhcp.CheckQuick, configs.ConflictRFC5227: dhcp.CheckRFC5227,
		configs.ConflictNone: dhcp.CheckNone,
	}
	return &dhcp.Spec{
		Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Link.Index, MAC: u.MAC,
		Carrier: u.Link.Up && u.Link.Carrier, Mark: u.Config.FwMark, Doubts: u.Doubts, Slept: s.Slept,
		Router: u.Config.Gateway == configs.GatewayLease, Options: dhcp.Options(u.Config.DHCP.Send),
		Check: check[u.Config.DHCP.ConflictProbe],
	}
}
