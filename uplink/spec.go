package uplink

import (
	"net/netip"
	"slices"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/dhcp/dhcp6"
	"uplinkd/dhcp/ra"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// A subject is what a series of probes proves: these targets, by this interface.
type subject struct {
	index   int
	targets []probe.Target // never changed once made
}

// is reports whether the subject is still what the path is to be probed for.
func (s *subject) is(u *Uplink, c *configs.Probe, gateway netip.Addr) bool {
	if s.index != u.Device.Link.Index || len(s.targets) != len(c.Targets) {
		return false
	}
	for i, t := range c.Targets {
		if s.targets[i] != ProbeTarget(t, c, gateway) {
			return false
		}
	}
	return true
}

// decideSeries decides what is proved of a path. Another interface, gateway or
// target begins another series: nothing that was proved before counts for it.
// Another address on the same link does not.
func (s *State) decideSeries(u *Uplink, p *Path, now time.Time) {
	hop, ok := u.probeable(p)
	if !ok {
		p.Probe, p.Series, p.subject = nil, 0, subject{}
		return
	}
	if p.Series != 0 && p.subject.is(u, &u.In(p.Family).Probe, hop.Gateway) {
		return
	}
	s.series++
	c := &u.In(p.Family).Probe
	p.Series, p.SeriesStart, p.subject = s.series, now, subject{index: u.Device.Link.Index}
	for _, t := range c.Targets {
		p.subject.targets = append(p.subject.targets, ProbeTarget(t, c, hop.Gateway))
	}
}

// probeable returns the next hop of a path that can be probed, and whether it can.
func (u *Uplink) probeable(p *Path) (routes.NextHop, bool) {
	hop, ok := u.NextHop(p)
	link := &u.Device.Link
	return hop, ok && !u.DisabledIn(p.Family) && link.Up && link.Carrier && len(u.Addresses(p)) > 0
}

// ProbeTarget turns a target of the configuration into one of the probes.
func ProbeTarget(t configs.Target, c *configs.Probe, gateway netip.Addr) probe.Target {
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
	case configs.TargetSOCKS5:
		to.Kind, to.Port, to.Server = probe.SOCKS5, t.Port, t.Rest
	case configs.TargetAgent:
		to.Kind, to.Server = probe.Agent, t.Rest
	case configs.TargetExec:
		to.Kind, to.Program, to.Limit = probe.Exec, t.Rest, c.ExecTimeout
	}
	return to
}

// decideProbe decides what is probed now. Until a new address is in place the
// probes go on from the old one.
func (u *Uplink) decideProbe(p *Path, shared opinions) {
	switch {
	case p.Series == 0:
	case u.assigned(p):
		if spec := u.probeSpec(p, shared); p.Probe == nil || !p.Probe.Equal(&spec) {
			fresh := spec
			p.Probe = &fresh
		}
	case p.Probe != nil && p.Probe.Series != p.Series:
		p.Probe = nil
	}
}

var probeRules = [...]probe.Rule{configs.RuleLearned: probe.Learned, configs.RuleFixed: probe.Fixed}

func (u *Uplink) probeSpec(p *Path, shared opinions) probe.Spec {
	c := &u.In(p.Family).Probe
	hop, _ := u.NextHop(p)
	spec := probe.Spec{
		Series: p.Series, Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Device.Link.Index,
		Source: u.Addresses(p)[0].Addr(), Gateway: hop.Gateway, Mark: u.Config.FwMark,
		Targets: p.subject.targets, Budget: c.Budget,
		Pace: probe.Pace{
			Interval: c.Interval, Timeout: c.Timeout, Confirm: c.Confirm, DownAfter: c.DownAfter, UpAfter: c.UpAfter,
			Rule: probeRules[c.Rule], DownWithin: c.DownWithin, DownWithinMax: c.DownWithinMax,
		},
		Limits: probe.Limits{
			Loss: c.MaxLoss, ReturnLoss: c.ReturnLoss, RTT: c.MaxRTT, ReturnRTT: c.ReturnRTT,
			Jitter: c.MaxJitter, ReturnJitter: c.ReturnJitter,
		},
		Hurry: u.hurry(p, shared), Void: u.void(p, shared),
	}
	if p.Lease != nil {
		spec.DNS = p.Lease.DNS
	}
	if len(spec.DNS) == 0 { // a fixed address comes with none, and the host's may be of the other family alone
		spec.DNS = u.nameservers(p)
	}
	return spec
}

// mostConfirmPause is the longest time between two requests to confirm a lease
// over which nothing answers.
const mostConfirmPause = 10 * time.Minute

