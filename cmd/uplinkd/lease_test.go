package main

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// A wireMessage is a DHCP message as it was seen on a wire.
type wireMessage struct {
	*dhcpv4.DHCPv4
	at        time.Time
	broadcast bool // on Ethernet
	src, dst  netip.Addr
}

// sniff notes what the host sends to DHCP servers, by ISP.
func (b *bench) sniff() []*lab.Capture {
	b.Helper()
	var list []*lab.Capture
	for _, isp := range b.world.ISPs {
		c, err := isp.Namespace().Capture("cust", lab.ToDHCPServer)
		b.ok(err)
		b.Cleanup(c.Close)
		list = append(list, c)
	}
	return list
}

func (b *bench) messages(c *lab.Capture) []wireMessage {
	b.Helper()
	var list []wireMessage
	for _, f := range c.Take() {
		m, err := dhcpv4.FromBytes(f.Data[42:])
		b.ok(err)
		list = append(list, wireMessage{
			m, f.At, f.Data[0] == 0xff,
			netip.AddrFrom4([4]byte(f.Data[26:30])), netip.AddrFrom4([4]byte(f.Data[30:34])),
		})
	}
	return list
}

// mute has an ISP's gateway answer no ping, and so its uplink go down, while DHCP
// works on.
func (b *bench) mute(isp *lab.ISP) {
	b.Helper()
	b.ok(isp.Namespace().Sysctl("net/ipv4/icmp_echo_ignore_all", "1"))
}

func (b *bench) noDoubts(lines []string) []string {
	for i := range lines {
		lines[i] += ", dhcp: {renew_after: 0s}"
	}
	return lines
}

// At T1 the lease is renewed by unicast, which leaves by its own interface while
// another uplink is the only default; and the server is the real one.
func TestRenewalOnTheWire(t *testing.T) {
	labtest.Measured(t)
	for name, serve := range map[string]func(b *bench, isp *lab.ISP){
		"kea": func(b *bench, isp *lab.ISP) {
			b.kea(isp, isp.Gateway, `"valid-lifetime": 60, "renew-timer": 4, "rebind-timer": 50`)
		},
		"dnsmasq": func(b *bench, isp *lab.ISP) {
			b.dnsmasq(isp, "2m", "--dhcp-option-force=58,4", "--dhcp-option-force=59,100")
		},
	} {
		t.Run(name, func(t *testing.T) {
			labtest.NeedRoot(t, "kea-dhcp4", "dnsmasq")
			b := newBench(t, 2)
			wires := b.sniff()
			for _, isp := range b.world.ISPs {
				serve(b, isp)
			}
			b.configure(b.noDoubts(b.dhcpLines()), fastProbe)
			b.start()
			b.untilStates(15*time.Second, "up", "up")
			b.mute(b.world.ISPs[0])
			b.untilStates(2*time.Second, "down", "up")
			u := b.status().Uplinks[0]
			b.messages(wires[0])
			b.until("the lease is renewed", 8*time.Second, func() bool {
				return b.status().Uplinks[0].DHCP.Expire.After(u.DHCP.Expire.Time)
			})
			renewals := b.messages(wires[0])
			address := netip.MustParsePrefix(u.Address).Addr()
			if len(renewals) != 1 {
				t.Fatalf("%d messages at ISP 1, want one renewal: %v", len(renewals), renewals)
			}
			r := renewals[0]
			if r.MessageType() != dhcpv4.MessageTypeRequest || r.broadcast || r.src != address || r.dst != u.DHCP.Server ||
				!r.ClientIPAddr.Equal(address.AsSlice()) {
				t.Errorf("from %s to %s, broadcast %v: %s", r.src, r.dst, r.broadcast, r.Summary())
			}
			if early := u.DHCP.Renew.Sub(r.at); early.Abs() > 300*time.Millisecond {
				t.Errorf("the renewal came %v before T1", early)
			}
			for _, m := range b.messages(wires[1]) {
				if m.ClientIPAddr.Equal(address.AsSlice()) {
					t.Errorf("the renewal of ISP 1 left by ISP 2: %s", m.Summary())
				}
			}
		})
	}
}

