package uplink

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/status"
)

// Snapshot returns how things stand. It may be called from any goroutine, and
// leaves the daemon's own part to the caller.
func (e *Engine) Snapshot() status.Snapshot {
	e.mu.Lock()
	v := e.view
	probers := make(map[string]*probe.Prober, len(e.actors))
	for name, a := range e.actors {
		probers[name] = a.prober
	}
	e.mu.Unlock()

	s := status.Snapshot{Version: status.Version, Kernel: kernelStatus(v.applied), DefaultRoute: defaultRoute(v)}
	s.Daemon.OrdersError = v.unkept
	s.Policies = e.policies(&v.state)
	active := map[int]bool{}
	for _, i := range Active(v.state) {
		active[i] = true
	}
	var addresses []string
	for i := range v.state.Uplinks {
		u := &v.state.Uplinks[i]
		line := uplinkStatus(u, v, active[i])
		if p := probers[u.Config.Interface]; p != nil {
			line.Probes = probeStatus(p.Status())
			line.ProbeInterval = status.Millis(p.Interval())
			line.ProbeStretched = p.Interval() > u.Config.Probe.Interval
		}
		addresses = append(addresses, hostPart(line.Address)...)
		s.Uplinks = append(s.Uplinks, line)
	}
	if e.out.Connections != nil {
		counts := e.out.Connections(addresses)
		for i := range s.Uplinks {
			for _, a := range hostPart(s.Uplinks[i].Address) {
				s.Uplinks[i].Counters.Connections += max(counts[a], v.flows[a])
			}
		}
	}
	return s
}

// policies returns where each policy leads, and what it has counted.
func (e *Engine) policies(s *State) []status.Policy {
	var counters map[string][2]uint64
	if e.out.Counters != nil && len(s.Config.Policies) > 0 {
		counters = e.out.Counters()
	}
	list := make([]status.Policy, len(s.Config.Policies))
	for i, p := range s.Config.Policies {
		count := counters[routes.Policy{Name: p.Name}.Counter()]
		list[i] = status.Policy{Name: p.Name, Leads: s.leads(p), Packets: count[0], Bytes: count[1]}
	}
	return list
}

// hostPart returns the addresses of a list of prefixes.
func hostPart(prefixes string) []string {
	var hosts []string
	for _, p := range strings.Fields(prefixes) {
		host, _, _ := strings.Cut(p, "/")
		hosts = append(hosts, host)
	}
	return hosts
}

func uplinkStatus(u *Uplink, v view, active bool) status.Uplink {
	hop, _ := u.NextHop()
	var prefixes []string
	for _, a := range u.Addresses() {
		prefixes = append(prefixes, a.Prefix.String())
	}
	line := status.Uplink{
		Name: u.Config.Name, Interface: u.Config.Interface, State: string(u.Phase), Reason: u.Reason,
		Since: u.Since, Active: active, Weight: u.Config.Weight, Tier: u.Config.Tier, Table: u.Config.Table,
		FwMark: u.Config.FwMark, Address: strings.Join(prefixes, " "), Gateway: hop.Gateway, Probes: []status.Probe{},
	}
	line.EffectiveWeight, line.MaxConnections, line.Capped = u.Weight, u.Config.MaxConnections, u.Capped
	if u.Order != (status.Order{}) {
		order := u.Order
		line.Order = &order
	}
	line.Hold = status.Hold{Falls: u.Hold.Falls, Until: status.When{Time: u.Hold.Until}}
	switch {
	case active && u.Phase != Up && u.Phase != Starting:
		line.Reason += "; kept as a last resort"
	case u.Capped:
		line.Reason += fmt.Sprintf("; at its limit of %d connections", u.Config.MaxConnections)
	}
	traffic, rate := v.traffic[u.Config.Interface], v.rates[u.Config.Interface]
	line.Counters = status.Counters{RxBytes: traffic.Rx, TxBytes: traffic.Tx, RxBPS: rate.Rx, TxBPS: rate.Tx}
	if leaseSpec(&v.state, u) != nil {
		line.DHCP = dhcpStatus(u)
	}
	return line
}

func dhcpStatus(u *Uplink) *status.DHCP {
	d := &status.DHCP{State: u.DHCP.State.String(), Reason: u.DHCP.Reason, DNS: []netip.Addr{}}
	if lease := u.DHCP.Lease; lease != nil {
		d.Server = lease.Server
		d.Expire, d.Renew = status.When{Time: lease.Expire}, status.When{Time: lease.Renew}
		d.Rebind = status.When{Time: lease.Rebind}
		d.DNS = append(d.DNS, lease.DNS...)
		d.Domain, d.MTU, d.SubnetMask = lease.Domain, lease.MTU, netmask(lease.Prefix)
	}
	if c := u.DHCP.Conflict; c.MAC != "" {
		d.Conflict = &status.Rival{MAC: c.MAC, At: c.At}
	}
	return d
}

func probeStatus(list []probe.TargetStatus) []status.Probe {
	probes := make([]status.Probe, len(list))
	milliseconds := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for i, t := range list {
		probes[i] = status.Probe{
			Target: t.Target, State: t.Verdict.String(), Reason: t.Reason, Bytes: t.Bytes,
			RTT: milliseconds(t.RTT), Jitter: milliseconds(t.Jitter),
			Loss: t.Loss, Sent: t.Sent, Received: t.Received, LastError: t.Err,
		}
	}
	return probes
}

func kernelStatus(a routes.Applied) status.Kernel {
	k := status.Kernel{InSync: a.InSync, Repairs: a.Repairs, Ops: a.Ops, Conflicts: []status.Conflict{}}
	if a.Err != nil {
		k.LastError = a.Err.Error()
	}
	for _, c := range a.Plan.Conflicts {
		k.Conflicts = append(k.Conflicts, status.Conflict(c))
	}
	return k
}

// defaultRoute returns the shared default route as it is in the kernel: as it
// was read, with what the plan has made of it since.
func defaultRoute(v view) status.DefaultRoute {
	c := v.state.Config.Routes
	d := status.DefaultRoute{Table: c.Table, Metric: c.Metric, NextHops: []status.NextHop{}}
	name := map[string]string{}
	for i := range v.state.Uplinks {
		name[v.state.Uplinks[i].Config.Interface] = v.state.Uplinks[i].Config.Name
	}
	for _, hop := range sharedHops(v) {
		d.NextHops = append(d.NextHops, status.NextHop{
			Uplink: name[hop.Interface], Interface: hop.Interface, Gateway: hop.Gateway, Weight: hop.Weight,
		})
	}
	return d
}

func sharedHops(v view) []routes.NextHop {
	c := v.state.Config.Routes
	shared := func(r routes.Route) bool {
		return r.Table == c.Table && r.Metric == c.Metric && r.Dst.Bits() == 0 && r.Protocol == c.Protocol
	}
	var hops []routes.NextHop
	for _, r := range v.applied.State.Routes {
		if shared(r) {
			hops = r.NextHops
		}
	}
	if v.applied.Err != nil {
		return hops
	}
	for _, op := range v.applied.Plan.Ops {
		switch op := op.(type) {
		case routes.AddRoute:
			if shared(op.Route) {
				hops = op.Route.NextHops
			}
		case routes.ReplaceRoute:
			if shared(op.Route) {
				hops = op.Route.NextHops
			}
		case routes.DeleteRoute:
			if shared(op.Route) {
				hops = nil
			}
		}
	}
	return hops
}
