package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// Everything that happens to a gateway, at random and again and again: links that fall
// silent or lose their carrier, kills, stops, reloads, orders, leases with another address,
// other programs that take away what is ours. Throughout it the shared default route is
// never away for longer than its bound, connections fail only where an uplink has, and what
// others have put in the kernel stays; after each time all is as it was, and at the end
// nothing is left. UPLINKD_SOAK says for how long, UPLINKD_SEED by which numbers.
func TestSoak(t *testing.T) {
	labtest.NeedRoot(t, "dnsmasq")
	length, seed := 10*time.Second, uint64(1) // `make soak` takes another each time
	if os.Getenv("CI") != "" {
		length = time.Minute
	}
	var err error
	if text := os.Getenv("UPLINKD_SOAK"); text != "" {
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	if text := os.Getenv("UPLINKD_SEED"); text != "" {
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("UPLINKD_SEED=%d", seed)
	s := newSoak(t, rand.New(rand.NewPCG(seed, 0)), true)
	s.begin()
	if _, err := exec.LookPath("danted"); err == nil {
		s.proxy = s.danted()
	}
	longest, longest6, load := watchAway(s.bench, false), watchAway(s.bench, true), s.load()
	start, counts := s.size(), map[string]int{}
	for began := time.Now(); time.Since(began) < length && !t.Failed(); {
		a := s.actions()[s.random.IntN(len(s.actions()))]
		counts[a.name]++
		s.do(a)
		s.calm(a.name)
	}
	calls := load()
	excused, failed := s.judge(calls)
	away, away6 := longest(), longest6()
	t.Logf("%v: %d connections, %d failed where an uplink had, %d where none had; the default route was away for %v at the longest, "+
		"that of IPv6 for %v; %v", length, len(calls), excused, failed, away.Round(time.Millisecond), away6.Round(time.Millisecond), counts)
	// A machine that does other things may keep one of a thousand waiting for too long.
	if failed > len(calls)/1000 {
		t.Errorf("%d of %d connections failed though no uplink had", failed, len(calls))
	}
	if limit := 1500 * time.Millisecond * slowFactor; max(away, away6) > limit {
		t.Errorf("no default route for %v, in IPv6 for %v, want %v at the most", away, away6, limit)
	}
	if end := s.size(); end.descriptors > start.descriptors+8 || end.threads > start.threads+12 || end.resident > 2*start.resident+16<<10 {
		t.Errorf("the daemon has grown from %+v to %+v", start, end)
	}
	s.end()
}

// A soak is a bench to which things happen.
type soak struct {
	*bench
	random *rand.Rand
	six    bool     // both families
	before string   // what the kernel held before the daemon
	wanted string   // what it holds when all is well
	faults []window // when connections may fail
	leases func()   // stops the DHCP server
	daemon string   // the program, without the race detector
	pool   int      // of addresses that it gives
	proxy  string   // where danted listens; "": Debian 13 has none

	tableGone bool // another program has just deleted our nft table
}

// A window is a time in which connections may fail, for an uplink does.
type window struct {
	from, to time.Time
	family   family
}

// A family is that of connections; the zero value is both.
type family int

const (
	onlyIPv4 family = 4
	onlyIPv6 family = 6
)

// An action is what happens.
type action struct {
	name  string
	fails time.Duration // for so long afterwards connections may fail; 0: none may
	do    func()
	of    family // whose connections those are
}

// foreignThings are what others have in the kernel.
var foreignThings = []string{
	"ip rule add pref 15000 from 192.0.2.77 lookup 99", "ip route add 192.0.2.0/24 via 192.168.77.2",
	"ip route add 203.0.113.0/24 via 192.168.77.2 table 99", "ip addr add 192.168.99.1/24 dev lan0",
	"nft 'add table ip others; add chain ip others c; add rule ip others c counter'",
}

// foreignTaken takes them away again.
const foreignTaken = `ip rule del pref 15000; ip route del 192.0.2.0/24; ip route flush table 99; ip addr del 192.168.99.1/24 dev lan0
nft delete table ip others`

// foreignShown is how they are looked at.
var foreignShown = []string{
	"ip rule | grep -w 99", "ip route show table 99", "ip route | grep -w 192.168.77.2", "ip -o addr show dev lan0 | grep 192.168.99.1 | sed 's/valid.*//'",
	"nft list table ip others | grep -v packets",
}

func newSoak(t *testing.T, random *rand.Rand, six bool) *soak {
	t.Helper()
	b := newBench(t, 3)
	if six {
		b.enableIPv6()
	}
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	t.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	s := &soak{bench: b, random: random, six: six, daemon: b.build()}
	b.kernel(foreignThings...)
	t.Cleanup(func() { _ = exec.Command("sh", "-c", foreignTaken).Run() })
	s.before = s.kernel(s.looked()...)
	s.lease()
	if six {
		s.delegating(false)
	}
	s.configureWeights(1, 1, 1)
	return s
}

// configureWeights writes the configuration, the first uplink with an address by DHCP.
func (s *soak) configureWeights(weights ...int) {
	s.Helper()
	lines := s.static(weights...)
	isp := s.world.ISPs[0]
	lines[0] = fmt.Sprintf("name: isp1, interface: %s, address: dhcp, gateway: lease, weight: %d, dhcp: {renew_after: 2s}", isp.Interface, weights[0])
	more := "probe: {interval: 100ms, hold_down: 0s}\n"
	for i := range lines {
		lines[i] += ", masquerade: true"
		if s.six {
			lines[i] += ", ipv6: auto"
		}
	}
	if s.six {
		more += "lan: [{interface: lan0, subnet: 1}]\n"
	}
	s.configure(lines, more)
}

// lease starts the DHCP server, each time with other addresses.
func (s *soak) lease() {
	s.Helper()
	if s.leases != nil {
		s.leases()
		_ = os.Remove(s.dir + "/eth1.leases2")
	}
	s.pool = (s.pool + 1) % 5
	first := 100 + 20*s.pool
	s.leases = s.dnsmasqRange(s.world.ISPs[0], first, first+19, "--dhcp-option-force=58,5", "--dhcp-option-force=59,100")
}

func (s *soak) begin() {
	s.Helper()
	s.launch(exec.Command(s.daemon, "run", "-c", s.config))
	s.untilStates(10*time.Second, "up", "up", "up")
	if s.six {
		s.untilStates6(10*time.Second, "up", "up", "up")
		s.untilPrefixes()
		s.lanClient()
	}
	s.wanted = s.kernel(foreignShown...)
	time.Sleep(time.Second)
}

// end takes the daemon away: nothing of it is left.
func (s *soak) end() {
	s.Helper()
	s.kill(syscall.SIGTERM)
	s.leases()
	if out, err := s.run("cleanup", "-c", s.config); err != nil {
		s.Fatalf("cleanup: %v\n%s", err, out)
	}
	if left := s.kernel(s.looked()...); left != s.before {
		s.Errorf("cleanup leaves what was not there before:\n%s", labtest.LineDiff(s.before, left))
	}
}

func (s *soak) isp() *lab.ISP { return s.world.ISPs[s.random.IntN(3)] }

func (s *soak) pause(least, most time.Duration) {
	time.Sleep(least + time.Duration(s.random.Int64N(int64(most-least))))
}

// actions are what may happen.
func (s *soak) actions() []action {
	if s.six {
		return slices.Concat(s.outages(), s.ends(), s.orders(), s.meddling(), s.outages6(), s.orders6(), s.meddling6())
	}
	return slices.Concat(s.outages(), s.ends(), s.orders(), s.meddling())
}

// outages are an uplink's own, and what a provider does.
func (s *soak) outages() []action {
	return []action{
		{"silent", 3 * time.Second, func() {
			isp := s.isp()
			s.ok(isp.Silence(true))
			s.pause(200*time.Millisecond, 4*time.Second)
			s.ok(isp.Silence(false))
		}, 0},
		{"one way lost", 3 * time.Second, func() {
			isp := s.isp()
			s.ok(isp.Loss(100))
			s.pause(200*time.Millisecond, 3*time.Second)
			s.ok(isp.Loss(0))
		}, 0},
		{"upstream dead", 3 * time.Second, func() {
			isp := s.isp() // the gateway is all that is probed: nobody can know
			s.ok(isp.Upstream(true))
			s.pause(200*time.Millisecond, time.Second)
			s.ok(isp.Upstream(false))
		}, 0},
		{"carrier", 2 * time.Second, func() {
			isp := s.isp()
			s.ok(isp.Carrier(false))
			s.pause(200*time.Millisecond, 2*time.Second)
			s.ok(isp.Carrier(true))
		}, 0},
		{"another lease", 3 * time.Second, func() {
			old := s.status().Uplinks[0].Address
			s.lease()
			// One whose question was lost asks again after half a minute and more.
			s.until("the order to renew", 5*time.Second, func() bool {
				_, err := s.run("renew", "isp1", "-c", s.config)
				return err == nil
			})
			s.until("another address", 30*time.Second, func() bool {
				u := s.status().Uplinks[0]
				return u.Address != old && u.State == "up"
			})
			if s.proxy != "" { // as the hook for it does
				s.kernel("kill -HUP $(cat " + s.dir + "/danted.pid)")
			}
		}, 0},
	}
}

// ends are the daemon's own.
func (s *soak) ends() []action {
	restart := func(sig syscall.Signal) func() {
		return func() {
			s.kill(sig)
			s.pause(time.Millisecond, 500*time.Millisecond)
			s.launch(exec.Command(s.daemon, "run", "-c", s.config))
		}
	}
	return []action{
		{"killed", 0, restart(syscall.SIGKILL), 0},
		{"stopped", 0, restart(syscall.SIGTERM), 0},
		{"frozen", 0, func() {
			s.ok(s.cmd.Process.Signal(syscall.SIGSTOP))
			s.pause(200*time.Millisecond, 2*time.Second)
			s.ok(s.cmd.Process.Signal(syscall.SIGCONT))
		}, 0},
	}
}

// orders are an operator's.
func (s *soak) orders() []action {
	order := func(args ...string) {
		if out, err := s.run(append(args, "-c", s.config)...); err != nil {
			s.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	return []action{
		{"reload", 0, func() {
			s.configureWeights(1+s.random.IntN(5), 1+s.random.IntN(5), 1+s.random.IntN(5))
			order("reload")
		}, 0},
		{"drain", 0, func() {
			name := fmt.Sprint("isp", 1+s.random.IntN(3))
			order("drain", name)
			s.pause(50*time.Millisecond, time.Second)
			order("enable", name)
		}, 0},
		{"disable", 500 * time.Millisecond, func() { // what runs over it is ended
			name := fmt.Sprint("isp", 1+s.random.IntN(3))
			order("disable", name)
			s.pause(50*time.Millisecond, time.Second)
			order("enable", name)
		}, 0},
		{"apply and go back", 0, func() {
			s.configureWeights(1+s.random.IntN(5), 1, 1)
			order("apply", "--confirm", "1m")
			s.pause(50*time.Millisecond, time.Second)
			order("confirm", "--reject")
			order("reload")
		}, 0},
	}
}

// meddling is what other programs do to what is ours.
func (s *soak) meddling() []action {
	return []action{{"meddled", time.Second, func() {
		commands := []string{
			"ip rule del pref 20300", "ip route del default", "ip route flush table 502 proto 201", "ip rule flush protocol 201",
			"ip addr del " + s.world.ISPs[1].Static.String() + " dev eth2", "nft delete table inet uplinkd",
			"echo 0 >/proc/sys/net/ipv4/conf/eth2/rp_filter", "ip link set eth3 down; sleep 0.2; ip link set eth3 up",
		}
		for range 1 + s.random.IntN(3) {
			command := commands[s.random.IntN(len(commands))]
			s.tableGone = s.tableGone || strings.HasPrefix(command, "nft delete")
			_ = exec.Command("sh", "-c", command).Run() // it may be away already
		}
	}, 0}}
}

// do has something happen, and notes when connections may fail for it.
func (s *soak) do(a action) {
	s.Helper()
	w := window{from: time.Now().Add(-lab.CallTimeout), family: a.of}
	a.do()
	if a.fails > 0 {
		s.until("in sync after "+a.name, 20*time.Second, func() bool { return s.inSync() })
		w.to = time.Now().Add(a.fails)
		s.faults = append(s.faults, w)
	}
}

func (s *soak) inSync() bool {
	status, err := s.client.Status(context.Background())
	return err == nil && status.Kernel.InSync
}

// calm waits until all is well again, and looks whether it is.
func (s *soak) calm(after string) {
	s.Helper()
	s.until("all is well after "+after, 30*time.Second, func() bool {
		status, err := s.client.Status(context.Background())
		if err != nil || !status.Kernel.InSync || len(status.DefaultRoute.NextHops) != 3 ||
			s.six && len(status.DefaultRoute6.NextHops) != 3 {
			return false
		}
		for _, u := range status.Uplinks {
			if u.State != "up" || s.six && u.IPv6.State != "up" {
				return false
			}
		}
		return true
	})
	if now := s.kernel(foreignShown...); now != s.wanted {
		s.Errorf("after %s what is others' is not as it was:\n%s", after, labtest.LineDiff(s.wanted, now))
	}
	if s.six && s.tableGone {
		s.excuseSpoofed()
	}
	if s.six {
		s.noneSpoofed(after)
	}
	s.tableGone = false
	// What has just been taken away may not have been seen when all seemed to be well.
	s.until("nothing to do after "+after, 15*time.Second, func() bool {
		out, err := s.run("plan", "-c", s.config)
		return err == nil && out == ""
	})
	if out := s.kernel("ip -4 -o addr show dev eth1"); strings.Contains(out, "valid_lft forever") {
		s.Errorf("after %s an address outlives its lease:\n%s", after, out)
	}
}

// A soakCall is one new connection, and how it went.
type soakCall struct {
	began time.Time
	err   error
	of    family
}

// load opens new connections, twenty a second by this host, ten by a client behind it, five by
// danted, and as many over IPv6, until the function it returns is called.
func (s *soak) load() (end func() []soakCall) {
	var mu sync.Mutex
	var calls []soakCall
	var all sync.WaitGroup
	stop := make(chan struct{})
	every := func(of family, pause time.Duration, open func(n int) error) {
		all.Go(func() {
			ticker := time.NewTicker(pause)
			defer ticker.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-ticker.C:
				}
				all.Go(func() {
					c := soakCall{began: time.Now(), of: of}
					c.err = open(n % 20_000)
					mu.Lock()
					defer mu.Unlock()
					calls = append(calls, c)
				})
			}
		})
	}
	every(onlyIPv4, 50*time.Millisecond, func(n int) error { return second(s.world.Dial(n, lab.CallTimeout)) })
	every(onlyIPv4, 100*time.Millisecond, func(n int) error {
		return s.world.Client.Do(func() error { return second(s.world.Dial(30_000+n, lab.CallTimeout)) })
	})
	if s.proxy != "" {
		every(onlyIPv4, 200*time.Millisecond, func(n int) error {
			return s.world.Client.Do(func() error { return second(s.socks(s.proxy, 50_000+n%10_000)) })
		})
	}
	if s.six {
		every(onlyIPv6, 50*time.Millisecond, dialSoak6)
		every(onlyIPv6, 100*time.Millisecond, func(n int) error {
			return s.world.Client.Do(func() error { return dialSoak6(30_000 + n) })
		})
	}
	return func() []soakCall {
		close(stop)
		all.Wait()
		return calls
	}
}

func second[T any](_ T, err error) error { return err }

// judge counts the connections that failed while an uplink did, and while none did.
func (s *soak) judge(calls []soakCall) (excused, failed int) {
	for _, c := range calls {
		switch {
		case c.err == nil:
		case slices.ContainsFunc(s.faults, func(w window) bool {
			return !c.began.Before(w.from) && !c.began.After(w.to) && (w.family == 0 || w.family == c.of)
		}):
			excused++
		default:
			failed++
			s.Logf("IPv%d, at %s: %v", c.of, c.began.Format("15:04:05.000"), c.err)
		}
	}
	return excused, failed
}

// A size is what the daemon uses.
type size struct{ descriptors, threads, resident int }

func (s *soak) size() size {
	s.Helper()
	pid := s.cmd.Process.Pid
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	s.ok(err)
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	s.ok(err)
	return size{len(fds), len(tasks), residentKB(s.T, pid)}
}