// The server dies: the renewals at T1 stay without an answer, and at T2 another
// server takes the lease over. Then that one dies too, and the address ends with
// the lease; the other uplink carries everything all the while.
func TestServerDies(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedRoot(t, "kea-dhcp4")
	b := newBench(t, 2)
	isp := b.world.ISPs[0]
	first := netip.MustParsePrefix("100.64.1.2/24")
	b.ok(isp.Namespace().Address("cust", first))
	times := `"valid-lifetime": 14, "renew-timer": 4, "rebind-timer": 8`
	stop := b.kea(isp, isp.Gateway, times+`, "option-data": [{"name": "dhcp-server-identifier", "data": "100.64.1.2"}]`)
	b.ok(b.world.ISPs[1].StartDHCP(time.Hour))
	b.configure(b.noDoubts(b.dhcpLines()), fastProbe)
	b.start()
	b.untilStates(15*time.Second, "up", "up")
	u := b.status().Uplinks[0]
	if u.DHCP.Server != first.Addr() {
		t.Fatalf("the server is %s, want %s", u.DHCP.Server, first.Addr())
	}
	wires := b.sniff()
	stop()
	b.ok(isp.Namespace().RemoveAddress("cust", first))
	stop = b.kea(isp, isp.Gateway, times) // under the gateway's address
	b.until("another server has taken over", 14*time.Second, func() bool {
		return b.status().Uplinks[0].DHCP.Server == isp.Gateway
	})
	after := b.status().Uplinks[0]
	if after.Address != u.Address || after.State != "up" {
		t.Errorf("after the rebind %s with %s, want up with %s", after.State, after.Address, u.Address)
	}
	// Of the renewals at T1 nothing is on the wire: nobody has the server's address.
	seen := b.messages(wires[0])
	if len(seen) != 1 || !seen[0].broadcast || seen[0].src != netip.MustParsePrefix(u.Address).Addr() {
		t.Fatalf("saw %v, want one rebinding by broadcast, from the address", seen)
	}
	if early := u.DHCP.Rebind.Sub(seen[0].at); early.Abs() > 500*time.Millisecond {
		t.Errorf("the rebinding came %v before T2", early)
	}
	stop()
	load := b.world.Load()
	b.until("down for want of a lease", 20*time.Second, func() bool {
		u := b.status().Uplinks[0]
		return u.State == "down" && strings.HasPrefix(u.Reason, "no lease: ")
	})
	b.until("the address is gone", time.Second, func() bool {
		return !strings.Contains(b.kernel("ip -4 addr show dev eth1"), "100.64.1.")
	})
	expired := time.Now()
	time.Sleep(500 * time.Millisecond)
	for _, c := range load.End() {
		if c.ISP == 0 && (c.Began.After(expired) || c.Began.Before(expired.Add(-2*time.Second))) {
			t.Errorf("a connection failed %v after the lease's end", c.Began.Sub(expired))
		}
	}
}

