package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/routes/firewall"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// Snapshot returns how things stand. It may be called from any goroutine, asks the
// kernel nothing, and leaves the daemon's own part to the caller.
func (e *Engine) Snapshot() api.Snapshot {
	e.meter.show()
	v := e.now()
	s := api.Snapshot{
		Version: api.Version, Kernel: kernelStatus(v.applied, v.generation), DefaultRoute: defaultRoute(v, uplink.IPv4),
		LAN: lanStatus(&v.state),
	}
	if v.state.Has(uplink.IPv6) {
		route := defaultRoute(v, uplink.IPv6)
		s.DefaultRoute6 = &route
	}
	s.Daemon.OrdersError = e.keeper.failure()
	s.Daemon.LongestStep = api.Millis(v.longest)
	s.Daemon.LastEvent, s.Daemon.SwitchesChanged = e.eventLog.newest(), e.switches.changes()
	s.Daemon.MeterErrors = e.failures()
	s.Policies, s.DNS = policyStatus(v), e.resolver.status(v.state.DNS())
	for i := range v.state.Uplinks {
		u := &v.state.Uplinks[i]
		line := uplinkStatus(u, v)
		if w := e.worker(u, u.First()); w != nil {
			line.Probes = probeStatus(u, u.First(), w.prober.Status())
			line.ProbeInterval = api.Millis(w.prober.Interval())
			c := &u.In(u.First().Family).Probe
			line.ProbeStretched, line.ProbeBudget = w.prober.Interval() > c.Interval, c.Budget
		}
		if u.Has(uplink.IPv6) {
			line.IPv6 = e.ipv6Status(u)
		}
		s.Uplinks = append(s.Uplinks, line)
	}
	return s
}

// Figures returns what has been counted. It may be called from any goroutine.
func (e *Engine) Figures() *api.Figures {
	f := &api.Figures{Lag: &e.lag, Steps: &e.steps}
	e.switches.fill(f)
	for kind, times := range e.reconciler.Times() {
		f.Operations = append(f.Operations, api.OperationFigures{Kind: routes.Kind(kind).String(), Times: times})
	}
	for by, n := range e.reconciler.RepairsBy() {
		f.Repairs = append(f.Repairs, api.RepairCount{By: by, N: n})
	}
	return f
}

// worker returns the worker of a path, nil when there is none yet.
func (e *Engine) worker(u *uplink.Uplink, p *uplink.Path) *worker {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.workers.active[path{u.Config.Interface, p.Family}]
}

