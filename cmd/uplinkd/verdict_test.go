package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// slowBench builds a lab whose wires can have delays.
func slowBench(t *testing.T, isps int) *bench {
	t.Helper()
	labtest.Need(t)
	labtest.NeedDevice(t, "/dev/net/tun")
	return newBenchOf(t, func() (*lab.World, error) { return lab.NewSlowWorld(isps) })
}

// Probes ten seconds apart; but the kernel says of the gateway that nobody answers
// ARP for it, and that counts at once. That somebody empties the neighbour table
// says nothing.
func TestNeighbourFails(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "probe: {interval: 10s, passive: false}\n")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	host, isp := b.world.Host(), b.world.ISPs[0]
	for name, value := range map[string]string{"retrans_time_ms": "50", "mcast_solicit": "2"} {
		b.ok(host.Sysctl("net/ipv4/neigh/eth1/"+name, value))
	}
	b.kernel("ip neigh flush dev eth1")
	time.Sleep(200 * time.Millisecond)
	b.untilStates(100*time.Millisecond, "up", "up")
	b.ok(isp.Namespace().Sysctl("net/ipv4/conf/cust/arp_ignore", "8"))
	b.kernel("ip neigh flush dev eth1")
	fault := time.Now()
	_ = b.dialFrom(isp.Static.Addr(), 200*time.Millisecond) // somebody uses the uplink
	b.untilStates(time.Second, "down", "up")
	t.Logf("down %v after the first packet", time.Since(fault))
	if u := b.status().Uplinks[0]; !strings.Contains(u.Reason, "nobody answers ARP for 100.64.1.1") {
		t.Errorf("reason %q", u.Reason)
	}
	b.ok(isp.Namespace().Sysctl("net/ipv4/conf/cust/arp_ignore", "0"))
	b.untilStates(15*time.Second, "up", "up")
}

// dialFrom connects to the internet from one of the host's addresses.
func (b *bench) dialFrom(from netip.Addr, timeout time.Duration) error {
	dialer := net.Dialer{Timeout: timeout, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(1), lab.Port).String())
	if err == nil {
		err = conn.Close()
	}
	return err
}

// Probes twenty seconds apart; a connection that sends again and again hurries the
// next one.
func TestPassiveEvidence(t *testing.T) {
	labtest.Measured(t)
	for _, c := range []struct {
		name    string
		passive bool
		fault   func(*lab.ISP) error
	}{
		{"silent gateway", true, func(isp *lab.ISP) error { return isp.Silence(true) }},
		// What comes in again and again, for want of an acknowledgement, is no answer.
		{"one way lost", true, func(isp *lab.ISP) error { return isp.Loss(100) }},
		{"not asked for", false, func(isp *lab.ISP) error { return isp.Silence(true) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, 2)
			b.configure(b.static(1, 1), fmt.Sprintf("probe: {interval: 20s, passive: %t}\n", c.passive))
			b.start()
			b.untilStates(5*time.Second, "up", "up")
			isp := b.world.ISPs[0]
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: isp.Static.Addr().AsSlice()}}
			conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(1), lab.Port).String())
			b.ok(err)
			defer conn.Close()
			// Probes keep to the clock: the next one is not to fall into the time that is looked at.
			for interval := 20 * time.Second; !c.passive && time.Until(time.Now().Truncate(interval).Add(interval)) < 6*time.Second; {
				time.Sleep(100 * time.Millisecond)
			}
			b.ok(c.fault(isp))
			fault := time.Now()
			_, err = conn.Write([]byte("is anybody there?"))
			b.ok(err)
			limit := 4 * time.Second
			if !c.passive {
				time.Sleep(limit)
				if state := b.status().Uplinks[0].State; state != "up" {
					t.Errorf("%s without a probe: the test proves nothing", state)
				}
				return
			}
			b.untilStates(limit, "down", "up")
			t.Logf("down after %v", time.Since(fault))
		})
	}
}

// Drained, an uplink keeps the connections it has and gets no new ones; --wait ends
// when the last has ended. Over a restart it stays so.
func TestDrain(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	isp := b.world.ISPs[0]
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: isp.Static.Addr().AsSlice()}}
	held, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(1), lab.Port).String())
	b.ok(err)
	defer held.Close()
	_, err = lab.ReadCaller(held)
	b.ok(err)
	drained := make(chan error, 1)
	go func() {
		_, err := b.run("drain", "isp1", "--wait", "-c", b.config)
		drained <- err
	}()
	b.untilStates(2*time.Second, "drained", "up")
	for n := range 100 {
		if isp, err := b.world.Dial(n, time.Second); err != nil || isp.Number != 2 {
			t.Fatalf("a new connection: %v, %v", isp, err)
		}
	}
	b.ok(echo(held))
	b.kill(9)
	b.start()
	b.untilStates(5*time.Second, "drained", "up")
	b.ok(echo(held))
	select {
	case err := <-drained:
		t.Fatalf("--wait ended with a connection left: %v", err)
	default:
	}
	b.ok(held.Close())
	select {
	case err := <-drained:
		b.ok(err)
	case <-time.After(20 * time.Second):
		left, err := b.client.Drain(t.Context(), "isp1")
		t.Errorf("--wait did not end: %+v (%v)\n%s", left, err, b.kernel("ss -tan; conntrack -L 2>&1 || true"))
	}
	if order := b.status().Uplinks[0].Order; order == nil || order.By != "root" && order.By != "nobody" {
		t.Errorf("the order is %+v, want who gave it", order)
	}
	_, err = b.run("enable", "isp1", "-c", b.config)
	b.ok(err)
	b.untilStates(2*time.Second, "up", "up")
}

// echo sends a word over a connection to the lab's echo port, and wants it back.
func echo(conn net.Conn) error { return echoWithin(conn, time.Second) }

