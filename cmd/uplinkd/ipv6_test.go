package main

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// newBench6 builds a lab with n ISPs that have both families. No test of it may see a packet that
// left by one ISP with another's address.
func newBench6(t *testing.T, isps int) *bench {
	t.Helper()
	return newBench6Of(t, func() (*lab.World, error) { return lab.NewWorld(isps) })
}

func newBench6Of(t *testing.T, build func() (*lab.World, error)) *bench {
	t.Helper()
	b := newBenchOf(t, build)
	b.enableIPv6()
	return b
}

// enableIPv6 gives the lab the second family.
func (b *bench) enableIPv6() {
	b.Helper()
	b.ok(b.world.EnableIPv6())
	b.Cleanup(func() { b.noneSpoofed("all") })
}

// excuseSpoofed lets packets pass that have left so while another program had taken away what prevents it.
func (b *bench) excuseSpoofed() {
	b.Helper()
	for _, isp := range b.world.ISPs {
		n, err := isp.Spoofed()
		b.ok(err)
		if b.excused == nil {
			b.excused = map[int]uint64{}
		}
		b.excused[isp.Number] = n
	}
}

// noneSpoofed holds that no packet has left by one ISP with another's address.
func (b *bench) noneSpoofed(after string) {
	b.Helper()
	for _, isp := range b.world.ISPs {
		if n, err := isp.Spoofed(); err != nil || n > b.excused[isp.Number] {
			flows, listed := isp.SpoofedFlows()
			b.Errorf("after %s: ISP %d has dropped %d packets with an address that is not its own (%v): %v (%v)",
				after, isp.Number, n, err, flows, listed)
		}
	}
}

// dual returns the lines of uplinks with fixed addresses of IPv4, and IPv6 by what routers say.
func (b *bench) dual(weights ...int) []string {
	lines := b.static(weights...)
	for i := range lines {
		lines[i] += ", ipv6: auto"
	}
	return lines
}

// routers has every ISP's gateway advertise itself.
func (b *bench) routers() {
	b.Helper()
	for _, isp := range b.world.ISPs {
		b.ok(isp.StartRouter())
	}
}

// untilStates6 waits for the uplinks' states in IPv6, and for the kernel to follow.
func (b *bench) untilStates6(limit time.Duration, want ...string) {
	b.Helper()
	var got []string
	met := false
	defer func() {
		if !met {
			for _, u := range b.status().Uplinks {
				b.Logf("%s: %+v", u.Name, u.IPv6)
			}
			b.Log(b.kernel("ip -6 rule", "ip -6 route show table all", "ip -6 addr"))
		}
	}()
	b.until(fmt.Sprintf("states in IPv6 %v", want), limit, func() bool {
		s := b.status()
		got = nil
		carrying := 0
		for _, u := range s.Uplinks {
			if u.IPv6 == nil {
				return false
			}
			got = append(got, string(u.IPv6.State))
			if u.IPv6.Active {
				carrying++
			}
		}
		met = strings.Join(got, " ") == strings.Join(want, " ") && s.Kernel.InSync && len(s.DefaultRoute6.NextHops) == carrying
		return met
	})
}

// spread6 makes connections over IPv6 and returns how many each ISP has carried.
func (b *bench) spread6(dial func(network, address string) (net.Conn, error)) map[int]int {
	b.Helper()
	counts := map[int]int{}
	for i := range spreadOver {
		conn, err := dial("tcp", fmt.Sprintf("[%s]:%d", lab.Somewhere6(i+1), lab.Port))
		b.ok(err)
		from, err := lab.ReadCaller(conn)
		b.ok(err)
		b.ok(conn.Close())
		isp := b.world.ISPOf(from)
		if isp == nil {
			b.Fatalf("a connection came from %s, which is no ISP's", from)
		}
		counts[isp.Number]++
	}
	return counts
}

// spreadLAN6 is spread6 of the LAN's host.
func (b *bench) spreadLAN6() (counts map[int]int) {
	b.Helper()
	b.inLAN(func() error { counts = b.spread6(net.Dial); return nil })
	return counts
}

// spreadOver is how many connections a share is measured over: of 1000 it differs by 3 % in one run of twenty.
const spreadOver = 3000

