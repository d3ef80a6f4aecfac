package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/figures"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// costly writes a configuration with so many policies that none of the traffic matches: a file of 100,000 prefixes, a
// set of 10,000 names, and the rest by ports, interfaces, devices and what they are not.
func (b *bench) costly(base, list string, n int) {
	b.Helper()
	text := base
	for i := range n {
		if i == 0 {
			text += "policies:\n"
		}
		line := fmt.Sprintf("name: p%d, dport: [%d, %d-%d], via: isp1", i, 10000+i, 20000+10*i, 20005+10*i)
		switch {
		case i == 0:
			line = fmt.Sprintf("name: many, to: \"file:%s\", via: isp1", list)
		case i == 1:
			line = "name: names, to: \"dns:names\", via: isp1"
		case i%5 == 2:
			line = fmt.Sprintf("name: p%d, to: 203.0.113.%d, not: {dport: 25}, via: isp1", i, i)
		case i%5 == 3:
			line = fmt.Sprintf("name: p%d, in: [wlan%d, \"tun%d*\"], via: isp1", i, i, i)
		case i%5 == 4:
			line = fmt.Sprintf("name: p%d, mac: \"02:00:5e:00:01:%02x\", via: isp1", i, i)
		}
		text += "  - {" + line + "}\n"
	}
	b.ok(os.WriteFile(b.config, []byte(text), 0o600))
	b.ok(b.cmd.Process.Signal(syscall.SIGHUP))
	b.until("the policies are in force", 10*time.Second, func() bool {
		s := b.status()
		return len(s.Policies) == n && s.Kernel.InSync
	})
	if n > 1 {
		var elements strings.Builder
		for i := range 10_000 {
			fmt.Fprintf(&elements, "add element inet uplinkd names { 10.%d.%d.%d }\n", i>>16, i>>8&255, i&255)
		}
		file := filepath.Join(b.dir, "names.nft")
		b.ok(os.WriteFile(file, []byte(elements.String()), 0o600))
		if out, err := exec.Command("nft", "-f", file).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
}

// swallow has the internet count what comes to UDP port 9, and drop it.
func (b *bench) swallow() {
	b.Helper()
	b.ok(b.world.Internet.Do(func() error {
		return exec.Command("sh", "-ec", `nft add table inet sink; nft add counter inet sink through
			nft add chain inet sink prerouting '{ type filter hook prerouting priority -500; }'
			nft add rule inet sink prerouting udp dport 9 counter name through drop`).Run()
	}))
}

// swallowed returns how many it has dropped.
func (b *bench) swallowed() (n int) {
	b.Helper()
	b.ok(b.world.Internet.Do(func() error {
		out, err := exec.Command("nft", "list", "counter", "inet", "sink", "through").Output()
		_, after, _ := strings.Cut(string(out), "packets ")
		_, _ = fmt.Sscan(after, &n)
		return err
	}))
	return n
}

// flood sends small packets from the LAN as fast as it can, of a few flows or each of another, and returns how many a
// second came through the gateway.
func (b *bench) flood(d time.Duration, fresh bool) float64 {
	b.Helper()
	b.kernel("conntrack -F 2>/dev/null")
	before := b.swallowed()
	began := time.Now()
	b.inLAN(func() error {
		flows := 8
		if fresh {
			flows = 1
		}
		var conns []net.Conn
		for n := range flows {
			conn, err := net.Dial("udp4", fmt.Sprintf("198.18.200.%d:9", n+1))
			if err != nil {
				return err
			}
			defer conn.Close()
			conns = append(conns, conn)
		}
		packet := make([]byte, 32)
		raw, err := conns[0].(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		for n := 0; time.Since(began) < d; n++ {
			if !fresh {
				_, _ = conns[n%flows].Write(packet)
				continue
			}
			// Another destination each time is another flow; after each round of them another source.
			if n > 0 && n%15_000 == 0 {
				conn, err := net.Dial("udp4", "198.18.200.1:9")
				if err != nil {
					return err
				}
				defer conn.Close()
				if raw, err = conn.(*net.UDPConn).SyscallConn(); err != nil {
					return err
				}
			}
			to := &syscall.SockaddrInet4{Port: 9, Addr: lab.Somewhere(50_000 + n%15_000).As4()}
			_ = raw.Control(func(fd uintptr) { _ = syscall.Sendto(int(fd), packet, 0, to) })
		}
		return nil
	})
	took := time.Since(began)
	return float64(b.swallowed()-before) / took.Seconds()
}

// A rival is our nft table as it is without policies, in the place of the one that has them, and back, at once: the
// daemon, which would mend that, stands still meanwhile.
type rival struct {
	*bench
	file string // what nft has listed
}

// without saves our table as it is now, under another name.
func (b *bench) without() rival {
	b.Helper()
	r := rival{b, filepath.Join(b.dir, "without.nft")}
	b.kernel("nft list table inet uplinkd | sed '1s/uplinkd/without/' >" + r.file)
	return r
}

// beside has f run while both tables are there.
func (r rival) beside(f func()) {
	r.Helper()
	r.ok(r.cmd.Process.Signal(syscall.SIGSTOP))
	r.kernel("nft -f " + r.file)
	defer func() {
		r.choose("uplinkd", "without")
		r.kernel("nft delete table inet without")
		r.ok(r.cmd.Process.Signal(syscall.SIGCONT))
	}()
	f()
}

// choose has one table see packets, and not the other.
func (r rival) choose(table, not string) {
	r.Helper()
	r.kernel(fmt.Sprintf("nft 'add table inet %s { flags dormant; }; add table inet %s'", not, table))
}

// What policies cost: packets a second of flows that are known, through 1, 100 and 200 policies with 100,000 prefixes
// and 10,000 names, against none, in turns. First packets, which alone are asked, are told beside them.
func TestPolicyCost(t *testing.T) {
	labtest.NeedRoot(t, "nft", "conntrack")
	runs, most, counts := 1, 0.30, []int{200}
	if os.Getenv("UPLINKD_RUNS") != "" {
		runs, most, counts = runsOr(t, 5), 0.05, []int{1, 100, 200}
	}
	b := newBench(t, 2)
	b.gateway([]int{1, 1}, nil, normalProbe)
	b.swallow()
	list := filepath.Join(b.dir, "list")
	var prefixes strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&prefixes, "%d.%d.%d.0/24\n", 20+i>>15, i>>7&255, i<<1&255)
	}
	b.ok(os.WriteFile(list, []byte(prefixes.String()), 0o600))
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	base, err := os.ReadFile(b.config)
	b.ok(err)
	table := figures.Table{
		Title: "Policies",
		About: "A flood of small packets from the LAN through so many policies that match none of it, against none, in ten turns of a " +
			"tenth of a second, of which the median counts: of flows that are known, and such that each packet is a flow's first. Among them are a list of 100,000 prefixes " +
			"and 10,000 names; the rest name ports, addresses, interfaces and Ethernet addresses.",
		Command: "UPLINKD_RUNS=5 go test -run TestPolicyCost ./cmd/uplinkd",
		Limit: "a packet of a known flow is asked by no policy. A first one is looked up once a field (docs/policies.md), and once more for " +
			"each policy that no table can hold; a look-up among 100,000 ranges (rbtree) is itself a sixteenth of a first packet.",
		Columns: []string{"policies", "known flows, packets a second", "fewer, %", "first packets a second", "fewer, %"},
	}
	none := b.without()
	for _, n := range counts {
		b.costly(string(base), list, n)
		var rates, fewer [2][]float64 // of known flows, and of first packets
		none.beside(func() {
			for range runs {
				rate, less := none.turns(10)
				for i := range rates {
					rates[i], fewer[i] = append(rates[i], rate[i]), append(fewer[i], less[i])
				}
			}
		})
		row := []string{fmt.Sprint(n)}
		for i := range rates {
			row = append(row, figures.Number(figures.SpreadOf(rates[i]).Median), figures.SpreadOf(fewer[i]).String())
		}
		t.Log(row)
		table.Rows = append(table.Rows, row)
		if cost := figures.SpreadOf(fewer[0]).Median; cost > 100*most {
			t.Errorf("%d policies: %.1f%% fewer packets, want %.0f%% at most", n, cost, 100*most)
		}
	}
	b.kept(table, len(counts) > 1)
}

// turns floods through both tables by turns, and returns the median of the packets a second through ours, and of how
// many percent fewer these are than through the other, before and after it: of known flows, and of first packets.
func (r rival) turns(n int) (rate, less [2]float64) {
	r.Helper()
	speed := func(table, not string) (of [2]float64) {
		r.choose(table, not)
		const d = 100 * time.Millisecond
		return [2]float64{r.flood(d, false), r.flood(d, true)}
	}
	var rates, fewer [2][]float64
	before := speed("without", "uplinkd")
	for range n {
		with := speed("uplinkd", "without")
		after := speed("without", "uplinkd")
		for i := range with {
			rates[i] = append(rates[i], with[i])
			fewer[i] = append(fewer[i], 100*(1-2*with[i]/(before[i]+after[i])))
		}
		before = after
	}
	for i := range rates {
		rate[i], less[i] = figures.SpreadOf(rates[i]).Median, figures.SpreadOf(fewer[i]).Median
	}
	return rate, less
}