// The server refuses the renewal and gives another address: the uplink leaves and
// comes back, each in one change of the default route, and there is no moment
// without the other uplink.
func TestRenumbered(t *testing.T) {
	labtest.NeedRoot(t, "dnsmasq")
	b := newBench(t, 2)
	isp := b.world.ISPs[0]
	short := []string{"--dhcp-option-force=58,5", "--dhcp-option-force=59,100"}
	stop := b.dnsmasq(isp, "2m", short...)
	b.ok(b.world.ISPs[1].StartDHCP(time.Hour))
	b.configure(b.noDoubts(b.dhcpLines()), fastProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	old := b.status().Uplinks[0].Address
	wires := b.sniff()
	stop()
	b.ok(os.Remove(b.dir + "/eth1.leases"))
	monitor := exec.Command("ip", "-o", "monitor", "route")
	changes := &syncBuffer{}
	monitor.Stdout = changes
	b.ok(monitor.Start())
	b.Cleanup(func() { _ = monitor.Process.Kill(); _ = monitor.Wait() })
	load := b.world.Load()
	b.dnsmasqRange(isp, 210, 220, short...)
	b.until("another address", 15*time.Second, func() bool {
		u := b.status().Uplinks[0]
		return u.Address != old && u.State == "up"
	})
	b.untilStates(2*time.Second, "up", "up")
	calls := load.End()
	if seen := b.messages(wires[0]); len(seen) < 3 || seen[0].MessageType() != dhcpv4.MessageTypeRequest ||
		!slices.ContainsFunc(seen, func(m wireMessage) bool { return m.MessageType() == dhcpv4.MessageTypeDiscover }) {
		t.Errorf("%d messages, want a renewal, and a discovery after its refusal", len(seen))
	}
	now := b.kernel("ip -4 addr show dev eth1", "ip rule", "ip route show table all")
	if host := strings.TrimSuffix(old, "/24"); strings.Contains(now, host+"/") || strings.Contains(now, host+" ") {
		t.Errorf("the old address %s is still there:\n%s", old, now)
	}
	var defaults []string
	for line := range strings.Lines(changes.String()) {
		if strings.HasPrefix(line, "default proto 201") || strings.HasPrefix(line, "Deleted default proto 201") ||
			strings.HasPrefix(line, "default via 100.64.2.1 dev eth2 proto 201") && !strings.Contains(line, "table 502") {
			defaults = append(defaults, line)
		}
	}
	if len(defaults) != 2 || slices.ContainsFunc(defaults, func(l string) bool {
		return strings.HasPrefix(l, "Deleted") || !strings.Contains(l, "dev eth2")
	}) {
		t.Errorf("the default route changed %d times, want to leave and to return, never without eth2:\n%s",
			len(defaults), strings.Join(defaults, ""))
	}
	failed, _ := lab.Failures(calls, time.Now())
	t.Logf("%d of %d connections failed", failed, len(calls))
	if failed > 3 {
		t.Errorf("%d of %d connections failed", failed, len(calls))
	}
}

// dnsmasqRange is dnsmasq with other addresses to give.
func (b *bench) dnsmasqRange(isp *lab.ISP, first, last int, more ...string) (stop func()) {
	b.Helper()
	net := strings.TrimSuffix(isp.Gateway.String(), "1")
	return b.in(isp.Namespace(), "dnsmasq", append([]string{
		"--keep-in-foreground", "--port=0", "--no-ping", "--bind-interfaces", "--interface=cust", "--conf-file=/dev/null",
		"--dhcp-authoritative", "--pid-file", "--log-dhcp", "--log-facility=-",
		"--dhcp-leasefile=" + b.dir + "/" + isp.Interface + ".leases2",
		fmt.Sprintf("--dhcp-range=%s%d,%s%d,2m", net, first, net, last), "--dhcp-option=option:router," + isp.Gateway.String(),
	}, more...)...)
}

// Another host has the address that real dnsmasq gives: it is declined, and the
// next one is taken.
func TestAddressInUse(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedRoot(t, "dnsmasq")
	b := newBench(t, 2)
	isp := b.world.ISPs[0]
	b.dnsmasq(isp, "1h")
	b.ok(b.world.ISPs[1].StartDHCP(time.Hour))
	b.configure(b.dhcpLines(), fastProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	taken := b.status().Uplinks[0].Address
	b.ok(b.client.Command(t.Context(), "isp1", api.Command{Action: "disable"}))
	b.untilStates(2*time.Second, "disabled", "up")
	rival, err := isp.Rival(netip.MustParsePrefix(taken).Addr())
	b.ok(err)
	b.Cleanup(rival.Close)
	wires := b.sniff()
	arp, err := isp.Namespace().Capture("cust", lab.OfARP)
	b.ok(err)
	b.Cleanup(arp.Close)
	b.ok(b.client.Command(t.Context(), "isp1", api.Command{Action: "enable"}))
	b.untilStates(25*time.Second, "up", "up")
	u := b.status().Uplinks[0]
	if u.Address == taken {
		t.Fatalf("took %s, which another host has", taken)
	}
	var kinds []string
	for _, m := range b.messages(wires[0]) {
		kinds = append(kinds, m.MessageType().String())
	}
	if got := strings.Join(kinds, " "); got != "DISCOVER REQUEST DECLINE DISCOVER REQUEST" {
		t.Errorf("on the wire: %s", got)
	}
	probes, announcements := 0, 0
	want := netip.MustParsePrefix(u.Address).Addr().As4()
	b.until("the second announcement", 3*time.Second, func() bool {
		for _, f := range arp.Take() {
			sender, target := [4]byte(f.Data[28:32]), [4]byte(f.Data[38:42])
			switch {
			case sender == [4]byte{} && target == want:
				probes++
			case sender == want && target == want:
				announcements++
			}
		}
		return announcements == 2
	})
	if probes != 3 {
		t.Errorf("%d probes for %s, want 3", probes, u.Address)
	}
}

// Another host claims the address in use: it is told off once, then reported, and
// the uplink goes on.
func TestAddressClaimedInUse(t *testing.T) {
	b := newBench(t, 1)
	b.configure(b.dhcp(time.Hour, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up")
	isp := b.world.ISPs[0]
	address := netip.MustParsePrefix(b.status().Uplinks[0].Address).Addr()
	time.Sleep(2100 * time.Millisecond) // until it has announced itself
	arp, err := isp.Namespace().Capture("cust", lab.OfARP)
	b.ok(err)
	b.Cleanup(arp.Close)
	rival, err := isp.Rival(address)
	b.ok(err)
	b.Cleanup(rival.Close)
	b.ok(rival.Claim())
	time.Sleep(100 * time.Millisecond)
	if c := b.status().Uplinks[0].DHCP.Conflict; c != nil {
		t.Errorf("reported at once: %+v", c)
	}
	b.ok(rival.Claim())
	b.until("it is reported", time.Second, func() bool {
		c := b.status().Uplinks[0].DHCP.Conflict
		return c != nil && c.MAC == lab.RivalMAC.String()
	})
	defences := 0
	for _, f := range arp.Take() {
		if a := address.As4(); [4]byte(f.Data[28:32]) == a && [4]byte(f.Data[38:42]) == a && !bytes.Equal(f.Data[22:28], lab.RivalMAC) {
			defences++
		}
	}
	if u := b.status().Uplinks[0]; defences != 1 || u.State != "up" {
		t.Errorf("%d announcements, %s; want one, up", defences, u.State)
	}
	out, err := b.run("status", "-c", b.config)
	b.ok(err)
	if !strings.Contains(out, lab.RivalMAC.String()) {
		t.Errorf("status does not tell:\n%s", out)
	}
}

// given makes a server's answer one that gives address/bits, whatever the server
// itself would have said.
func given(address string, bits int) func(m *dhcpv4.DHCPv4) {
	return func(m *dhcpv4.DHCPv4) {
		if m.MessageType() == dhcpv4.MessageTypeNak {
			m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeAck))
		}
		m.YourIPAddr = net.ParseIP(address).To4()
		m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(time.Hour))
		m.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(bits, 32)))
		m.UpdateOption(dhcpv4.OptRouter(net.IPv4(100, 64, 1, 1)))
	}
}

