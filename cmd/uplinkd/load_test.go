package main

import (
	"slices"
	"sync"
	"time"
)

// A load opens connections to the internet, 100 a second, each to another
// address, and remembers when each began and how it ended.
type load struct {
	b     *bench
	stop  chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex // guards calls
	calls []call
}

// A call is one connection.
type call struct {
	began time.Time
	isp   int // 0: it failed
}

// callTimeout is when a connection counts as failed. It is longer than any
// fault's effect may last, so that a retransmitted SYN does not hide a failure:
// the first is sent again after one second.
const callTimeout = 900 * time.Millisecond

func (b *bench) load() *load {
	l := &load{b: b, stop: make(chan struct{})}
	l.done.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-ticker.C:
				l.done.Go(func() { l.call(n) })
			}
		}
	})
	return l
}

func (l *load) call(n int) {
	c := call{began: time.Now()}
	if isp, err := l.b.dial(n%60000, callTimeout); err == nil {
		c.isp = isp.Number
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
}

// end stops the load and returns its connections in the order they began.
func (l *load) end() []call {
	close(l.stop)
	l.done.Wait()
	slices.SortFunc(l.calls, func(a, b call) int { return a.began.Compare(b.began) })
	return l.calls
}

// failures returns how many connections failed, and how long after the fault
// the last of them began.
func failures(calls []call, fault time.Time) (failed int, last time.Duration) {
	for _, c := range calls {
		if c.isp == 0 {
			failed++
			last = c.began.Sub(fault)
		}
	}
	return failed, last
}

// share returns what part of the connections that began in a span left by an ISP.
func share(calls []call, isp int, from, to time.Time) float64 {
	all, by := 0, 0
	for _, c := range calls {
		if c.began.Before(from) || c.began.After(to) {
			continue
		}
		all++
		if c.isp == isp {
			by++
		}
	}
	if all == 0 {
		return 0
	}
	return float64(by) / float64(all)
}
