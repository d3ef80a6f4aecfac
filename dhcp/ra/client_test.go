package ra_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mdlayher/ndp"

	"uplinkd/dhcp/ra"
	"uplinkd/internal/bubble"
)

// A fakeLink opens Conns whose other end is the test.
type fakeLink struct {
	mu        sync.Mutex
	opened    int
	solicited []time.Time
	refuse    error // opening
	conn      *fakeConn
}

type fakeConn struct {
	link    *fakeLink
	in      chan ra.Received
	gone    chan struct{}
	goneNow sync.Once
}

func (l *fakeLink) open(ra.Spec) (ra.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return nil, l.refuse
	}
	l.opened++
	l.conn = &fakeConn{link: l, in: make(chan ra.Received), gone: make(chan struct{})}
	return l.conn, nil
}

func (c *fakeConn) Solicit([]byte) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.link.solicited = append(c.link.solicited, time.Now())
	return nil
}

func (c *fakeConn) Receive() (ra.Received, error) {
	select {
	case r := <-c.in:
		return r, nil
	case <-c.gone:
		return ra.Received{}, errors.New("gone")
	}
}

func (c *fakeConn) Close() error {
	c.goneNow.Do(func() { close(c.gone) })
	return nil
}

// hears has a client listen on a fakeLink while f runs, which gets what it tells.
func hears(t *testing.T, f func(c *ra.Client, l *fakeLink, told func() ra.Change)) {
	t.Helper()
	bubble.Test(t, func(t *testing.T) {
		l := &fakeLink{}
		var last ra.Change
		c := ra.New(ra.Outside{
			Open: l.open, Random: func() uint32 { return 1000 }, Log: slog.New(slog.DiscardHandler),
		}, func(change ra.Change) { last = change })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		c.Set(&ra.Spec{Uplink: "a", Interface: "eth1", MAC: "02:00:00:00:00:01", Carrier: true})
		synctest.Wait()
		f(c, l, func() ra.Change { synctest.Wait(); return last })
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func said(t *testing.T, a *ndp.RouterAdvertisement) ra.Received {
	t.Helper()
	b, err := ndp.MarshalMessage(a)
	if err != nil {
		t.Fatal(err)
	}
	return ra.Received{From: one, HopLimit: 255, Message: b}
}

// It solicits as soon as it hears, tells who answers, and hears again after its connection broke.
func TestClient(t *testing.T) {
	hears(t, func(_ *ra.Client, l *fakeLink, told func() ra.Change) {
		if len(l.solicited) != 1 {
			t.Errorf("it has solicited %d times at the start", len(l.solicited))
		}
		l.conn.in <- said(t, advert(time.Hour, network(first, time.Hour, 2*time.Hour)))
		time.Sleep(time.Second)
		if c := told(); c.Router != one || len(c.Prefixes) != 1 {
			t.Errorf("it tells %+v", c)
		}
		_ = l.conn.Close() // the interface has gone
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		if l.opened != 2 || len(l.solicited) != 2 {
			t.Errorf("opened %d times, solicited %d times", l.opened, len(l.solicited))
		}
		if c := told(); c.Router != one {
			t.Errorf("a break of the connection has taken the router away: %+v", c)
		}
	})
}

// What could not be opened is tried again each second, and not more often.
func TestClientCannotOpen(t *testing.T) {
	hears(t, func(c *ra.Client, l *fakeLink, _ func() ra.Change) {
		c.Set(nil)
		synctest.Wait()
		l.refuse = errors.New("no buffers")
		before := l.opened
		c.Set(&ra.Spec{Uplink: "a", Interface: "eth1", Carrier: true})
		time.Sleep(2500 * time.Millisecond)
		l.mu.Lock()
		l.refuse = nil
		l.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if l.opened != before+1 {
			t.Errorf("it was opened %d times once it could be", l.opened-before)
		}
	})
}

// A client that is stopped in the moment between an advertisement and telling of it kept a core busy, for good.
func TestClientStopsWhileUntold(t *testing.T) {
	hears(t, func(c *ra.Client, l *fakeLink, told func() ra.Change) {
		l.conn.in <- said(t, advert(time.Hour))
		synctest.Wait()
		l.conn.in <- said(t, advert(time.Hour, network(first, time.Hour, 2*time.Hour))) // told 100 ms later
		synctest.Wait()
		c.Set(nil)
		time.Sleep(time.Minute) // which passes only if nobody is busy
		if change := told(); change.Heard || len(change.Prefixes) != 0 {
			t.Errorf("stopped, it tells %+v", change)
		}
	})
}
