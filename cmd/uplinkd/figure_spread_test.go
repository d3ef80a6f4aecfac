package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// farFlows are destinations that a crowd's host has no route to but the default one.
func farFlows(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)}), uint16(1024+n%50_000))
}

// errorOf returns how far shares are from weights, in percent of all, at worst.
func errorOf(counts []int, weight func(int) int) (worst float64) {
	all, weights := 0, 0
	for i, n := range counts {
		all, weights = all+n, weights+weight(i)
	}
	for i, n := range counts {
		worst = max(worst, 100*math.Abs(float64(n)/float64(all)-float64(weight(i))/float64(weights)))
	}
	return worst
}

// even holds that no flow is lost, and that no uplink is further from its share than chance and a hundredth explain.
func (c *crowd) even(what string, counts []int, flows int, weight func(int) int) {
	c.Helper()
	all, weights := 0, 0
	for i, n := range counts {
		all, weights = all+n, weights+weight(i)
	}
	if all < flows*999/1000 || all > flows {
		c.Errorf("%s: %d flows of %d were counted", what, all, flows)
	}
	for i, n := range counts {
		p := float64(weight(i)) / float64(weights)
		want := p * float64(flows)
		if off := math.Abs(float64(n) - want); off > want/100+6*math.Sqrt(want*(1-p)) {
			c.Errorf("%s: uplink %d has %d flows, want %.0f", what, i, n, want)
		}
	}
}

// localShares connects so many sockets of this host, which sends nothing, and counts whose address they were given.
func (c *crowd) localShares(n, flows int) []int {
	c.Helper()
	counts := make([]int, n)
	for k := range flows {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		c.ok(err)
		to := farFlows(k)
		c.ok(unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}))
		name, err := unix.Getsockname(fd)
		c.ok(err)
		_ = unix.Close(fd)
		a := name.(*unix.SockaddrInet4).Addr
		counts[int(a[1])*250+int(a[2])]++
	}
	return counts
}

