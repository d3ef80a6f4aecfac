package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// needMPTCP skips a test on a kernel without MPTCP.
func needMPTCP(t *testing.T) {
	t.Helper()
	labtest.Need(t)
	if _, err := os.Stat("/proc/sys/net/mptcp/enabled"); err != nil {
		labtest.Missing(t, "this kernel has no MPTCP")
	}
}

// A talk is what became of connections that were talked over all the time.
type talk struct {
	byISP   map[int]int
	broken  int
	longest time.Duration // without an answer, of those that lived
}

// talkOver has n connections of this host talked over, with MPTCP or without it.
func (b *bench) talkOver(n, first int, mptcp bool) (end func() talk) {
	b.Helper()
	dialer := &net.Dialer{}
	dialer.SetMultipathTCP(mptcp)
	return b.talk(n, func(i int) (*flow, error) {
		f, err := b.dialTCP(first+i, dialer.Dial)
		if err == nil && mptcp {
			if used, err := f.conn.(*net.TCPConn).MultipathTCP(); err != nil || !used {
				return nil, fmt.Errorf("a connection without MPTCP: %w", err)
			}
		}
		return f, err
	})
}

// talk opens connections and asks something over each ten times a second until the
// function it returns is called.
func (b *bench) talk(n int, open func(i int) (*flow, error)) (end func() talk) {
	b.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	result := talk{byISP: map[int]int{}}
	stop := make(chan struct{})
	for i := range n {
		f, err := open(i)
		b.ok(err)
		result.byISP[f.isp]++
		all.Go(func() {
			defer f.conn.Close()
			var longest time.Duration
			for {
				select {
				case <-stop:
					mu.Lock()
					defer mu.Unlock()
					result.longest = max(result.longest, longest)
					return
				case <-time.After(100 * time.Millisecond):
				}
				asked := time.Now()
				if err := echoWithin(f.conn, 20*time.Second); err != nil {
					mu.Lock()
					defer mu.Unlock()
					result.broken++
					return
				}
				longest = max(longest, time.Since(asked))
			}
		})
	}
	return func() talk {
		close(stop)
		all.Wait()
		return result
	}
}

// With mptcp: true connections that use MPTCP outlive their uplink: it falls silent, and
// none of them breaks, where of the plain ones those over it do. UPLINKD_RUNS says how many of each.
func TestMPTCPOutlivesAnUplink(t *testing.T) {
	needMPTCP(t)
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "mptcp: true\n")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	b.until("both have an endpoint", time.Second, func() bool {
		s := b.status()
		return s.Uplinks[0].MPTCP == "subflow" && s.Uplinks[1].MPTCP == "subflow"
	})
	n := runsOr(t, 20)
	plain, multipath := b.talkOver(n, 0, false), b.talkOver(n, n, true)
	time.Sleep(time.Second)
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up")
	b.until("the dead one's endpoint is gone", time.Second, func() bool { return b.status().Uplinks[0].MPTCP == "" })
	time.Sleep(2 * time.Second)
	one, two := plain(), multipath()
	t.Logf("silent gateway: of %d MPTCP connections %d broke, longest pause %v (%v began by the dead uplink); of %d TCP connections %d (%v)",
		n, two.broken, two.longest.Round(time.Millisecond), two.byISP[1], n, one.broken, one.byISP[1])
	if two.broken > 0 {
		t.Errorf("%d of %d MPTCP connections broke", two.broken, n)
	}
	if two.byISP[1] == 0 || one.broken != one.byISP[1] {
		t.Errorf("%d MPTCP connections began by the uplink that died, and %d of the %d plain ones there broke: the test tests nothing",
			two.byISP[1], one.broken, one.byISP[1])
	}
	if two.longest > 3*time.Second {
		t.Errorf("a pause of %v, want less than the plain ones' end", two.longest)
	}
	b.ok(b.world.ISPs[0].Silence(false))
	b.untilStates(30*time.Second, "up", "up")
	b.until("it has its endpoint again", time.Second, func() bool { return b.status().Uplinks[0].MPTCP == "subflow" })
}

