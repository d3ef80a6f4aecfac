package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/proxy"
	"golang.org/x/sys/unix"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// farFlow is the n-th destination that a crowd's host has no route to but the default one.
func farFlow(n int, v6 bool) netip.AddrPort {
	port := uint16(1024 + n%50_000)
	if v6 {
		return netip.AddrPortFrom(farAddress6(n), port)
	}
	return netip.AddrPortFrom(farAddress(n), port)
}

func farAddress(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)})
}

func farAddress6(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
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

// owners returns whose address of the crowd's an address is.
func owners(n int) map[netip.Addr]int {
	of := map[netip.Addr]int{}
	for i := range n {
		of[crowdAddress(i, 5)], of[crowdAddress6(i, 5)] = i, i
	}
	return of
}

// localShares connects so many sockets of this host, which sends nothing, and counts whose address they were given.
func (c *crowd) localShares(n, flows int, v6 bool) []int {
	c.Helper()
	of, counts := owners(n), make([]int, n)
	for k := range flows {
		a := localAddress(c, farFlow(k, v6))
		i, ok := of[a]
		if !ok {
			c.Fatalf("%s is the address of no uplink", a)
		}
		counts[i]++
	}
	return counts
}

// localAddress returns which address a socket is given that asks for another.
func localAddress(c *crowd, to netip.AddrPort) netip.Addr {
	c.Helper()
	family, address := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(to.Port())})
	if to.Addr().Is6() {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
	} else {
		address.(*unix.SockaddrInet4).Addr = to.Addr().As4()
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	c.ok(err)
	defer func() { _ = unix.Close(fd) }()
	c.ok(unix.Connect(fd, address))
	name, err := unix.Getsockname(fd)
	c.ok(err)
	if a, ok := name.(*unix.SockaddrInet6); ok {
		return netip.AddrFrom16(a.Addr)
	}
	return netip.AddrFrom4(name.(*unix.SockaddrInet4).Addr)
}