// natShares sends one packet each of so many flows from the LAN, and counts by which gateway they come.
func (c *crowd) natShares(n, flows int) []int {
	c.Helper()
	script := "nft add table ip sink; nft add chain ip sink in '{ type filter hook prerouting priority -500; }'\n"
	for i := range n {
		script += fmt.Sprintf("nft add counter ip sink c%d; "+
			"nft add rule ip sink in iifname p%[1]d ip daddr 11.0.0.0/8 counter name c%[1]d drop\n", i)
	}
	c.at(c.far, script)
	defer c.at(c.far, "nft delete table ip sink")
	c.inLAN(func() error {
		for k := range flows {
			conn, err := net.Dial("udp4", farFlows(k).String())
			if err != nil {
				return err
			}
			_, err = conn.Write([]byte{1})
			_ = conn.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
	counts := make([]int, n)
	c.ok(c.far.Do(func() error {
		for i := range counts {
			out, err := exec.Command("nft", "list", "counter", "ip", "sink", fmt.Sprint("c", i)).Output()
			if err != nil {
				return err
			}
			_, after, _ := strings.Cut(string(out), "packets ")
			_, _ = fmt.Sscan(after, &counts[i])
		}
		return nil
	}))
	return counts
}

// How far new flows are from the weights, of 100,000 each.
func TestFigureSpread(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedRoot(t, "nft")
	sizes, flows := []int{3}, 20_000
	if runsOr(t, 0) > 0 {
		sizes, flows = []int{2, 3, 8, 16, 200}, 100_000
	}
	table := figures.Table{
		Title:   "Spread",
		About:   "New flows by uplinks of the weights 1, 2, 3, 1, 2, 3 …: at worst, how many percent of all flows an uplink has more or less than its weight.",
		Command: "UPLINKD_RUNS=1 go test -run TestFigureSpread ./cmd/uplinkd",
		Limit:   "the kernel takes a next hop by a hash of the flow (fib_multipath_hash_policy 1): by chance alone 100,000 flows are up to 0.5 % off. SOCKS asks the same routes as this host's own programs (docs/dante.md). Rules are asked one after the other, three an uplink.",
		Columns: []string{"uplinks", "flows each", "IPv4 of this host, %", "IPv4 behind NAT, %", "a socket and its route, µs"},
	}
	weight := func(i int) int { return 1 + i%3 }
	for _, n := range sizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := newCrowd(t, n, "")
			c.ok(c.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
			c.edit(func(text string) string {
				for i := range n {
					name := fmt.Sprintf("{name: u%d,", i)
					text = strings.Replace(text, name, fmt.Sprintf("%s weight: %d, masquerade: true,", name, weight(i)), 1)
				}
				return text
			})
			c.begin(c.build())
			began := time.Now()
			here := c.localShares(n, flows)
			each := time.Since(began).Seconds() * 1e6 / float64(flows)
			behind := c.natShares(n, flows)
			c.even("of this host", here, flows, weight)
			c.even("behind NAT", behind, flows, weight)
			local, nat := errorOf(here, weight), errorOf(behind, weight)
			c.end()
			table.Rows = append(table.Rows, []string{
				fmt.Sprint(n), figures.Number(float64(flows)), figures.Number(local), figures.Number(nat), figures.Number(each),
			})
			t.Log(table.Rows[len(table.Rows)-1])
			if most := 1.0; local > most || nat > most {
				t.Errorf("%d uplinks: %.2f%% and %.2f%% off, want %.0f%% at most", n, local, nat, most)
			}
		})
	}
	if flows == 100_000 {
		if err := table.Keep(); err != nil {
			t.Fatal(err)
		}
	}
}

// Lines of 100, 50 and 25 Mbit/s, at 4:2:1, by sixty flows: how much of them is used.
func TestFigureThroughput(t *testing.T) {
	labtest.Bench(t)
	labtest.NeedRoot(t, "tc")
	b := newBench(t, 3)
	b.configure(b.static(4, 2, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up", "up")
	rates := []float64{100, 50, 25}
	for i, rate := range rates {
		b.kernel(fmt.Sprintf("tc qdisc add dev eth%d root tbf rate %.0fmbit burst 64kb latency 30ms", i+1, rate))
	}
	var listener net.Listener
	b.ok(b.world.Internet.Do(func() (err error) {
		listener, err = net.Listen("tcp4", "0.0.0.0:7002")
		return err
	}))
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn) }()
		}
	}()
	for k := range 60 {
		conn, err := net.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(1000+k), 7002).String())
		b.ok(err)
		t.Cleanup(func() { _ = conn.Close() })
		go func() {
			chunk := make([]byte, 64<<10)
			for {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		}()
	}
	sent := func() (n [3]float64) {
		for i := range n {
			out, err := exec.Command("ip", "-j", "-s", "link", "show", fmt.Sprintf("eth%d", i+1)).Output()
			b.ok(err)
			var links []struct {
				Stats struct{ TX struct{ Bytes float64 } } `json:"stats64"`
			}
			b.ok(json.Unmarshal(out, &links))
			n[i] = links[0].Stats.TX.Bytes
		}
		return n
	}
	var shares []float64
	var each [3][]float64
	time.Sleep(3 * time.Second)
	for range 5 {
		before, began := sent(), time.Now()
		time.Sleep(2 * time.Second)
		after, took := sent(), time.Since(began).Seconds()
		sum := 0.0
		for i := range rates {
			mbit := (after[i] - before[i]) * 8 / 1e6 / took
			each[i] = append(each[i], mbit)
			sum += mbit
		}
		shares = append(shares, 100*sum/175)
	}
	all := figures.SpreadOf(shares)
	t.Logf("%s%% of the sum", all)
	if all.Median < 97 {
		t.Errorf("%s%% of the sum of the lines is used, want 97%% at least", all)
	}
	table := figures.Table{
		Title:   "Throughput",
		About:   "Lines of 100, 50 and 25 Mbit/s (tbf) at weights 4:2:1, sixty TCP connections of this host, five times two seconds.",
		Command: "UPLINKD_BENCH=1 go test -run TestFigureThroughput ./cmd/uplinkd",
		Limit:   "a connection keeps to its line: with few of them a line may have none. One MPTCP connection over two lines: TestMPTCPBonds.",
		Columns: []string{"100 Mbit/s line", "50", "25", "of the sum, %"},
		Rows: [][]string{{
			figures.SpreadOf(each[0]).String(), figures.SpreadOf(each[1]).String(), figures.SpreadOf(each[2]).String(), all.String(),
		}},
	}
	if err := table.Keep(); err != nil {
		t.Fatal(err)
	}
}
