package engine

import (
	"context"
	"fmt"
	"maps"
	"time"

	"uplinkd/routes/firewall"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// usageEvery is how often it is written down what uplinks have used of their quotas: so much may be lost when the
// machine loses its power. What a crash of this process leaves out is made up for: the kernel counts on.
const usageEvery = time.Minute

// usageOf returns what uplinks have used of their quotas, by name.
func usageOf(s *uplink.State) map[string]uplink.Usage {
	var all map[string]uplink.Usage
	for i := range s.Uplinks {
		if u := &s.Uplinks[i]; u.Config.Quota.Bytes > 0 && !u.Usage.Since.IsZero() {
			if all == nil {
				all = map[string]uplink.Usage{}
			}
			all[u.Config.Name] = u.Usage
		}
	}
	return all
}

// begunCounting reports whether the first reading of an uplink's counters has come: from it a process after a crash
// can tell what they have counted since.
func begunCounting(before, after *uplink.State) bool {
	for i := range after.Uplinks {
		u := &after.Uplinks[i]
		if u.Usage.Based && i < len(before.Uplinks) && !before.Uplinks[i].Usage.Based {
			return true
		}
	}
	return false
}

// keepUsage writes down what uplinks have used, until ctx ends, and once more then; at once when
// somebody has set it, and when counting has begun.
func (e *Engine) keepUsage(ctx context.Context) error {
	if e.deps.SaveUsage == nil {
		return nil
	}
	ticker := time.NewTicker(usageEvery)
	defer ticker.Stop()
	written, told := e.deps.Usage, false
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-ticker.C:
		case <-e.usageSet:
		}
		e.mu.Lock()
		now, acks := usageOf(&e.view.state), e.usageAcks
		e.usageAcks = nil
		e.mu.Unlock()
		var err error
		if !maps.Equal(now, written) {
			err = e.deps.SaveUsage(now)
		}
		for _, ack := range acks {
			if err != nil {
				acknowledge(ack, fmt.Errorf("%w: %w", ErrNotKept, err))
			} else {
				acknowledge(ack, nil)
			}
		}
		if err == nil {
			written = now
		} else if !told {
			e.deps.Log.Error("what uplinks have used of their quotas cannot be kept: after a restart some of it is "+
				"forgotten", "err", err)
		}
		told = err != nil
	}
	return nil
}

// addOctets adds what the kernel has counted of uplinks that have a quota.
func (e *Engine) addOctets(samples map[string]uplink.Sample) {
	counters := e.meter.counters.last()
	if counters.err != nil {
		return
	}
	for i := range e.state.Uplinks {
		c := &e.state.Uplinks[i].Config
		if c.Quota.Bytes == 0 {
			continue
		}
		by := firewall.Counted{Name: c.Name}
		rx, known := counters.value[by.Rx()]
		tx := counters.value[by.Tx()]
		s := samples[c.Interface]
		s.Octets = uplink.Octets{Rx: rx.Bytes, Tx: tx.Bytes, Known: known}
		samples[c.Interface] = s
	}
}

// quotaStatus returns how an uplink stands to its quota, nil when it has none.
func quotaStatus(u *uplink.Uplink) *api.Quota {
	q := &u.Config.Quota
	if q.Bytes == 0 {
		return nil
	}
	return &api.Quota{
		Bytes: q.Bytes, Used: u.Usage.Used, Since: u.Usage.Since, Until: q.Next(u.Usage.Since), Then: q.Then.String(),
		Spent: u.Usage.Used >= q.Bytes,
	}
}
