package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/proxy"
	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// gatewayBench is a NAT gateway with a LAN client behind it.
func gatewayBench(t *testing.T, weights []int, keys []string, extra string) *bench {
	t.Helper()
	b := newBench(t, len(weights))
	b.gateway(weights, keys, extra)
	return b
}

// gateway makes the host a NAT gateway, with some keys for single uplinks.
func (b *bench) gateway(weights []int, keys []string, extra string) {
	b.Helper()
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	b.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	lines := b.static(weights...)
	for i := range lines {
		lines[i] += ", masquerade: true"
		if i < len(keys) && keys[i] != "" {
			lines[i] += ", " + keys[i]
		}
	}
	b.configure(lines, extra)
}

// A flow is a connection that stays: it says something and wants it back.
type flow struct {
	conn  net.Conn
	isp   int  // it left by
	udp   bool // then it is told its caller's address each time
	ended time.Time
	err   error
	mu    sync.Mutex
}

// dialTCP opens a flow to the n-th address of the internet.
func (b *bench) dialTCP(n int, dial func(network, address string) (net.Conn, error)) (*flow, error) {
	conn, err := dial("tcp4", netip.AddrPortFrom(lab.Somewhere(n), lab.Port).String())
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	caller, err := lab.ReadCaller(conn)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	isp := b.world.ISPOf(caller)
	if isp == nil {
		return nil, fmt.Errorf("left by no ISP, from %s", caller)
	}
	return &flow{conn: conn, isp: isp.Number}, nil
}

func (b *bench) dialUDP(n int) (*flow, error) {
	conn, err := net.Dial("udp4", netip.AddrPortFrom(lab.Somewhere(n), lab.Port).String())
	if err != nil {
		return nil, err
	}
	f := &flow{conn: conn, udp: true}
	f.isp, err = b.askUDP(f)
	return f, err
}

// askUDP returns the ISP that a datagram of the flow leaves by.
func (b *bench) askUDP(f *flow) (int, error) {
	for range 3 {
		if _, err := f.conn.Write([]byte("who am I?")); err != nil {
			continue
		}
		_ = f.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		line := make([]byte, 64)
		n, err := f.conn.Read(line)
		if err != nil {
			continue
		}
		at, err := netip.ParseAddrPort(strings.TrimSpace(string(line[:n])))
		if err != nil {
			return 0, err
		}
		if isp := b.world.ISPOf(at.Addr()); isp != nil {
			return isp.Number, nil
		}
		return 0, fmt.Errorf("left by no ISP, from %s", at)
	}
	return 0, errors.New("no answer")
}

// inLAN runs f in the LAN client's namespace.
func (b *bench) inLAN(f func() error) {
	b.Helper()
	b.ok(b.world.Client.Do(f))
}

// open opens so many flows in the LAN and tells how many left by each ISP.
func (b *bench) open(count, from int, open func(n int) (*flow, error)) ([]*flow, map[int]int) {
	b.Helper()
	var flows []*flow
	byISP := map[int]int{}
	b.inLAN(func() error {
		for n := range count {
			f, err := open(from + n)
			if err != nil {
				return fmt.Errorf("flow %d: %w", n, err)
			}
			b.Cleanup(func() { _ = f.conn.Close() })
			flows = append(flows, f)
			byISP[f.isp]++
		}
		return nil
	})
	return flows, byISP
}

// works reports whether a flow still does, by the ISP it began with.
func (b *bench) works(f *flow) error {
	if f.udp {
		isp, err := b.askUDP(f)
		if err == nil && isp != f.isp {
			err = fmt.Errorf("moved from ISP %d to %d", f.isp, isp)
		}
		return err
	}
	return echo(f.conn)
}

// broken returns which of the flows no longer work, but those of an ISP.
func (b *bench) broken(flows []*flow, but int) []error {
	var errs []error
	for _, f := range flows {
		if f.isp != but {
			if err := b.works(f); err != nil {
				errs = append(errs, fmt.Errorf("a flow of ISP %d: %w", f.isp, err))
			}
		}
	}
	return errs
}

// watchEnds notes when each TCP flow of an ISP ends.
func watchEnds(flows []*flow, isp int) (wait func()) {
	var all sync.WaitGroup
	for _, f := range flows {
		if f.isp != isp || f.udp {
			continue
		}
		all.Go(func() {
			_ = f.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, err := io.Copy(io.Discard, bufio.NewReader(f.conn))
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ended, f.err = time.Now(), err
		})
	}
	return all.Wait
}

