package engine

import (
	"context"
	"slices"
	"sync"
	"time"

	"uplinkd/dhcp"
	"uplinkd/dhcp/dhcp6"
	"uplinkd/dhcp/ra"
	"uplinkd/probe"
	"uplinkd/uplink"
)

// A path names a path of an uplink, by what it is: an interface and a family.
type path struct {
	iface  string
	family uplink.Family
}

// A worker is what works for one path: its prober, and what keeps its lease: the DHCP client
// of IPv4, or what hears the routers of IPv6.
type worker struct {
	path   path
	prober *probe.Prober
	client *dhcp.Client
	ears   *ra.Client
	dhcp6  *dhcp6.Client
	told   uplink.Work
	stop   context.CancelFunc
	done   chan struct{}
}

// workers are those at work, and those that were let go and have not ended yet.
type workers struct {
	active map[path]*worker
	ending map[path]*worker
}

func (w *workers) has(one *worker) bool { return w.active[one.path] == one }

// syncWorkers sees to it that there is a worker for each path and for no other,
// and tells each what to do.
func (e *Engine) syncWorkers(ctx context.Context, work []uplink.Work) {
	if len(e.workers.active) > 0 {
		e.letGo(work)
	}
	for i := range work {
		to := &work[i]
		w := e.workers.active[path{to.Interface, to.Family}]
		if w == nil {
			w = e.startWorker(ctx, path{to.Interface, to.Family})
		}
		if w.told.Probe != to.Probe {
			w.prober.Set(e.withLearned(w.path, w.told.Probe, to.Probe))
		}
		if w.client != nil && (w.told.KeepLease != to.KeepLease || w.told.Lease != to.Lease) {
			if to.KeepLease {
				w.client.Set(&to.Lease, to.Release)
			} else {
				w.client.Set(nil, to.Release)
			}
		}
		if w.ears != nil && (w.told.Listen != to.Listen || w.told.Routers != to.Routers) {
			w.listen(to)
		}
		if w.dhcp6 != nil && (w.told.KeepLease6 != to.KeepLease6 || w.told.Lease6 != to.Lease6) {
			w.keepLease6(to)
		}
		w.told = *to
	}
}

// listen tells where routers are to be heard.
func (w *worker) listen(to *uplink.Work) {
	if !to.Listen {
		w.ears.Set(nil)
		return
	}
	spec := to.Routers
	w.ears.Set(&spec)
}

// keepLease6 tells what lease of DHCPv6 is to be kept.
func (w *worker) keepLease6(to *uplink.Work) {
	if !to.KeepLease6 {
		w.dhcp6.Set(nil, to.Release)
		return
	}
	spec := to.Lease6
	w.dhcp6.Set(&spec, to.Release)
}

// withLearned returns what is to be probed, and what is known of it where a series begins.
func (e *Engine) withLearned(at path, before, spec *probe.Spec) *probe.Spec {
	if spec == nil || before != nil && before.Series == spec.Series {
		return spec
	}
	known := *spec
	known.Learned = e.learnedOf(at, spec.Targets)
	return &known
}

// letGo stops the workers of paths that are there no longer. What they have started
// may take its time to end: nobody waits for it but the next worker of that path.
func (e *Engine) letGo(work []uplink.Work) {
	wanted := make(map[path]bool, len(work))
	for i := range work {
		wanted[path{work[i].Interface, work[i].Family}] = true
	}
	for at, w := range e.workers.active {
		if wanted[at] {
			continue
		}
		w.stop()
		e.mu.Lock()
		delete(e.workers.active, at)
		e.mu.Unlock()
		e.workers.ending[at] = w
	}
}

