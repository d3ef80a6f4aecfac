package engine

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/routes/flows"
)

// A count is what has gone over an interface until a time.
type count struct {
	flows.Traffic
	at time.Time
}

// trafficKept is how long the traffic of an interface is known without a new look at it.
const trafficKept = 5 * time.Second

// count keeps what a look at an interface has found. An interface that has gone is no failure.
func (l *listener) count(index int, t flows.Traffic, now time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.counts[index] = count{t, now}
	case errors.Is(err, unix.ENODEV):
		delete(l.counts, index)
	default: // it is known for a while yet: see trafficKept
	}
}

// looking says that a round of looks begins, or, with a zero time, that it has ended.
func (l *listener) looking(since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.round = since
}

// tell keeps why something is not known, for who asks, and says so when that changes.
func (l *listener) tell(err error) {
	l.mu.Lock()
	was := l.failed
	l.failed = err
	l.mu.Unlock()
	switch {
	case err != nil && was == nil:
		l.log.Warn("cannot be measured", "what", "traffic", "err", err)
	case err == nil && was != nil:
		l.log.Info("can be measured again", "what", "traffic")
	}
}

// failure returns why the traffic is not known, "" when it is. It may be called from any goroutine.
func (l *listener) failure() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.round.IsZero() && time.Since(l.round) > askLimit:
		return fmt.Sprintf("traffic: the kernel has not answered for %s", time.Since(l.round).Round(time.Second))
	case l.failed != nil:
		return "traffic: " + l.failed.Error()
	}
	return ""
}

// countOf returns what has gone over an interface. It may be called from any goroutine.
func (l *listener) countOf(index int) (count, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.counts[index]
	return c, ok
}

// A traffic is what has gone over an uplink's interface, and how fast of late.
type traffic struct {
	count
	index  int
	rated  bool   // the rates are known
	rx, tx uint64 // bits a second
}

// trafficNow returns the traffic of all uplinks whose is known, by interface.
func (e *Engine) trafficNow() map[string]traffic {
	all := make(map[string]traffic, len(e.state.Uplinks))
	for i := range e.state.Uplinks {
		u := &e.state.Uplinks[i]
		index, name := u.Device.Link.Index, u.Config.Interface
		if c, ok := e.listener.countOf(index); ok && time.Since(c.at) < trafficKept {
			all[name] = e.traffic[name].next(index, c)
		}
	}
	return all
}

// rateOver is the least time that a rate is of: a busy link is looked at so often that less says little.
const rateOver = tick / 2

// next returns the traffic after another look. Counters that have gone back began anew.
func (t traffic) next(index int, now count) traffic {
	apart := now.at.Sub(t.at)
	seconds := apart.Seconds()
	switch {
	case t.index == index && apart >= 0 && apart < rateOver:
		return t
	case t.index != index || t.at.IsZero() || seconds < 0 || now.RxBytes < t.RxBytes || now.TxBytes < t.TxBytes:
		return traffic{count: now, index: index}
	}
	bps := func(now, was uint64) uint64 { return uint64(float64(now-was) * 8 / seconds) }
	return traffic{
		count: now, index: index, rated: true, rx: bps(now.RxBytes, t.RxBytes), tx: bps(now.TxBytes, t.TxBytes),
	}
}