// confirmRequests returns how often, by now, there was reason to have the lease
// confirmed. While the probes are dead and all else stands, that is after
// renew_after, and again at pauses that double: a provider that has forgotten its
// customer is the commonest outage that a person ends by hand. The operator's wishes
// count too.
func (u *Uplink) confirmRequests(p *Path, now time.Time) int {
	count := p.OperatorRenews
	pause := u.Config.DHCP.RenewAfter
	if p.OperState != api.Down || pause == 0 || u.obstacle(p).reason != "" {
		return count
	}
	for at := p.Since.Add(pause); !at.After(now); at = at.Add(pause) {
		count++
		pause = min(pause*2, mostConfirmPause)
		if pause == mostConfirmPause {
			return count + int(now.Sub(at)/pause)
		}
	}
	return count
}

var addressChecks = [...]dhcp.AddressCheck{
	configs.ConflictQuick: dhcp.CheckQuick, configs.ConflictRFC5227: dhcp.CheckRFC5227,
	configs.ConflictNone: dhcp.CheckNone,
}

// leaseSpec returns where a lease is to be kept, and whether one is. While the
// interface is away the lease runs on.
func (s *State) leaseSpec(u *Uplink, p *Path) (dhcp.Spec, bool) {
	if !u.KeepsLease() || p.Family != IPv4 {
		return dhcp.Spec{}, false
	}
	return dhcp.Spec{
		Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Device.Link.Index, MAC: u.Device.MAC,
		Carrier: u.Device.Link.Up && u.Device.Link.Carrier, Mark: u.Config.FwMark,
		ConfirmRequests: p.ConfirmRequests, SuspendedFor: s.SuspendedFor,
		Router: u.Config.Gateway == configs.GatewayLease, Options: dhcp.Options(u.Config.DHCP.Send),
		Check: addressChecks[u.Config.DHCP.ConflictProbe],
	}, true
}

// routerSpec returns where routers are to be heard, and whether they are.
func (s *State) routerSpec(u *Uplink, p *Path) (ra.Spec, bool) {
	c := u.In(p.Family)
	if p.Family != IPv6 || u.DisabledIn(IPv6) || c.Address != configs.AddressAuto && c.Gateway != configs.GatewayRA {
		return ra.Spec{}, false
	}
	spec := ra.Spec{
		Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Device.Link.Index, MAC: u.Device.MAC,
		Carrier: u.Device.Link.Up && u.Device.Link.Carrier, SuspendedFor: s.SuspendedFor,
	}
	if c.Gateway == configs.GatewayFixed && c.GatewayIP.IsLinkLocalUnicast() {
		spec.Only = c.GatewayIP
	}
	return spec, true
}

// lease6Spec returns where a lease of DHCPv6 is to be kept, and whether one is: an address where routers say
// so, or say nothing, and a prefix for the LAN.
func (s *State) lease6Spec(u *Uplink, p *Path) (dhcp6.Spec, bool) {
	seen := u.Device.Link.Index != 0 || u.Device.UpIndex != 0 // what is kept is of an interface that is known
	if p.Family != IPv6 || u.DisabledIn(IPv6) || !seen {
		return dhcp6.Spec{}, false
	}
	spec := dhcp6.Spec{
		Uplink: u.Config.Name, Interface: u.Config.Interface, Index: u.Device.Link.Index, MAC: u.Device.MAC,
		LinkLocal: u.Device.LinkLocal, Carrier: u.Device.Link.Up && u.Device.Link.Carrier,
		Address: u.asksForAddress(p), Prefix: s.wantsPrefix(u), PrefixLength: u.Config.IPv6.PrefixLength,
		ConfirmRequests: p.ConfirmRequests, SuspendedFor: s.SuspendedFor,
	}
	if l := p.Report.Lease; l != nil && (slices.Contains(p.Duplicate, l.Prefix) || p.Refused.has(l.Prefix, s.At)) {
		spec.Duplicate = l.Prefix.Addr()
	}
	return spec, spec.Address || spec.Prefix
}

// asksForAddress reports whether an address is to be had by DHCPv6 (RFC 4861 section 4.2, M). What has been
// lent is kept whatever a router says later: one that starts says little at first.
func (u *Uplink) asksForAddress(p *Path) bool {
	if u.Config.IPv6.Address != configs.AddressAuto {
		return false
	}
	lent := p.Report.Lease != nil && p.Report.Lease.Prefix.IsValid()
	return p.Advert.Managed || p.Advert.Silent || lent
}

// KeepsLease reports whether our DHCP client is at work for the uplink.
func (u *Uplink) KeepsLease() bool {
	return u.Config.Address == configs.AddressDHCP && !u.DisabledIn(IPv4) && u.Device.MAC != ""
}
