package uplink

import (
	"maps"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
)

// sample measures the traffic since the last beat.
func (e *Engine) sample() {
	if e.out.Traffic == nil {
		return
	}
	now, traffic := time.Now(), e.out.Traffic()
	rates := make(map[string]Traffic, len(traffic))
	if seconds := now.Sub(e.sampled).Seconds(); !e.sampled.IsZero() && seconds > 0 {
		for name, t := range traffic {
			was, ok := e.previous[name]
			if ok && t.Rx >= was.Rx && t.Tx >= was.Tx {
				rates[name] = Traffic{
					Rx: uint64(float64(t.Rx-was.Rx) * 8 / seconds), Tx: uint64(float64(t.Tx-was.Tx) * 8 / seconds),
				}
			}
		}
	}
	e.sampled, e.previous = now, maps.Clone(traffic)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.traffic, e.view.rates = traffic, rates
}

// flowBeats is how many beats lie between two counts of flows, which take long
// where there are many.
const flowBeats = 5

// needs returns whether connections have to be counted, and whether those that get no
// answer have to be looked for. A sample a beat cannot hurry what is probed as often
// anyhow.
func (s *State) needs() (count, passive bool) {
	count = s.Config.Routes.Balance == configs.BalanceLeastConnections
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		count = count || u.Config.MaxConnections > 0 || u.Order.State == OrderDrained
		passive = passive || u.Config.Probe.Passive && u.Config.Probe.Interval >= beat
	}
	return count, passive
}

// samples returns what was measured of each uplink. What nobody needs is not
// asked for.
func (e *Engine) samples() map[string]Sample {
	count, passive := e.state.needs()
	samples, hosts := map[string]Sample{}, map[string]string{} // address to interface
	var addresses []string
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		rate := e.view.rates[u.Config.Interface]
		s := Sample{RxBPS: rate.Rx, TxBPS: rate.Tx, Connections: -1}
		// Before the first step nobody has been hired.
		a := e.actors[u.Config.Interface]
		if a != nil && e.state.Config.Routes.Balance == configs.BalanceResponseTime {
			s.RTT = fastest(a.prober.Status())
		}
		samples[u.Config.Interface] = s
		for _, a := range u.Addresses() {
			host := a.Prefix.Addr().String()
			hosts[host] = u.Config.Interface
			addresses = append(addresses, host)
		}
	}
	var sockets map[string]int
	if count && e.out.Connections != nil {
		sockets = e.out.Connections(addresses)
		e.countFlows(addresses)
	}
	var stalled map[string]bool
	if passive && e.out.Stalled != nil {
		stalled = e.out.Stalled(addresses)
	}
	for host, name := range hosts {
		s := samples[name]
		if sockets != nil {
			s.Connections = max(s.Connections, 0) + max(sockets[host], e.view.flows[host])
		}
		s.Stalled = s.Stalled || stalled[host]
		samples[name] = s
	}
	return samples
}

func (e *Engine) countFlows(addresses []string) {
	if e.out.Flows == nil || e.beats%flowBeats != 0 {
		e.beats++
		return
	}
	e.beats++
	flows := e.out.Flows(addresses)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.view.flows = flows
}

// fastest returns the shortest round trip of the targets that are up, 0 when none is.
func fastest(list []probe.TargetStatus) time.Duration {
	var least time.Duration
	for _, t := range list {
		if t.Verdict == probe.Up && (least == 0 || t.RTT < least) {
			least = t.RTT
		}
	}
	return least
}