// twoToOne holds that the first ISP has two thirds of the connections that draw makes. By chance one run in some
// thousands lies further off: as many are made again then, and both count.
func (b *bench) twoToOne(of string, draw func() map[int]int) {
	b.Helper()
	var first, all int
	for range 2 {
		counts := draw()
		first, all = first+counts[1], all+counts[1]+counts[2]
		share := 100 * float64(first) / float64(all)
		b.Logf("%.1f %% of %d connections %s by isp1", share, all, of)
		if share > 63.7 && share < 69.7 {
			return
		}
	}
	b.Errorf("the connections %s by isp1 are not 66.7 ± 3 %%", of)
}

// What routers advertise is enough for an uplink's second family.
func TestIPv6ByRouter(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.routers()
	b.configure(b.dual(2, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.untilStates6(10*time.Second, "up", "up")
	b.twoToOne("of this host", func() map[int]int { return b.spread6(net.Dial) })
}

// One family of an uplink dies in silence. The other one goes on, and what has gone by it lives.
func TestIPv6DiesAlone(t *testing.T) {
	b := newBench6(t, 2)
	b.routers()
	b.configure(b.dual(1, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.untilStates6(10*time.Second, "up", "up")
	for _, v6 := range []bool{true, false} {
		flows4, _ := b.openHere(20, b.dialTCPHere)
		flows6, by6 := b.openHere(20, b.dialTCP6)
		b.ok(b.world.ISPs[0].SilenceIn(v6, true))
		if v6 {
			b.untilStates6(5*time.Second, "down", "up")
			b.untilStates(time.Second, "up", "up")
		} else {
			b.untilStates(5*time.Second, "down", "up")
			b.untilStates6(time.Second, "up", "up")
		}
		living, dying := flows4, flows6
		if !v6 {
			living, dying = flows6, flows4
		}
		if broken := b.broken(living, 0); len(broken) > 0 {
			t.Errorf("IPv6 %v dead: %d connections of the other family broke: %v", v6, len(broken), broken)
		}
		if broken := b.broken(dying, 1); len(broken) > 0 {
			t.Errorf("IPv6 %v dead: %d connections of it by the other uplink broke: %v", v6, len(broken), broken)
		}
		if by6[1] == 0 || by6[2] == 0 {
			t.Errorf("connections by each ISP: %v", by6)
		}
		b.ok(b.world.ISPs[0].SilenceIn(v6, false))
		b.untilStates(10*time.Second, "up", "up")
		b.untilStates6(10*time.Second, "up", "up")
	}
}

// openHere opens flows of this host, and tells how many left by each ISP.
func (b *bench) openHere(count int, open func(n int) (*flow, error)) (flows []*flow, byISP map[int]int) {
	b.Helper()
	byISP = map[int]int{}
	for n := range count {
		f, err := open(n + 1)
		b.ok(err)
		b.Cleanup(func() { _ = f.conn.Close() })
		flows = append(flows, f)
		byISP[f.isp]++
	}
	return flows, byISP
}

// dialTCPHere opens a connection of this host over IPv4, dialTCP6 over IPv6.
func (b *bench) dialTCPHere(n int) (*flow, error) { return b.dialTCP(n, net.Dial) }

func (b *bench) dialTCP6(n int) (*flow, error) {
	return b.dialTCP(n, func(string, string) (net.Conn, error) {
		return net.DialTimeout("tcp6", fmt.Sprintf("[%s]:%d", lab.Somewhere6(n), lab.Port), 5*time.Second)
	})
}

// delegating has every ISP's gateway advertise itself, lend an address where managed, and a prefix.
func (b *bench) delegating(managed bool) {
	b.Helper()
	for _, isp := range b.world.ISPs {
		b.ok(isp.StartRouter())
		b.ok(isp.Router.Change(func(a *ndp.RouterAdvertisement) {
			if managed {
				a.ManagedConfiguration, a.Options = true, nil
			}
		}))
	}
	b.delegate(managed)
}

// delegate has every ISP lend a prefix, and an address where managed.
func (b *bench) delegate(managed bool) {
	b.Helper()
	for _, isp := range b.world.ISPs {
		lend := lab.Lend{Prefix: isp.Delegated6(), Preferred: lab.PreferredLifetime, Valid: lab.ValidLifetime}
		if managed {
			lend.Address = isp.Static6().Addr()
		}
		b.ok(isp.StartDHCP6(lend))
	}
}

// untilPrefixes waits until every uplink has a prefix for the LAN.
func (b *bench) untilPrefixes() {
	b.Helper()
	b.until("prefixes", 5*time.Second, func() bool {
		for _, u := range b.status().Uplinks {
			if len(u.IPv6.Prefixes) == 0 {
				return false
			}
		}
		return true
	})
}

// forward6 has the host forward IPv6.
func (b *bench) forward6() {
	b.Helper()
	b.ok(b.world.Host().Sysctl("net/ipv6/conf/all/forwarding", "1"))
	b.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv6/conf/all/forwarding", "0") })
}

// lanClient gives the LAN's host an address of the first network that its interface has, as a router
// advertiser would have it make one.
func (b *bench) lanClient() netip.Addr {
	b.Helper()
	b.until("the LAN has a network", 5*time.Second, func() bool { return len(b.status().LAN) > 0 })
	b.forward6()
	net := b.status().LAN[0].Prefix
	host := net.Addr().Next()
	client := host.Next()
	b.until("lan0 has its address", 5*time.Second, func() bool {
		return strings.Contains(b.kernel("ip -6 addr show dev lan0 -tentative"), host.String())
	})
	b.inLAN(func() error {
		out, err := exec.Command("sh", "-c", fmt.Sprintf(
			"ip -6 addr replace %s/64 dev eth0 nodad; ip -6 route replace default via %s", client, host)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	return client
}

// An uplink's address and the LAN's prefix come by DHCPv6. Connections of the LAN go out over both ISPs by
// weight: with their own address by the one whose prefix the LAN has, translated by the other.
func TestIPv6Delegation(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.delegating(true)
	b.configure(b.dual(2, 1), "lan: [{interface: lan0, subnet: 1}]\n")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	b.untilPrefixes()
	s := b.status()
	for i, isp := range b.world.ISPs {
		if got, want := s.Uplinks[i].IPv6.Addresses, isp.Static6().Addr(); len(got) != 1 || got[0].Addr() != want {
			t.Errorf("isp%d has the addresses %v, want %s", i+1, got, want)
		}
		if got := s.Uplinks[i].IPv6.Prefixes; len(got) != 1 || got[0] != isp.Delegated6() {
			t.Errorf("isp%d has the prefixes %v, want %s", i+1, got, isp.Delegated6())
		}
	}
	client := b.lanClient()
	if want := b.world.ISPs[0].Delegated6(); !want.Contains(client) {
		t.Errorf("the LAN's host has %s, want one of %s", client, want)
	}
	b.twoToOne("of the LAN, translated", b.spreadLAN6)
}

// A daemon that is killed and started again changes nothing of what it finds.
func TestIPv6SurvivesSIGKILL(t *testing.T) {
	for name, managed := range map[string]bool{"routers": false, "DHCPv6": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench6(t, 2)
			b.configure(b.dual(2, 1), "lan: [{interface: lan0, subnet: 1}]\n")
			b.start()
			b.delegating(managed)
			b.untilStates6(15*time.Second, "up", "up")
			b.lanClient()
			b.untilPrefixes()
			b.until("in sync", 5*time.Second, func() bool { return b.status().Kernel.InSync })
			flows, _ := b.openHere(10, b.dialTCP6)
			changes := b.monitor6()
			b.kill(syscall.SIGKILL)
			b.start()
			b.untilStates6(15*time.Second, "up", "up")
			time.Sleep(time.Second)
			if ops := b.status().Kernel.Ops; ops != 0 {
				t.Errorf("%d operations after a restart, want 0", ops)
			}
			if text := changes(); text != "" {
				out, _ := b.run("events", "-c", b.config)
				t.Errorf("the kernel was changed:\n%s\n%s", text, out)
			}
			if broken := b.broken(flows, 0); len(broken) > 0 {
				t.Errorf("connections broke: %v", broken)
			}
		})
	}
}

// monitor6 notes changes of addresses, routes and rules of IPv6 until the function it returns is called.
func (b *bench) monitor6() func() string {
	b.Helper()
	cmd := exec.Command("ip", "-6", "monitor", "address", "route", "rule")
	var out syncBuffer
	cmd.Stdout = &out
	wait, err := lab.Spawn(cmd)
	b.ok(err)
	time.Sleep(50 * time.Millisecond)
	return func() string {
		_ = cmd.Process.Kill()
		_ = wait()
		return out.String()
	}
}