// natShares sends one packet each of so many flows from the LAN, and counts by which gateway they come.
func (c *crowd) natShares(n, flows int, v6 bool) []int {
	c.Helper()
	script := "nft add table inet sink; nft add chain inet sink in '{ type filter hook prerouting priority -500; }'\n"
	for i := range n {
		script += fmt.Sprintf("nft add counter inet sink c%d\n", i)
		for _, to := range []string{"ip daddr 11.0.0.0/8", "ip6 daddr 2001:db8:ff00::/40"} {
			script += fmt.Sprintf("nft add rule inet sink in iifname p%d %s counter name c%[1]d drop\n", i, to)
		}
	}
	c.at(c.far, script)
	defer c.at(c.far, "nft delete table inet sink")
	c.inLAN(func() error {
		for k := range flows {
			conn, err := net.Dial("udp", farFlow(k, v6).String())
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
			out, err := exec.Command("nft", "list", "counter", "inet", "sink", fmt.Sprint("c", i)).Output()
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

// farService answers connections to all far addresses with the address that they come from.
func (c *crowd) farService() netip.AddrPort {
	c.Helper()
	c.at(c.far, "ip route add local 11.0.0.0/8 dev lo")
	c.serveAt(c.far, "0.0.0.0:7", func(conn net.Conn) {
		_, _ = conn.Write([]byte(netip.MustParseAddrPort(conn.RemoteAddr().String()).Addr().String()))
	})
	return netip.AddrPortFrom(farAddress(0), 7)
}

// crowdDanted is danted with the shipped configuration, and all uplinks.
func (c *crowd) crowdDanted(n int) (server string) {
	c.Helper()
	text, err := os.ReadFile("../../configs/examples/danted.conf")
	c.ok(err)
	external := ""
	for i := range n {
		external += fmt.Sprintf("external: u%d\n", i)
	}
	config := filepath.Join(c.dir, "danted.conf")
	c.ok(os.WriteFile(config, []byte(strings.Replace(string(text), "external: eth1\nexternal: eth2\n", external, 1)), 0o600))
	c.in(c.world.Host(), "danted", "-f", config, "-p", filepath.Join(c.dir, "danted.pid"), "-N", "2")
	return netip.AddrPortFrom(lab.LANHost.Addr(), 1080).String()
}

// socksShares makes so many connections of the LAN through danted, each to another host, and counts whose address
// they come from.
func (c *crowd) socksShares(n, flows int) []int {
	c.Helper()
	port := c.farService().Port()
	server, of := c.crowdDanted(n), owners(n)
	ask := func(dialer proxy.Dialer, k int) (int, error) {
		conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(farAddress(k+1), port).String())
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		text := make([]byte, 64)
		size, err := conn.Read(text)
		if err != nil {
			return 0, err
		}
		a, err := netip.ParseAddr(string(text[:size]))
		if err != nil {
			return 0, err
		}
		i, ok := of[a]
		if !ok {
			return 0, fmt.Errorf("%s is the address of no uplink", a)
		}
		return i, nil
	}
	// What is closed leaves no port behind that waits for a minute: there are 28,000.
	direct := &net.Dialer{Timeout: 5 * time.Second}
	dialer, err := proxy.SOCKS5("tcp4", server, nil, resetting{direct})
	c.ok(err)
	c.until("danted answers", 5*time.Second, func() bool {
		return c.world.Client.Do(func() error { _, err := ask(dialer, 0); return err }) == nil
	})
	const workers = 16
	var all [workers][]int
	var failed [workers]error
	var group sync.WaitGroup
	for w := range workers {
		all[w] = make([]int, n)
		group.Go(func() {
			failed[w] = c.world.Client.Do(func() error {
				for k := w; k < flows; k += workers {
					i, err := ask(dialer, k)
					if err != nil {
						return fmt.Errorf("connection %d: %w", k, err)
					}
					all[w][i]++
				}
				return nil
			})
		})
	}
	group.Wait()
	c.ok(errors.Join(failed[:]...))
	counts := make([]int, n)
	for w := range workers {
		for i, k := range all[w] {
			counts[i] += k
		}
	}
	return counts
}

// resetting ends its connections at once.
type resetting struct{ *net.Dialer }

func (r resetting) Dial(network, address string) (net.Conn, error) {
	conn, err := r.Dialer.Dial(network, address)
	if err == nil {
		err = conn.(*net.TCPConn).SetLinger(0)
	}
	return conn, err
}

// socksFlows is how many connections are made through danted: with more uplinks it takes longer for each, 4 ms with 16.
func socksFlows(t *testing.T, uplinks, flows int) int {
	t.Helper()
	if text := os.Getenv("UPLINKD_SOCKS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if uplinks > 2 {
		return flows / 8
	}
	return flows
}

// How far new flows are from the weights, of 100,000 each.
func TestFigureSpread(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedRoot(t, "nft", "danted")
	sizes, flows := []int{3}, 20_000
	if runsOr(t, 0) > 0 {
		sizes, flows = []int{2, 3, 8, 16, 200}, 100_000
	}
	table := figures.Table{
		Title:   "Spread",
		About:   "New flows by uplinks of the weights 1, 2, 3, 1, 2, 3 …: at worst, how many percent of all flows an uplink has more or less than its weight. Of this host are sockets that ask for a route; behind NAT, packets of a LAN that is masqueraded; by SOCKS, TCP connections of that LAN through danted, each made and answered: an eighth as many with more than two uplinks, unless UPLINKD_SOCKS says how many.",
		Command: "UPLINKD_RUNS=1 go test -timeout 20m -run TestFigureSpread ./cmd/uplinkd",
		Limit:   "the kernel takes a next hop by a hash of the flow (fib_multipath_hash_policy 1): by chance alone 100,000 flows are up to 0.5 % off. Rules are asked one after the other, three an uplink.",
		Columns: []string{
			"uplinks", "flows each", "IPv4: host, %", "NAT, %", "SOCKS, %", "IPv6: host, %", "NAT, %", "a socket and its route, µs",
		},
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
			both := n <= 16
			if both {
				c.giveIPv6(n)
			}
			c.begin(c.build())
			row := []string{fmt.Sprint(n), figures.Number(float64(flows))}
			hold := func(what string, counts []int, flows int) {
				t.Helper()
				c.even(what, counts, flows, weight)
				off := errorOf(counts, weight)
				if off > 1 && flows >= 25_000 { // of fewer chance alone has as much
					t.Errorf("%s: %d uplinks: %.2f%% off, want 1%% at most", what, n, off)
				}
				row = append(row, figures.Number(off))
			}
			began := time.Now()
			hold("of this host", c.localShares(n, flows, false), flows)
			each := time.Since(began).Seconds() * 1e6 / float64(flows)
			hold("behind NAT", c.natShares(n, flows, false), flows)
			if both {
				few := socksFlows(t, n, flows)
				hold("by SOCKS", c.socksShares(n, few), few)
				hold("of this host, IPv6", c.localShares(n, flows, true), flows)
				c.lanClient()
				hold("behind NAT, IPv6", c.natShares(n, flows, true), flows)
			} else {
				row = append(row, "", "", "")
			}
			c.end()
			table.Rows = append(table.Rows, append(row, figures.Number(each)))
			t.Log(table.Rows[len(table.Rows)-1])
		})
	}
	if flows == 100_000 {
		if err := table.Keep(); err != nil {
			t.Fatal(err)
		}
	}
}