// The endpoints are kernel objects like all others: in plan, put back when others take them
// away, another kind when the uplink is drained, left alone when foreign, and gone after
// mptcp: false or cleanup, with the limit as it was.
func TestMPTCPEndpoints(t *testing.T) {
	needMPTCP(t)
	b := newBench(t, 2)
	const foreign, all = "ip mptcp endpoint show | grep -v '^100[.]64' || true", "ip mptcp endpoint show"
	b.kernel("ip mptcp endpoint add 192.168.77.1 dev lan0 id 7 signal")
	t.Cleanup(func() { b.kernel("ip mptcp endpoint flush") })
	limits := b.kernel("ip mptcp limits show")
	b.configure(b.static(1, 1), "mptcp: true\n")
	said, err := b.run("plan", "-c", b.config)
	b.ok(err)
	if !strings.Contains(said, "ip mptcp limits set subflows 8") {
		t.Errorf("plan does not tell:\n%s", said)
	}
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	endpoint := func(isp int, kind string) func() bool {
		return func() bool {
			for line := range strings.Lines(b.kernel("ip mptcp endpoint show")) {
				if strings.HasPrefix(line, b.world.ISPs[isp].Static.Addr().String()+" ") {
					return kind != "" && strings.Contains(line, kind) && strings.Contains(line, "backup") == (kind == "backup")
				}
			}
			return kind == ""
		}
	}
	b.until("both have an endpoint", time.Second, func() bool { return endpoint(0, "subflow")() && endpoint(1, "subflow")() })

	// What others add without a number gets the next one after ours, and stays theirs.
	b.kernel("ip mptcp endpoint add 192.168.77.9 dev lan0 signal")
	others := b.kernel(foreign)
	b.kernel("ip mptcp endpoint delete id 201", "ip mptcp limits set subflows 2")
	began := time.Now()
	b.until("what others took away is back", 3*time.Second, func() bool {
		return endpoint(0, "subflow")() && strings.Contains(b.kernel("ip mptcp limits show"), "subflows 8")
	})
	t.Logf("put back after %v", time.Since(began).Round(time.Millisecond))

	b.ok(b.client.Command(t.Context(), "isp1", api.Command{Action: api.Drain}))
	b.until("the drained one is backup", time.Second, endpoint(0, "backup"))
	b.ok(b.client.Command(t.Context(), "isp1", api.Command{Action: api.Enable}))
	b.until("it is not any more", time.Second, endpoint(0, "subflow"))
	b.ok(b.client.Command(t.Context(), "isp1", api.Command{Action: api.Disable}))
	b.until("the disabled one has none", time.Second, endpoint(0, ""))
	b.ok(b.client.Command(t.Context(), "isp1", api.Command{Action: api.Enable}))
	b.until("it has one again", 5*time.Second, endpoint(0, "subflow"))

	b.configure(b.static(1, 1), "mptcp: false\n")
	b.ok(b.client.Reload(t.Context()))
	asBefore := func() bool {
		return strings.TrimPrefix(b.kernel(all), "# "+all) == strings.TrimPrefix(others, "# "+foreign) &&
			b.kernel("ip mptcp limits show") == limits
	}
	b.until("all is as before", 2*time.Second, asBefore)
	b.configure(b.static(1, 1), "mptcp: true\n")
	b.ok(b.client.Reload(t.Context()))
	b.until("both have an endpoint", 2*time.Second, func() bool { return endpoint(0, "subflow")() && endpoint(1, "subflow")() })
	b.kill(9)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !asBefore() {
		t.Errorf("cleanup leaves\n%s\nand of others there was\n%s", b.kernel(all, "ip mptcp limits show"), others)
	}
}

// Applications need not know of MPTCP: danted under mptcpize gives every SOCKS client's connection
// more than one uplink.
func TestDantedUnderMPTCPize(t *testing.T) {
	needMPTCP(t)
	labtest.NeedRoot(t, "danted", "mptcpize")
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "mptcp: true\n")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	server := b.dantedBy("mptcpize", "run", "danted")
	n := runsOr(t, 20)
	end := b.talkThrough(server, n)
	time.Sleep(time.Second)
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up")
	time.Sleep(2 * time.Second)
	result := end()
	t.Logf("of %d SOCKS clients' connections %d broke, longest pause %v (%v began by the dead uplink)",
		n, result.broken, result.longest.Round(time.Millisecond), result.byISP[1])
	if result.broken > 0 || result.byISP[1] == 0 {
		t.Errorf("%d of %d broke, %d began by the uplink that died", result.broken, n, result.byISP[1])
	}
}

// talkThrough is talkOver for clients of a SOCKS server.
func (b *bench) talkThrough(server string, n int) (end func() talk) {
	b.Helper()
	dialer, err := proxy.SOCKS5("tcp4", server, nil, &net.Dialer{Timeout: 2 * time.Second})
	b.ok(err)
	return b.talk(n, func(i int) (*flow, error) {
		var f *flow
		err := b.world.Client.Do(func() (err error) {
			f, err = b.dialTCP(5000+i, dialer.Dial)
			return err
		})
		return f, err
	})
}