// startWorker starts the prober and the DHCP client of a path.
func (e *Engine) startWorker(ctx context.Context, at path) *worker {
	ctx, stop := context.WithCancel(ctx)
	w := &worker{path: at, stop: stop, done: make(chan struct{})}
	lacks := false
	w.prober = probe.New(e.deps.OpenProbe, func(c probe.Change) {
		lacks = e.logUnsent(at.iface, c.Targets, lacks)
		e.send(message{event: uplink.ProbeChanged{Interface: at.iface, Family: at.family, Change: c}, from: w})
	})
	if at.family == uplink.IPv4 {
		reports := &reporter{}
		w.client = dhcp.New(e.deps.DHCP, func(c dhcp.Change) {
			changed := uplink.LeaseChanged{Interface: at.iface, Family: at.family, Report: reports.of(c)}
			e.send(message{event: changed, from: w})
		})
	} else {
		w.ears = ra.New(e.deps.Routers, func(c ra.Change) {
			e.send(message{event: uplink.AdvertChanged{Interface: at.iface, Advert: advertOf(c)}, from: w})
		})
		reports := &reporter6{}
		w.dhcp6 = dhcp6.New(e.deps.DHCP6, func(c dhcp6.Change) {
			changed := uplink.LeaseChanged{Interface: at.iface, Family: at.family, Report: reports.of(c)}
			e.send(message{event: changed, from: w})
		})
	}
	before := e.workers.ending[at]
	delete(e.workers.ending, at)
	e.running.Go(func() {
		defer close(w.done)
		if before != nil {
			<-before.done // two must not be at work on one interface
		}
		var all sync.WaitGroup
		if w.client != nil {
			all.Go(func() { _ = w.client.Run(ctx) })
		}
		if w.ears != nil {
			all.Go(func() { _ = w.ears.Run(ctx) })
			all.Go(func() { _ = w.dhcp6.Run(ctx) })
		}
		_ = w.prober.Run(ctx) // all return nil
		all.Wait()
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.workers.active == nil {
		e.workers.active, e.workers.ending = map[path]*worker{}, map[path]*worker{}
	}
	e.workers.active[at] = w
	return w
}

// logUnsent tells, once, that this host lacks what it takes to ask, and reports whether it does.
func (e *Engine) logUnsent(iface string, targets []probe.Evidence, told bool) bool {
	i := slices.IndexFunc(targets, func(t probe.Evidence) bool { return t.Unsent })
	if i >= 0 && !told {
		e.deps.Log.Warn("this host cannot probe, and the last verdict stands", "interface", iface,
			"err", targets[i].Err, "remedy", "see what uses up its descriptors, memory, processes or ports")
	}
	return i >= 0
}

// A reporter puts what the DHCP client says into the words of the core. One lease is
// one value there too: another says that a server has answered.
type reporter struct {
	from *dhcp.Lease
	to   *uplink.Lease
}

func (p *reporter) of(c dhcp.Change) uplink.LeaseReport {
	r := uplink.LeaseReport{
		State: c.State.String(), Reason: c.Reason, Confirmed: c.Confirmed, Rival: uplink.Rival(c.Conflict),
		Asking: c.State == dhcp.Off || c.State == dhcp.InitReboot || c.State == dhcp.Checking,
	}
	if l := c.Lease; l != p.from {
		p.from, p.to = l, nil
		if l != nil {
			p.to = &uplink.Lease{
				Prefix: l.Prefix, Router: l.Router, Server: l.Server, DNS: l.DNS, Domain: l.Domain, MTU: l.MTU,
				Renew: l.Renew, Rebind: l.Rebind, Expire: l.Expire,
			}
		}
	}
	r.Lease = p.to
	return r
}

// A reporter6 puts what the DHCPv6 client says into the words of the core, as a reporter does.
type reporter6 struct {
	from *dhcp6.Lease
	to   *uplink.Lease
}

func (p *reporter6) of(c dhcp6.Change) uplink.LeaseReport {
	r := uplink.LeaseReport{
		State: c.State.String(), Reason: c.Reason, Confirmed: c.Confirmed,
		Asking: !c.Confirmed && (c.State == dhcp6.Off || c.State == dhcp6.Confirming || c.State == dhcp6.Rebinding),
	}
	if l := c.Lease; l != p.from {
		p.from, p.to = l, nil
		if l != nil {
			p.to = lease6Of(l)
		}
	}
	r.Lease = p.to
	return r
}

func lease6Of(l *dhcp6.Lease) *uplink.Lease {
	to := &uplink.Lease{DNS: l.DNS, Domain: l.Domain, Renew: l.Renew, Rebind: l.Rebind, Expire: l.Expire()}
	for i, a := range l.Addresses {
		if i == 0 {
			to.Prefix, to.Preferred, to.Expire = a.Prefix, a.Preferred, a.Valid
			continue
		}
		to.Others = append(to.Others, uplink.Lent{Prefix: a.Prefix, Preferred: a.Preferred, Until: a.Valid})
	}
	for _, d := range l.Prefixes {
		to.Delegated = append(to.Delegated, uplink.Lent{Prefix: d.Prefix, Preferred: d.Preferred, Until: d.Valid})
	}
	return to
}

// advertOf puts what routers say into the words of the core.
func advertOf(c ra.Change) uplink.Advert {
	a := uplink.Advert{
		Heard: c.Heard, Silent: c.Silent, Reason: c.Reason, Router: c.Router, DNS: c.DNS, MTU: c.MTU,
		Managed: c.Managed,
	}
	for _, p := range c.Prefixes {
		a.Prefixes = append(a.Prefixes, uplink.AdvertPrefix(p))
	}
	return a
}

// excuse has the probers of an uplink learn nothing from a silence that is made on purpose.
func (e *Engine) excuse(c uplink.Commanded) {
	until := time.Now().Add(c.For)
	for at, w := range e.workers.active {
		if u := e.state.Named(c.Uplink); u != nil && u.Config.Interface == at.iface {
			w.prober.Excuse(until)
		}
	}
}

// reportUnreachable tells the probers of the paths that a neighbour was the gateway
// of. Where the gateway answers ARP no more, nothing behind it can.
func (e *Engine) reportUnreachable(f uplink.NeighbourFailed) {
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		if u.Device.Link.Index != f.Index {
			continue
		}
		for p := range u.Present() {
			hop, ok := u.NextHop(p)
			w := e.workers.active[path{u.Config.Interface, p.Family}]
			if ok && w != nil && hop.Gateway == f.Address {
				protocol := map[uplink.Family]string{uplink.IPv4: "ARP", uplink.IPv6: "neighbour discovery"}[p.Family]
				w.prober.Unreachable("nobody answers " + protocol + " for " + f.Address.String())
			}
		}
	}
}