// echoWithin is echo with a limit.
func echoWithin(conn net.Conn, limit time.Duration) error {
	_ = conn.SetDeadline(time.Now().Add(limit))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	b := make([]byte, 5)
	for n := 0; n < len(b); {
		m, err := conn.Read(b[n:])
		if err != nil {
			return err
		}
		n += m
	}
	if string(b) != "hello" {
		return fmt.Errorf("got %q back", b)
	}
	return nil
}

// Which way a packet takes, in the kernel's own words, for each of the reasons
// there are.
func TestExplain(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(2, 1), "probe: {interval: 50ms, hold_down: 0s}\n")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	t.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	for _, tt := range []struct {
		args    []string
		uplink  string
		verdict string
		table   uint32
		rule    string
		why     string
	}{
		{[]string{"198.18.0.9", "--from", "100.64.1.10"}, "isp1", "uplink", 501, "pref 20300 from 100.64.1.10 lookup 501", "its source"},
		{[]string{"198.18.0.9", "--mark", "0x2000000"}, "isp2", "uplink", 502, "fwmark 0x2000000/0xff000000", "its mark"},
		{[]string{"192.168.77.2"}, "", "elsewhere", 254, "suppress_prefixlength 0", "a route of this host's own"},
		{[]string{"100.64.2.10"}, "", "elsewhere", 255, "lookup local", ""},
		{[]string{"198.18.0.9", "--in", "lan0", "--from", "192.168.77.2", "--proto", "tcp", "--dport", "443", "--sport", "5"}, "isp", "uplink", 254, "32766", "isp1 2, isp2 1"},
	} {
		out, err := b.run(append([]string{"explain", "--json", "-c", b.config}, tt.args...)...)
		var e explanation
		if err == nil {
			err = json.Unmarshal([]byte(out), &e)
		}
		if err != nil {
			t.Errorf("%v: %v\n%s", tt.args, err, out)
			continue
		}
		if !strings.HasPrefix(e.Uplink, tt.uplink) || e.Verdict != tt.verdict || e.Table != tt.table ||
			!strings.Contains(e.Rule, tt.rule) || !strings.Contains(e.Why, tt.why) {
			t.Errorf("%v: %+v", tt.args, e)
		}
		if tt.uplink != "" && (e.State != "up" || len(e.Links) == 0 || e.Links[0].DownAfter < 1000) {
			t.Errorf("%v: state %q, links %v; want what the daemon has learned", tt.args, e.State, e.Links)
		}
	}
	b.ok(b.world.ISPs[0].Carrier(false))
	b.untilStates(2*time.Second, "down", "up")
	// Probes may tell of it first: the kernel spreads the news of a carrier up
	// to a second apart (net/core/link_watch.c).
	b.until("a packet to an uplink without a carrier is not sent", 2*time.Second, func() bool {
		out, err := b.run("explain", "198.18.0.9", "--mark", "0x1000000", "-c", b.config)
		return err == nil && strings.Contains(out, "is not sent")
	})
	if out, err := b.run("explain", "198.18.0.9", "-c", b.config); err != nil || !strings.Contains(out, "leaves by isp2") {
		t.Errorf("%v, %s", err, out)
	}
}

// events --follow ended with EOF when the daemon was restarted (from installing the first
// stage). It waits that out, and tells all that the new one has to tell.
func TestEventsOverARestart(t *testing.T) {
	b := newBench(t, 1)
	b.configure(b.static(1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up")
	follow := b.program("events", "--follow", "-c", b.config)
	followed := &syncBuffer{}
	follow.Stdout, follow.Stderr = followed, followed
	b.ok(follow.Start())
	t.Cleanup(func() { _ = follow.Process.Kill(); _ = follow.Wait() })
	ups := func() int { return strings.Count(followed.String(), "starting -> up") }
	b.until("the first is told", 2*time.Second, func() bool { return ups() == 1 })
	b.kill(syscall.SIGKILL)
	time.Sleep(time.Second)
	b.start()
	b.until("what the second one has to tell is told, once", 5*time.Second, func() bool { return ups() == 2 })
	b.ok(b.world.ISPs[0].Silence(true))
	b.until("it goes on", 3*time.Second, func() bool { return strings.Contains(followed.String(), "up -> down") })
	if ups() != 2 {
		t.Errorf("told again:\n%s", followed)
	}
}

// events tells what has happened, with the evidence, and --follow what happens.
func TestEventsCommand(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	ctx, cancel := context.WithCancel(t.Context())
	follow := exec.CommandContext(ctx, "/proc/self/exe", "events", "--follow", "--json", "-c", b.config)
	follow.Env = b.program().Env
	followed := &syncBuffer{}
	follow.Stdout = followed
	b.ok(follow.Start())
	var once sync.Once
	end := func() { once.Do(func() { cancel(); _ = follow.Wait() }) }
	t.Cleanup(end)
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(2*time.Second, "down", "up")
	b.until("the event is told", 2*time.Second, func() bool {
		return strings.Contains(followed.String(), `"to":"down"`)
	})
	end()
	for line := range strings.Lines(followed.String()) {
		var e api.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%v: %s", err, line)
		}
	}
	out, err := b.run("events", "-c", b.config)
	b.ok(err)
	for _, want := range []string{
		"isp1  up -> down  the gateway does not answer", "gateway: down, no answer, 3 missed in a row",
		"isp1 1, isp2 1 -> isp2 1",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	b.ok(b.client.Command(t.Context(), "isp2", api.Command{Action: "weight", Weight: 9}))
	b.until("the order is told", time.Second, func() bool {
		out, err := b.run("events", "-c", b.config)
		return err == nil && strings.Contains(out, "- -> weight 9  by ")
	})
}
