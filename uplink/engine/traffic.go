package engine

import (
	"errors"
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
	if err == nil {
		l.counts[index] = count{t, now}
		return
	}
	delete(l.counts, index)
	if !errors.Is(err, unix.ENODEV) {
		l.trouble = err
	}
}

// tell keeps why nothing is known, for who asks, and says so when that changes.
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
	if l.failed == nil {
		return ""
	}
	return "traffic: " + l.failed.Error()
}

// countOf returns what has gone over an interface. It may be called from any goroutine.
func (l *listener) countOf(index int) (count, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.counts[index]
	return c, ok
}

// Traffic is what has gone over an uplink's interface, and how fast of late.
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

// next returns the traffic after another look. Counters that have gone back began anew.
func (t traffic) next(index int, now count) traffic {
	seconds := now.at.Sub(t.at).Seconds()
	switch {
	case t.index == index && seconds == 0:
		return t // there was no look since
	case t.index != index || t.at.IsZero() || seconds < 0 || now.RxBytes < t.RxBytes || now.TxBytes < t.TxBytes:
		return traffic{count: now, index: index}
	}
	bps := func(now, was uint64) uint64 { return uint64(float64(now-was) * 8 / seconds) }
	return traffic{
		count: now, index: index, rated: true, rx: bps(now.RxBytes, t.RxBytes), tx: bps(now.TxBytes, t.TxBytes),
	}
}