// verdictTime waits for the event of the first uplink and returns when it was.
func (b *bench) verdictTime(after uint64, state string) time.Time {
	b.Helper()
	var at time.Time
	b.until("isp1 is "+state, 5*time.Second, func() bool {
		events, err := b.client.Events(b.Context(), after, false)
		b.ok(err)
		for _, e := range events.Events {
			if e.Kind == "state" && e.Uplink == "isp1" && e.To == state {
				at = e.Time
			}
		}
		return !at.IsZero()
	})
	return at
}

func (b *bench) lastEvent() uint64 {
	b.Helper()
	events, err := b.client.Events(b.Context(), 0, false)
	b.ok(err)
	return events.Last
}

// The life of flows behind NAT and through a SOCKS server, over three uplinks: one
// dies silently, comes back, weights change, one is drained. Nobody's flow moves or
// is harmed but those of the dead one, and they are gone at once.
func TestFlows(t *testing.T) {
	labtest.NeedRoot(t, "danted")
	b := gatewayBench(t, []int{1, 1, 1}, nil, normalProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	server := b.danted()
	socks, err := proxy.SOCKS5("tcp4", server, nil, &net.Dialer{Timeout: 2 * time.Second})
	b.ok(err)

	var behindNAT, byUDP, bySOCKS []*flow
	var shares [3]map[int]int
	behindNAT, shares[0] = b.open(200, 0, func(n int) (*flow, error) { return b.dialTCP(n, net.Dial) })
	byUDP, shares[1] = b.open(200, 1000, b.dialUDP)
	bySOCKS, shares[2] = b.open(200, 2000, func(n int) (*flow, error) { return b.dialTCP(n, socks.Dial) })
	t.Logf("by ISP: behind NAT %v, UDP %v, through SOCKS %v", shares[0], shares[1], shares[2])
	all := append(append(append([]*flow(nil), behindNAT...), byUDP...), bySOCKS...)

	last := b.lastEvent()
	ended := watchEnds(bySOCKS, 1)
	b.ok(b.world.ISPs[0].Silence(true))
	verdict := b.verdictTime(last, "down")
	gone := time.Now()
	b.until("the flows are forgotten", time.Second, func() bool {
		gone = time.Now()
		return b.marked(1<<24) == 0
	})
	if took := gone.Sub(verdict); took > 200*time.Millisecond*patience {
		t.Errorf("flows of the dead uplink were known for %v after the verdict", took)
	}
	ended()
	worst, late, of := time.Duration(0), 0, 0
	for _, f := range bySOCKS {
		if f.isp == 1 {
			of++
			worst = max(worst, f.ended.Sub(verdict))
			if f.ended.Sub(verdict) > 200*time.Millisecond {
				late++
			}
		}
	}
	t.Logf("after the verdict: flows forgotten within %v, SOCKS connections ended within %v, %d of %d after more "+
		"than 200ms",
		gone.Sub(verdict), worst, late, of)
	if worst > 200*time.Millisecond*patience {
		t.Errorf("a SOCKS connection ended %v after the verdict, want 200ms at most", worst)
	}
	if errs := b.broken(all, 1); len(errs) > 0 {
		t.Errorf("%d flows of the others were harmed: %v", len(errs), errs[0])
	}
	moved := 0
	for _, f := range byUDP {
		if f.isp == 1 {
			if isp, err := b.askUDP(f); err == nil && isp != 1 {
				moved++
				f.isp = isp // from now on it is this one's
			}
		}
	}
	if moved != shares[1][1] {
		t.Errorf("%d of %d UDP flows of the dead uplink go by another", moved, shares[1][1])
	}
	b.inLAN(func() error {
		conn, err := socks.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(5), lab.Port).String())
		if err != nil {
			return fmt.Errorf("the next SOCKS connection: %w", err)
		}
		return conn.Close()
	})

	b.ok(b.world.ISPs[0].Silence(false))
	b.untilStates(5*time.Second, "up", "up", "up")
	if errs := b.broken(all, 1); len(errs) > 0 {
		t.Errorf("%d flows moved or ended when the uplink returned: %v", len(errs), errs[0])
	}

	b.ok(b.client.Command(t.Context(), "isp1", api.Command{Action: "weight", Weight: 6}))
	b.until("the new weight", time.Second, func() bool { return b.status().DefaultRoute.NextHops[0].Weight == 6 })
	if errs := b.broken(all, 1); len(errs) > 0 {
		t.Errorf("%d flows moved when the weights changed: %v", len(errs), errs[0])
	}
	const fresh = 3000
	byISP := map[int]int{}
	b.inLAN(func() error {
		for n := range fresh {
			f, err := b.dialTCP(3000+n, net.Dial)
			if err != nil {
				return err
			}
			byISP[f.isp]++
			_ = f.conn.Close()
		}
		return nil
	})
	share := 100 * float64(byISP[1]) / fresh
	t.Logf("new connections at weights 6:1:1: %v, %.1f%% by the first", byISP, share)
	if share < 75-3 || share > 75+3 {
		t.Errorf("%.1f%% of the new connections by the first, want 75%% give or take 3", share)
	}

	b.ok(b.client.Command(t.Context(), "isp2", api.Command{Action: "drain"}))
	b.untilStates(2*time.Second, "up", "drained", "up")
	if errs := b.broken(all, 1); len(errs) > 0 {
		t.Errorf("%d flows were harmed by draining: %v", len(errs), errs[0])
	}
}