// A server that tries everything: nothing of it reaches the kernel, the other
// uplink and the LAN are not harmed, and an honest answer later is taken.
func TestHostileServer(t *testing.T) {
	labtest.Measured(t)
	for name, tt := range map[string]struct {
		spoil func(m *dhcpv4.DHCPv4)
		bound bool // the lease is taken, but not used beside what else there is
	}{
		"multicast":           {given("224.0.0.9", 24), false},
		"loopback":            {given("127.0.0.1", 8), false},
		"half the Internet":   {given("200.0.0.5", 1), false},
		"all of it":           {given("200.0.0.5", 0), false},
		"no host's address":   {given("10.1.1.255", 24), false},
		"the other's gateway": {given("100.64.2.1", 24), true},
		"the other's network": {given("100.64.2.77", 16), true},
		"a part of the LAN":   {given("192.168.77.130", 25), true},
		"the LAN's network":   {given("192.168.77.130", 24), true},
		"a mask of holes":     {func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptSubnetMask(net.IPMask{255, 0, 255, 0})) }, false},
		"no lease time":       {func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(0)) }, false},
		"refusals": {func(m *dhcpv4.DHCPv4) {
			if m.MessageType() == dhcpv4.MessageTypeAck {
				m.UpdateOption(dhcpv4.OptMessageType(dhcpv4.MessageTypeNak))
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, 2)
			b.configure(b.dhcp(time.Hour, 1, 1), fastProbe)
			hostile := b.world.ISPs[0]
			hostile.DHCP.Spoil(tt.spoil)
			b.ok(hostile.Carrier(false)) // the other is in use first
			b.start()
			b.until("the other uplink is up", 5*time.Second, func() bool { return b.status().Uplinks[1].State == "up" })
			b.ok(hostile.Carrier(true))
			time.Sleep(1200 * time.Millisecond)
			u := b.status().Uplinks[0]
			if u.State == "up" || u.Active || (u.DHCP.State == "bound") != tt.bound {
				t.Errorf("%s (%s), the lease %s, want bound %v and down", u.State, u.Reason, u.DHCP.State, tt.bound)
			}
			if addresses := b.kernel("ip -4 -o addr show dev eth1"); strings.Count(addresses, "\n") != 1 {
				t.Errorf("an address of it is in the kernel:\n%s", addresses)
			}
			for n := range 50 {
				_, err := b.world.Dial(n, time.Second)
				b.ok(err)
			}
			if lan := b.kernel("ip route get 192.168.77.200"); !strings.Contains(lan, "dev lan0") {
				t.Errorf("the LAN is led elsewhere: %s", lan)
			}
			if name != "refusals" {
				return
			}
			hostile.DHCP.Spoil(nil)
			_, err := b.run("renew", "isp1", "-c", b.config)
			b.ok(err)
			b.untilStates(75*time.Second, "up", "up")
		})
	}
}

