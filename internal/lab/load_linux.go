package lab

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// CallTimeout is when a connection of a Load counts as failed. It is under the
// second after which a lost SYN is sent again, so that this hides no failure.
const CallTimeout = 900 * time.Millisecond

// Dial opens a connection to the n-th address of the internet and returns the
// ISP it left by.
func (w *World) Dial(n int, timeout time.Duration) (*ISP, error) {
	conn, err := net.DialTimeout("tcp4", netip.AddrPortFrom(Somewhere(n), Port).String(), timeout)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // it has served
	_ = conn.SetDeadline(time.Now().Add(timeout))
	caller, err := ReadCaller(conn)
	if err != nil {
		return nil, err
	}
	isp := w.ISPOf(caller)
	if isp == nil {
		return nil, fmt.Errorf("lab: left by no ISP, from %s", caller)
	}
	return isp, nil
}

// A Call is one connection of a Load.
type Call struct {
	Began time.Time
	ISP   int // its number; 0: it failed
}

// A Load opens 100 connections a second, each to another address of the
// internet, and remembers when each began and how it ended.
type Load struct {
	world *World
	stop  chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex // guards calls
	calls []Call
}

// Load starts a load. It goes on until End.
func (w *World) Load() *Load {
	l := &Load{world: w, stop: make(chan struct{})}
	l.done.Go(func() {
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-ticker.C:
				l.done.Go(func() { l.call(n % 60000) })
			}
		}
	})
	return l
}

func (l *Load) call(n int) {
	c := Call{Began: time.Now()}
	if isp, err := l.world.Dial(n, CallTimeout); err == nil {
		c.ISP = isp.Number
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, c)
}

// End stops the load, waits for its last connection and returns all of them in
// the order they began.
func (l *Load) End() []Call {
	close(l.stop)
	l.done.Wait()
	slices.SortFunc(l.calls, func(a, b Call) int { return a.Began.Compare(b.Began) })
	return l.calls
}

// Failures returns how many of the calls failed, and how long after the fault
// the last of those began.
func Failures(calls []Call, fault time.Time) (failed int, last time.Duration) {
	for _, c := range calls {
		if c.ISP == 0 {
			failed++
			last = c.Began.Sub(fault)
		}
	}
	return failed, last
}