// One connection over lines of 50 and 25 Mbit/s is faster than over either alone.
func TestMPTCPBonds(t *testing.T) {
	needMPTCP(t)
	labtest.Bench(t)
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "mptcp: true\n")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	b.kernel("tc qdisc add dev eth1 root tbf rate 50mbit burst 64kb latency 30ms",
		"tc qdisc add dev eth2 root tbf rate 25mbit burst 64kb latency 30ms")
	sink := b.sink()
	from := func(isp int) *net.Dialer {
		return &net.Dialer{LocalAddr: &net.TCPAddr{IP: b.world.ISPs[isp].Static.Addr().AsSlice()}}
	}
	both := &net.Dialer{}
	both.SetMultipathTCP(true)
	var alone, slower, together, shares []float64
	for range runsOr(t, 1) {
		first, second, sum := sink(from(0)), sink(from(1)), sink(both)
		alone, slower, together = append(alone, first), append(slower, second), append(together, sum)
		shares = append(shares, 100*sum/(first+second))
		if sum < 1.2*first {
			t.Errorf("%.1f Mbit/s by both, %.1f by the faster alone: want a fifth more at least", sum, first)
		}
	}
	row := []string{
		figures.SpreadOf(alone).String(), figures.SpreadOf(slower).String(), figures.SpreadOf(together).String(),
		figures.SpreadOf(shares).String(),
	}
	t.Log(row)
	b.ok(figures.Table{
		Title:   "Throughput of one MPTCP connection",
		About:   "Lines of 50 and 25 Mbit/s (tbf), one connection of this host for three seconds after the first: TCP by each, and MPTCP by both (`mptcp: true`), in turns.",
		Command: "UPLINKD_BENCH=1 UPLINKD_RUNS=3 go test -run TestMPTCPBonds ./cmd/uplinkd",
		Limit:   "the kernel's scheduler of MPTCP: what waits on the slower line holds up what came by the faster one (head of line).",
		Columns: []string{"TCP by 50, Mbit/s", "TCP by 25", "MPTCP by both", "of the sum, %"},
		Rows:    [][]string{row},
	}.Keep())
}

// sink is sinkOf for connections of this host.
func (b *bench) sink() func(*net.Dialer) float64 {
	b.Helper()
	measure := b.sinkOf()
	return func(d *net.Dialer) float64 { b.Helper(); return measure(d.Dial) }
}

// sinkOf listens on the internet, and returns what measures how many Mbit/s one connection
// brings there.
func (b *bench) sinkOf() func(dial func(network, address string) (net.Conn, error)) float64 {
	b.Helper()
	var listener net.Listener
	b.ok(b.world.Internet.Do(func() (err error) {
		listener, err = net.Listen("tcp4", "0.0.0.0:7001")
		return err
	}))
	b.Cleanup(func() { _ = listener.Close() })
	return func(dial func(network, address string) (net.Conn, error)) float64 {
		b.Helper()
		conn, err := dial("tcp4", netip.AddrPortFrom(lab.Somewhere(77), 7001).String())
		b.ok(err)
		defer conn.Close()
		there, err := listener.Accept()
		b.ok(err)
		defer there.Close()
		go func() {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		}()
		const ramp, length = time.Second, 3 * time.Second
		began, counted := time.Now(), 0
		buffer := make([]byte, 256<<10)
		for time.Since(began) < ramp+length {
			n, err := there.Read(buffer)
			b.ok(err)
			if time.Since(began) >= ramp {
				counted += n
			}
		}
		return float64(counted) * 8 / length.Seconds() / 1e6
	}
}

// Two Dantes, the one here under mptcpize asking one on a server likewise: one connection of a
// client that knows nothing of it, to a server that knows nothing of it, over both lines.
func TestDantedPairBonds(t *testing.T) {
	needMPTCP(t)
	labtest.Bench(t)
	labtest.NeedRoot(t, "danted", "mptcpize")
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "mptcp: true\n")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	b.kernel("tc qdisc add dev eth1 root tbf rate 50mbit burst 64kb latency 30ms",
		"tc qdisc add dev eth2 root tbf rate 25mbit burst 64kb latency 30ms")
	shipped := func(name string) string {
		text, err := os.ReadFile("../../configs/examples/" + name)
		b.ok(err)
		path := filepath.Join(b.dir, name)
		here := strings.NewReplacer("203.0.113.7", "198.18.9.9", "logoutput: syslog", "logoutput: stderr").Replace(string(text))
		b.ok(os.WriteFile(path, []byte(here), 0o600))
		return path
	}
	b.ok(b.world.Internet.Address("lo", netip.MustParsePrefix("198.18.9.9/32")))
	b.in(b.world.Internet, "mptcpize", "run", "danted", "-f", shipped("danted-server.conf"), "-p", b.dir+"/server.pid", "-N", "1")
	b.in(b.world.Host(), "mptcpize", "run", "danted", "-f", shipped("danted-pair.conf"), "-p", b.dir+"/here.pid", "-N", "1")
	dialer, err := proxy.SOCKS5("tcp4", netip.AddrPortFrom(lab.LANHost.Addr(), 1080).String(), nil, &net.Dialer{Timeout: 3 * time.Second})
	b.ok(err)
	fromClient := func(network, address string) (conn net.Conn, err error) {
		err = b.world.Client.Do(func() error {
			conn, err = dialer.Dial(network, address)
			return err
		})
		return conn, err
	}
	said := ""
	defer func() {
		if t.Failed() {
			t.Logf("the pair said %s", said)
		}
	}()
	b.until("the pair answers", 5*time.Second, func() bool {
		conn, err := fromClient("tcp4", netip.AddrPortFrom(lab.Somewhere(7), lab.Port).String())
		if err != nil {
			said = err.Error()
			return false
		}
		return conn.Close() == nil
	})
	sink := b.sinkOf()
	together := sink(fromClient)
	t.Logf("one connection of a client through the pair over 50 and 25 Mbit/s: %.1f Mbit/s", together)
	if together < 55 {
		t.Errorf("%.1f Mbit/s, want more than the faster line has", together)
	}
}