// 20,000 unusable offers to each question were 16,757 lines in 22 s (c82b5ea), and the
// journal's own limit then drops what matters.
func TestFloodOfOffers(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 2)
	b.configure(b.dhcp(time.Hour, 1, 1), fastProbe)
	hostile := b.world.ISPs[0].DHCP
	hostile.Spoil(func(m *dhcpv4.DHCPv4) { m.UpdateOption(dhcpv4.OptIPAddressLeaseTime(0)) })
	hostile.Copies.Store(5000)
	b.start()
	b.until("the other uplink is up", 5*time.Second, func() bool { return b.status().Uplinks[1].State == "up" })
	time.Sleep(5 * time.Second)
	b.kill(syscall.SIGTERM)
	log := b.log.String()
	lines := strings.Count(log, "DHCP message not taken")
	t.Logf("%d lines", lines)
	if lines != 21 || !strings.Contains(log, "repeated=") {
		t.Errorf("%d lines of unusable offers, want 20 and one that sums up:\n%s", lines, log[:min(len(log), 8000)])
	}
}

// A reload with another fixed address left 20 of 20 connections hanging until TCP gave
// up (c82b5ea). Those over the other uplink stay.
func TestReloadOfAnAddress(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	var flows []*flow
	for n := range 40 {
		f, err := b.dialTCP(n, net.Dial)
		b.ok(err)
		t.Cleanup(func() { _ = f.conn.Close() })
		flows = append(flows, f)
	}
	old := b.world.ISPs[0].Static
	next := netip.PrefixFrom(netip.AddrFrom4([4]byte{old.Addr().As4()[0], old.Addr().As4()[1], old.Addr().As4()[2], 77}), old.Bits())
	text, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte(strings.Replace(string(text), old.String(), next.String(), 1)), 0o600))
	ended := watchEnds(flows, 1)
	start := time.Now()
	if out, err := b.run("reload", "--socket", filepath.Join(b.dir, "sock")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ended()
	worst, count := time.Duration(0), 0
	for _, f := range flows {
		if f.isp == 1 {
			count++
			worst = max(worst, f.ended.Sub(start))
		}
	}
	t.Logf("%d connections of the old address ended within %v", count, worst)
	if worst > time.Second {
		t.Errorf("a connection of the old address ended %v after the reload, want 1 s at most", worst)
	}
	for _, f := range flows {
		if f.isp == 2 {
			b.ok(b.works(f))
		}
	}
	b.untilStates(2*time.Second, "up", "up")
	if n := b.failing(20); n > 0 {
		t.Errorf("%d of 20 new connections fail", n)
	}
}