// danted starts the real danted with the shipped configuration, and returns where
// it listens.
func (b *bench) danted() string {
	b.Helper()
	return b.dantedBy("danted")
}

// dantedBy is danted, started by a command.
func (b *bench) dantedBy(command ...string) string {
	b.Helper()
	config, err := os.ReadFile("../../configs/examples/danted.conf")
	b.ok(err)
	path := b.dir + "/danted.conf"
	text := string(config)
	if len(b.world.ISPs) > 2 {
		text = strings.Replace(text, "external: eth2", "external: eth2\nexternal: eth3", 1)
	}
	b.ok(os.WriteFile(path, []byte(text), 0o600))
	b.in(b.world.Host(), command[0], append(command[1:], "-f", path, "-p", b.dir+"/danted.pid", "-N", "1")...)
	server := netip.AddrPortFrom(lab.LANHost.Addr(), 1080).String()
	b.until("danted answers", 5*time.Second, func() bool {
		return b.world.Client.Do(func() error {
			conn, err := net.DialTimeout("tcp4", server, time.Second)
			if err == nil {
				err = conn.Close()
			}
			return err
		}) == nil
	})
	return server
}

// marked returns how many flows have an uplink's mark, echoes aside.
func (b *bench) marked(mark uint32) int {
	b.Helper()
	out := b.kernel(fmt.Sprintf("conntrack -L -m %d/4278190080 2>/dev/null | grep -vc icmp || true", mark))
	var n int
	_, err := fmt.Sscan(out[strings.Index(out, "\n")+1:], &n)
	b.ok(err)
	return n
}

// Twenty thousand flows and two thousand connections of this host: the switch ends
// them in less than 50 ms.
func TestSwitchOfMany(t *testing.T) {
	labtest.Measured(t)
	b := gatewayBench(t, []int{1, 1}, nil, fastProbe)
	var limit unix.Rlimit
	b.ok(unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	wide := unix.Rlimit{Cur: max(limit.Cur, min(limit.Max, 16384)), Max: limit.Max}
	b.ok(unix.Setrlimit(unix.RLIMIT_NOFILE, &wide))
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	isp := b.world.ISPs[0]
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: isp.Static.Addr().AsSlice()}, Timeout: 5 * time.Second}
	const connections, flows = 2000, 20000
	own := make([]net.Conn, 0, connections)
	for n := range connections {
		conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(n), lab.Port).String())
		b.ok(err)
		own = append(own, conn)
	}
	t.Cleanup(func() {
		for _, c := range own {
			_ = c.Close()
		}
	})
	b.inLAN(func() error {
		conn, err := net.ListenPacket("udp4", ":0")
		if err != nil {
			return err
		}
		defer conn.Close()
		for n := range flows {
			to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(lab.Somewhere(n%60000), 9))
			if _, err := conn.WriteTo([]byte("x"), to); err != nil {
				return err
			}
			if n%500 == 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
		return nil
	})
	known := b.marked(1<<24) + b.marked(2<<24)
	b.ok(isp.Silence(true))
	b.untilStates(2*time.Second, "down", "up")
	var took time.Duration
	var ended, forgotten int
	b.until("the line of the switch", 2*time.Second, func() bool {
		for line := range strings.Lines(b.log.String()) {
			if strings.Contains(line, "state=down") && strings.Contains(line, "cut_took=") {
				for _, word := range strings.Fields(line) {
					key, value, _ := strings.Cut(word, "=")
					switch key {
					case "cut_took":
						took, _ = time.ParseDuration(value)
					case "sockets":
						_, _ = fmt.Sscan(value, &ended)
					case "flows":
						_, _ = fmt.Sscan(value, &forgotten)
					}
				}
				return true
			}
		}
		return false
	})
	t.Logf("of %d flows %d forgotten, %d connections ended, in %v", known, forgotten, ended, took)
	if known < flows || ended < connections || forgotten < flows/3 {
		t.Errorf("%d flows known, %d forgotten, %d connections ended: the test proves nothing", known, forgotten, ended)
	}
	if took > 50*time.Millisecond*slowFactor {
		t.Errorf("%v, want 50ms at most", took)
	}
}
