package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// A passage is a way that programs open connections by.
type passage struct {
	name string
	dial func(n int, timeout time.Duration) (*flow, error)
}

// passages are TCP from the host, through danted and from the LAN behind NAT, and MPTCP from the host.
func (b *bench) passages(server string) []passage {
	b.Helper()
	here := func(mptcp bool) func(int, time.Duration) (*flow, error) {
		return func(n int, timeout time.Duration) (*flow, error) {
			d := &net.Dialer{Timeout: timeout}
			d.SetMultipathTCP(mptcp)
			return b.dialWithin(n, timeout, d.Dial)
		}
	}
	inLAN := func(dial func(string, string) (net.Conn, error)) func(int, time.Duration) (*flow, error) {
		return func(n int, timeout time.Duration) (f *flow, err error) {
			err = b.world.Client.Do(func() error {
				f, err = b.dialWithin(n, timeout, dial)
				return err
			})
			return f, err
		}
	}
	socks, err := proxy.SOCKS5("tcp4", server, nil, &net.Dialer{Timeout: lab.CallTimeout})
	b.ok(err)
	throughSOCKS := func(network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), lab.CallTimeout)
		defer cancel()
		return socks.(proxy.ContextDialer).DialContext(ctx, network, address)
	}
	return []passage{
		{"host", here(false)},
		{"danted", inLAN(throughSOCKS)},
		{"LAN", inLAN((&net.Dialer{Timeout: lab.CallTimeout}).Dial)},
		{"MPTCP", here(true)},
	}
}

// dialWithin is dialTCP with a limit for all of it.
func (b *bench) dialWithin(n int, limit time.Duration, dial func(string, string) (net.Conn, error)) (*flow, error) {
	conn, err := dial("tcp4", netip.AddrPortFrom(lab.Somewhere(n), lab.Port).String())
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(limit))
	caller, err := lab.ReadCaller(conn)
	isp := b.world.ISPOf(caller)
	if err == nil && isp == nil {
		err = fmt.Errorf("left by no ISP, from %s", caller)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return &flow{conn: conn, isp: isp.Number}, nil
}

// callOver opens twenty connections a second by a passage until it is stopped.
func (b *bench) callOver(p passage, first int, stop <-chan struct{}) (calls func() []lab.Call) {
	var all sync.WaitGroup
	var mu sync.Mutex
	var list []lab.Call
	all.Go(func() {
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for n := first; ; n++ {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			all.Go(func() {
				c := lab.Call{Began: time.Now()}
				if f, err := p.dial(n, lab.CallTimeout); err == nil {
					c.ISP = f.isp
					_ = f.conn.Close()
				}
				mu.Lock()
				defer mu.Unlock()
				list = append(list, c)
			})
		}
	})
	return func() []lab.Call {
		all.Wait()
		slices.SortFunc(list, func(a, b lab.Call) int { return a.Began.Compare(b.Began) })
		return list
	}
}

// oldOnes are connections that were there before the fault.
const oldOnes = 20

// An outage is what a fault has cost.
type outage struct {
	failed  map[string]int // new connections, by passage
	all     int            // of each passage
	last    time.Duration  // after the fault the last one began that failed; 0: none did
	goesOn  bool           // it still was so in the last second
	harmed  int            // old ones of the uplink that works
	moved   int            // old MPTCP ones that began by the uplink that fails, and live
	movable int            // of so many
}

// suffer lets a fault happen and watches what becomes of it.
func (b *bench) suffer(f fault, watch time.Duration, server string) (o outage) {
	b.Helper()
	passages := b.passages(server)
	old := map[string][]*flow{}
	for i, p := range passages {
		for n := range oldOnes {
			flow, err := p.dial(10_000*i+n, 2*time.Second)
			b.ok(err)
			b.Cleanup(func() { _ = flow.conn.Close() })
			old[p.name] = append(old[p.name], flow)
		}
	}
	stop := make(chan struct{})
	var ended []func() []lab.Call
	for i, p := range passages {
		ended = append(ended, b.callOver(p, 10_000*i+100, stop))
	}
	// The moment of the fault falls anywhere in the pace of whoever looks.
	time.Sleep(time.Second + time.Duration(time.Now().UnixNano()%1000)*time.Millisecond)
	began := time.Now()
	b.ok(f.inject(b.world))
	time.Sleep(watch)
	close(stop)
	over := time.Now()
	o.failed = map[string]int{}
	for i, p := range passages {
		calls := ended[i]()
		o.all = len(calls)
		failed, last := lab.Failures(slices.DeleteFunc(calls, func(c lab.Call) bool { return c.Began.Before(began.Add(-lab.CallTimeout)) }), began)
		o.failed[p.name] = failed
		if failed > 0 && last > o.last {
			o.last = last.Round(10 * time.Millisecond)
		}
	}
	o.goesOn = began.Add(o.last).After(over.Add(-2 * time.Second))
	limit := 2 * time.Second
	if strings.Contains(f.name, "loss") {
		limit = 10 * time.Second // what is lost is sent again
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, flows := range old {
		for _, flow := range flows {
			all.Go(func() {
				err := echoWithin(flow.conn, limit)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case flow.isp != 1 && err != nil:
					o.harmed++
				case flow.isp == 1 && name == "MPTCP":
					o.movable++
					if err == nil {
						o.moved++
					}
				}
			})
		}
	}
	all.Wait()
	return o
}