// failures returns what cannot be measured, and why.
func (e *Engine) failures() []string {
	list, m := []string{}, e.meter
	for _, text := range []string{
		e.listener.failure(), m.connections.failure(), m.flows.failure(), m.stalled.failure(), m.counters.failure(),
	} {
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}

// policyStatus returns where each policy leads, and what it has counted.
func policyStatus(v view) []api.Policy {
	list := make([]api.Policy, len(v.state.Config.Policies))
	for i, p := range v.state.Config.Policies {
		list[i] = api.Policy{Name: p.Name}
		list[i].Leads, list[i].Passed = v.state.Leads(i, uplink.IPv4), v.state.Passed(i, uplink.IPv4)
		if v.state.Has(uplink.IPv6) {
			list[i].LeadsIPv6, list[i].PassedIPv6 = v.state.Leads(i, uplink.IPv6), v.state.Passed(i, uplink.IPv6)
		}
		if !v.state.Has(uplink.IPv4) {
			list[i].Leads, list[i].Passed = list[i].LeadsIPv6, list[i].PassedIPv6
		}
		if count, ok := v.counters[firewall.Policy{Name: p.Name}.Counter()]; ok {
			list[i].Packets, list[i].Bytes = api.Known(count.Packets), api.Known(count.Bytes)
		}
	}
	return list
}

func uplinkStatus(u *uplink.Uplink, v view) api.Uplink {
	p := u.First()
	c := u.In(p.Family)
	hop, _ := u.NextHop(p)
	addresses := u.Addresses(p)
	prefixes := make([]string, len(addresses))
	for i, a := range addresses {
		prefixes[i] = a.String()
	}
	line := api.Uplink{
		Name: u.Config.Name, Interface: u.Config.Interface, Family: p.Family.String(),
		State: p.OperState, Reason: reasonOf(u, p),
		Since: p.Since, Active: p.Carries, Weight: c.Weight, Tier: c.Tier, Table: u.Config.Table,
		FwMark: u.Config.FwMark, Address: strings.Join(prefixes, " "),
		Addresses: append([]netip.Prefix{}, addresses...),
		Gateway:   hop.Gateway, Probes: []api.Probe{},
		Quota:           quotaStatus(u),
		EffectiveWeight: p.Weight, MaxConnections: u.Config.MaxConnections, Capped: u.Load.Capped,
		Hold: api.Hold{Falls: p.Health.Hold.Falls, Until: api.When{Time: p.Health.Hold.Until}},
	}
	if u.Admin != (uplink.Admin{}) {
		order := orderOf(u.Admin)
		line.Order = &order
	}
	if p.Advice.Given {
		line.AgentPercent = api.Known(p.Advice.Percent)
	}
	line.Counters, line.MPTCP = counters(u, v), endpointStatus(u, v)
	if u.KeepsLease() && p.Family == uplink.IPv4 {
		line.DHCP = dhcpStatus(p)
	}
	return line
}

// reasonOf says why a path is as it is, and why it carries all the same.
func reasonOf(u *uplink.Uplink, p *uplink.Path) string {
	switch {
	case p.Carries && p.OperState == api.Doubtful:
		return p.Reason + "; nothing better is up"
	case p.Carries && p.OperState != api.Up && p.OperState != api.Starting:
		return p.Reason + "; kept as a last resort"
	case p.Advice.Given && p.OperState == api.Up:
		return p.Reason + "; its agent wants " + p.Advice.String()
	case u.Config.Quota.Bytes > 0 && u.Usage.Used >= u.Config.Quota.Bytes:
		return p.Reason + fmt.Sprintf("; its quota of %s is used up", configs.BytesText(u.Config.Quota.Bytes))
	case u.Load.Capped:
		return p.Reason + fmt.Sprintf("; at its limit of %d connections", u.Config.MaxConnections)
	}
	return p.Reason
}

// endpointStatus returns what the uplink's MPTCP endpoint in the kernel is, "" where it has none.
func endpointStatus(u *uplink.Uplink, v view) string {
	for _, e := range v.applied.Endpoints() {
		switch {
		case e.Interface != u.Config.Interface || e.NoSubflow:
		case e.Backup:
			return "backup"
		default:
			return "subflow"
		}
	}
	return ""
}

// counters returns what an uplink carries.
func counters(u *uplink.Uplink, v view) api.Counters {
	name := u.Config.Interface
	c := api.Counters{Connections: connectionsOf(u, v.connections)}
	if t, ok := v.traffic[name]; ok {
		c.RxBytes, c.TxBytes = api.Known(t.RxBytes), api.Known(t.TxBytes)
		if t.rated {
			c.RxBPS, c.TxBPS = api.Known(t.rx), api.Known(t.tx)
		}
	}
	return c
}

func dhcpStatus(p *uplink.Path) *api.DHCP {
	d := &api.DHCP{State: p.Report.State, Reason: p.Report.Reason, DNS: []netip.Addr{}}
	if lease := p.Report.Lease; lease != nil {
		d.Server = lease.Server
		d.Expire, d.Renew = api.When{Time: lease.Expire}, api.When{Time: lease.Renew}
		d.Rebind = api.When{Time: lease.Rebind}
		d.DNS = append(d.DNS, lease.DNS...)
		d.Domain, d.MTU, d.SubnetMask = lease.Domain, lease.MTU, subnetMask(lease.Prefix)
	}
	if p.PrefixClash != "" {
		d.Reason += "; " + p.PrefixClash
	}
	if r := p.Report.Rival; r.MAC != "" {
		d.Conflict = &api.Rival{MAC: r.MAC, At: r.At}
	}
	return d
}

// subnetMask returns the mask of a prefix, as people write it.
func subnetMask(p netip.Prefix) netip.Addr {
	if !p.IsValid() || p.Addr().Is6() {
		return netip.Addr{}
	}
	ones, _ := netip.AddrFrom4([4]byte{255, 255, 255, 255}).Prefix(p.Bits())
	return ones.Addr()
}

// probeStatus returns what is known of each target: the figures of the moment, and
// the verdict that the uplink's state rests on, so that the two never disagree.
func probeStatus(u *uplink.Uplink, p *uplink.Path, list []probe.TargetStatus) []api.Probe {
	probes := make([]api.Probe, len(list))
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	decided := u.Evidence(p)
	for i, t := range list {
		probes[i] = api.Probe{
			Target: t.Target, State: t.Verdict.String(), Reason: t.Reason, Bytes: t.Bytes,
			RTT: milliseconds(t.RTT), Jitter: milliseconds(t.Jitter),
			Loss: t.Loss, Sent: t.Sent, Received: t.Received, LastError: t.Err,
			RTTs: &t.Figures.RTTs, Silences: &t.Figures.Silences,
		}
		if !t.Heard.IsZero() {
			probes[i].Silence = api.Millis(max(time.Since(t.Heard), 0))
		}
		if t.DownAfter > 0 {
			probes[i].LateAfter, probes[i].DownAfter = milliseconds(t.LateAfter), milliseconds(t.DownAfter)
			probes[i].Spread, probes[i].Survived = milliseconds(t.Learned.Spread), milliseconds(t.Learned.Survived)
		}
		if len(decided) == len(list) {
			probes[i].State, probes[i].Reason = decided[i].Verdict.String(), decided[i].Reason
			if decided[i].Doubtful {
				probes[i].State = string(api.Doubtful)
			}
		}
	}
	return probes
}

// kernelStatus tells of the last look at the kernel. In sync is what has been compared with
// all that is wanted by now, and not with what was wanted before.
func kernelStatus(a routes.Applied, wanted uint64) api.Kernel {
	k := api.Kernel{
		InSync: a.InSync && a.Generation >= wanted, Repairs: a.Repairs, Ops: a.Ops,
		Conflicts: []api.Conflict{}, Pending: []api.Pending{}, Fights: []api.Fight{},
	}
	if a.Err != nil {
		k.LastError = a.Err.Error()
	}
	for _, c := range a.Plan.Conflicts {
		k.Conflicts = append(k.Conflicts, api.Conflict(c))
	}
	for _, p := range a.Pending {
		pending := api.Pending{
			Object: routes.KeyOf(p.Op).String(), Operation: routes.Brief(p.Op),
			NextTry: api.When{Time: p.NextTry}, By: p.By,
		}
		if p.Err != nil {
			pending.Error = p.Err.Error()
		}
		k.Pending = append(k.Pending, pending)
	}
	for _, f := range a.Fights {
		k.Fights = append(k.Fights, api.Fight{
			Object: f.Key.String(), Repairs: f.Repairs, By: f.By, Remedy: uplink.RemedyOf(f),
		})
	}
	return k
}

// defaultRoute returns the shared default route as it is in the kernel: as it
// was read, with what has been made of it since.
func defaultRoute(v view, f uplink.Family) api.DefaultRoute {
	c := &v.state.Config.Routes
	d := api.DefaultRoute{Table: c.Table, Metric: uplink.MetricIn(f, c.Metric), NextHops: []api.NextHop{}}
	hops := sharedHops(v.applied, c, f)
	for _, hop := range hops {
		name := ""
		if u := v.state.On(hop.Interface); u != nil {
			name = u.Config.Name
			if len(hops) == 1 { // the kernel keeps no weight of a sole one: it would be 1 once it has been read
				hop.Weight = u.Paths[f].Weight
			}
		}
		d.NextHops = append(d.NextHops, api.NextHop{
			Uplink: name, Interface: hop.Interface, Gateway: hop.Gateway, Weight: hop.Weight,
		})
	}
	return d
}

func sharedHops(a routes.Applied, c *configs.Routes, f uplink.Family) []routes.NextHop {
	var hops []routes.NextHop
	for _, r := range a.After().Routes {
		sameFamily := r.Dst.Addr().Is6() == (f == uplink.IPv6)
		isDefault := r.Table == c.Table && r.Metric == uplink.MetricIn(f, c.Metric) && r.Dst.Bits() == 0
		if sameFamily && isDefault && r.Protocol == c.Protocol {
			hops = r.NextHops
		}
	}
	return hops
}