// row returns what runs of one fault have cost.
func outageRow(fault, name string, watch time.Duration, runs []outage) []string {
	row := []string{fault, name}
	for _, p := range []string{"host", "danted", "LAN", "MPTCP"} {
		var failed []float64
		for _, o := range runs {
			failed = append(failed, float64(o.failed[p]))
		}
		row = append(row, figures.SpreadOf(failed).String())
	}
	var last []float64
	goesOn, harmed, moved, movable := false, 0, 0, 0
	for _, o := range runs {
		last = append(last, o.last.Seconds())
		goesOn = goesOn || o.goesOn
		harmed, moved, movable = harmed+o.harmed, moved+o.moved, movable+o.movable
	}
	seconds := figures.SpreadOf(last).String()
	if goesOn {
		seconds = fmt.Sprintf("does not end in %.0f", watch.Seconds())
	}
	return append(row, seconds, fmt.Sprint(harmed), fmt.Sprintf("%d of %d", movable-moved, movable))
}

// watched is for how long what follows a fault is watched: who follows a carrier at all does so at once.
func (f fault) watched(long time.Duration) time.Duration {
	if f.name == "carrier" {
		return min(long, 5*time.Second)
	}
	return long
}

// What a fault of one of two uplinks costs, beside what people use today: the same lab, the same load, one after the
// other. UPLINKD_CONTENDERS names some of them, with a colon between.
func TestFigureOutage(t *testing.T) {
	labtest.Bench(t)
	labtest.NeedRoot(t, "danted", "nft")
	table := figures.Table{
		Title:   "Outage",
		Command: "UPLINKD_BENCH=1 UPLINKD_RUNS=2 go test -timeout 20m -run TestFigureOutage ./cmd/uplinkd",
		Limit: "a packet that was not answered can be told from a late one only after the link's own round trip; a carrier that falls " +
			"is an event of the kernel's. What runs over the dead uplink cannot move, but by MPTCP.",
		Columns: []string{
			"fault of one of two uplinks", "", "new ones that fail: host", "danted", "LAN", "MPTCP", "last begins, s", "old ones of the other broken",
			"MPTCP of the dead broken",
		},
	}
	only := strings.Split(os.Getenv("UPLINKD_CONTENDERS"), ":")
	rows := map[string][][]string{}
	for _, c := range contenders {
		if only[0] != "" && !slices.Contains(only, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if len(c.needs) > 0 {
				labtest.NeedRoot(t, c.needs...)
			}
			table.About += fmt.Sprintf("\n- %s: %s.", c.name, c.how)
			for _, f := range faults[:4] {
				var runs []outage
				for range runsOr(t, 1) {
					t.Run(f.name, func(t *testing.T) {
						b := newBench(t, 2)
						c.start(b)
						runs = append(runs, b.suffer(f, f.watched(c.watch), b.danted()))
					})
				}
				if len(runs) == 0 {
					t.Fatal("nothing was measured")
				}
				row := outageRow(f.name, c.name, f.watched(c.watch), runs)
				t.Log(strings.Join(row, " | "))
				rows[f.name] = append(rows[f.name], row)
			}
		})
	}
	for _, f := range faults[:4] {
		table.Rows = append(table.Rows, rows[f.name]...)
	}
	table.About = "Twenty new connections a second by each way, each to another host; one that is not made within 0.9 s, or then not " +
		"answered within as long, has failed. Twenty old ones of each way are asked at the end. " +
		fmt.Sprintf("Each fault was made %d times, at moments that fall anywhere in the pace of whoever looks; old ones are summed.\n",
			runsOr(t, 1)) + table.About
	if only[0] == "script each minute" {
		table.Title += ", " + only[0] // which takes minutes, and so a run of its own
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
