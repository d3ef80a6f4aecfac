package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// ask dials the n-th address of the internet at a port from the LAN and returns
// the ISP it left by.
func (b *bench) fromLAN(n int) (isp int, err error) {
	b.inLAN(func() error {
		var f *flow
		if f, err = b.dialTCP(n, (&net.Dialer{Timeout: time.Second}).Dial); err == nil {
			isp = f.isp
			_ = f.conn.Close()
		}
		return nil
	})
	return isp, err
}

// leftBy returns by which ISPs so many connections from the LAN leave.
func (b *bench) leftBy(from, count int) map[int]int {
	b.Helper()
	byISP := map[int]int{}
	for n := range count {
		isp, err := b.fromLAN(from + n)
		if err != nil {
			isp = 0
		}
		byISP[isp]++
	}
	return byISP
}

// Policies for the LAN and for programs of this host: by destination, by a file of
// destinations that changes, by user, by mark of service, sticky; and what becomes
// of them when their uplink is down.
func TestPolicies(t *testing.T) {
	list := t.TempDir() + "/list"
	write := func(text string) {
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("198.18.1.0/24 # these\n\n198.18.2.0/24\n")
	b := gatewayBench(t, []int{1, 1, 1}, nil, normalProbe+fmt.Sprintf(`
policies:
  - {name: one, to: [198.18.0.5, 198.18.0.16/28], via: isp2}
  - {name: listed, to: "file:%s", via: [isp3, isp1]}
  - {name: strict, to: 198.18.3.0/24, protocol: tcp, dport: 7000, via: isp1, when_down: prohibit}
  - {name: next, to: 198.18.4.0/24, via: isp1}
  - {name: after, to: 198.18.4.0/24, via: isp3}
  - {name: mine, user: 65534, via: isp2}
  - {name: login, to: 198.18.5.0/24, via: balance, sticky: source, sticky_for: 1m}
`, list))
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	only := func(name string, from, count, isp int) {
		t.Helper()
		if got := b.leftBy(from, count); got[isp] != count {
			t.Errorf("%s: %v, want all by ISP %d", name, got, isp)
		}
	}
	const at = 256 // a /24
	only("one address", 5, 1, 2)
	only("a prefix", 16, 16, 2)
	only("a file", at, 20, 3)
	only("strict", 3*at, 20, 1)
	only("next", 4*at, 20, 1)
	sticky := b.leftBy(5*at, 30)
	if len(sticky) != 1 {
		t.Errorf("sticky: %v, want all by one", sticky)
	}
	if rest := b.leftBy(9*at, 60); len(rest) != 3 {
		t.Errorf("what no policy names: %v, want it spread", rest)
	}
	if lab.AsRoot() {
		if isp, err := b.asUser(65534, 3000); err != nil || isp != 2 {
			t.Errorf("a program of the user: ISP %d, %v; want 2", isp, err)
		}
	}

	write("198.18.2.0/24\n")
	b.until("the file is read again", 4*time.Second, func() bool { return len(b.leftBy(at, 12)) > 1 })
	only("still listed", 2*at, 10, 3)
	write("what is this?\n")
	b.until("a bad file is told", 4*time.Second, func() bool { return b.status().Daemon.ConfigError != "" })
	only("as before", 2*at, 10, 3)
	write("198.18.2.0/24\n")
	b.until("it is good again", 4*time.Second, func() bool { return b.status().Daemon.ConfigError == "" })

	// From a bug: a file of prefixes read well hid why the main file was not.
	good, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte("uplinks: [{name: isp1, weight: 999}]"), 0o600))
	if out, err := b.run("reload", "--socket", filepath.Join(b.dir, "sock")); err == nil {
		t.Errorf("a bad reload: %s", out)
	}
	write("198.18.1.0/24\n198.18.2.0/24\n")
	b.until("the file is read again", 4*time.Second, func() bool { return b.leftBy(at, 12)[3] == 12 })
	if got := b.status().Daemon.ConfigError; !strings.Contains(got, "999") {
		t.Errorf("after a good file of prefixes, the bad config is told as %q", got)
	}
	b.ok(os.WriteFile(b.config, good, 0o600))
	if out, err := b.run("reload", "--socket", filepath.Join(b.dir, "sock")); err != nil {
		t.Errorf("a good reload: %v\n%s", err, out)
	}

	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(3*time.Second, "down", "up", "up")
	for n := range 5 {
		start := time.Now()
		if isp, err := b.fromLAN(3*at + n); err == nil {
			t.Errorf("strict: left by ISP %d while its uplink is down", isp)
		} else if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("strict: refused only after %v", took)
		}
	}
	only("next, its uplink down", 4*at, 20, 3)
	b.ok(b.world.ISPs[2].Silence(true))
	b.untilStates(3*time.Second, "down", "up", "down")
	only("listed, both its uplinks down: by weight", 2*at, 10, 2)

	out, err := b.run("status", "--policies", "-c", b.config)
	b.ok(err)
	for _, want := range []string{"one", "isp2", "strict", "nowhere", "the next policy", "balance"} {
		if !strings.Contains(out, want) {
			t.Errorf("status --policies lacks %q:\n%s", want, out)
		}
	}
	var s api.Snapshot
	out, err = b.run("status", "--json", "-c", b.config)
	b.ok(err)
	b.ok(json.Unmarshal([]byte(out), &s))
	if len(s.Policies) != 7 || s.Policies[0].Packets != api.Known[uint64](17) {
		t.Errorf("policies in status: %+v, want 7, the first with the 17 packets that opened connections", s.Policies)
	}
}

// asUser opens a connection from this host as a user, and returns the ISP it left by.
func (b *bench) asUser(id uint32, n int) (int, error) {
	cmd := b.caller(n)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	return b.callerISP(cmd)
}

// caller is this program, as one that opens a connection to the n-th address of the internet.
func (b *bench) caller(n int) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), callTo+"="+netip.AddrPortFrom(lab.Somewhere(n), lab.Port).String())
	return cmd
}

// callerISP runs a caller, and returns the ISP that its connection left by.
func (b *bench) callerISP(cmd *exec.Cmd) (int, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	for _, isp := range b.world.ISPs {
		if strings.Contains(string(out), "caller 100.64."+fmt.Sprint(isp.Number)+".") {
			return isp.Number, nil
		}
	}
	return 0, fmt.Errorf("left by no ISP: %s", out)
}

// A policy that can never match is a warning of check.
func TestShadowedPolicy(t *testing.T) {
	b := newBench(t, 1)
	b.configure(b.static(1), `
policies:
  - {name: all, protocol: tcp, via: isp1, when_down: balance}
  - {name: mail, protocol: tcp, dport: 25, to: 198.51.100.0/24, via: isp1}
  - {name: voice, protocol: udp, via: isp1}
`)
	out, _ := b.run("check", "-c", b.config)
	if !strings.Contains(out, "policy mail can never match: policy all") || strings.Contains(out, "voice") {
		t.Errorf("check:\n%s", out)
	}
}

// greet has a server say hello to whoever connects.
func (b *bench) greet(ns *lab.Namespace, at string) {
	b.Helper()
	b.serveAt(ns, at, func(conn net.Conn) { _, _ = conn.Write([]byte("hello")) })
}

// greeted connects from an address of the internet that only a default route leads back to,
// and waits for a hello.
func (b *bench) greeted(by netip.AddrPort) error {
	return b.world.Internet.Do(func() error {
		dialer := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: lab.Somewhere(77).AsSlice()}}
		conn, err := dialer.Dial("tcp4", by.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		said := make([]byte, 5)
		if _, err := conn.Read(said); err != nil {
			return err
		}
		if string(said) != "hello" {
			return fmt.Errorf("it said %q", said)
		}
		return nil
	})
}

// A connection that comes in by any uplink is answered by the same one: to a
// service of this host, and through another tool's DNAT to the LAN; with the uplink
// in another tier, and drained.
func TestInbound(t *testing.T) {
	b := gatewayBench(t, []int{1, 1, 1}, []string{"", "tier: 2", ""}, normalProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	b.ok(b.client.Command(t.Context(), "isp3", api.Command{Action: "drain"}))
	b.untilStates(2*time.Second, "up", "up", "drained")
	nft := func(text string) {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	nft(`table ip port_forward {
	chain prerouting { type nat hook prerouting priority -100
		iifname "eth*" tcp dport 8080 dnat to 192.168.77.2:8080
		iifname "eth*" udp dport 8080 dnat to 192.168.77.2:8080
	}
}`)
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "ip", "port_forward").Run() })
	b.greet(b.world.Host(), ":8081")
	b.greet(b.world.Client, ":8080")
	for _, isp := range b.world.ISPs {
		for port, what := range map[uint16]string{8081: "this host", 8080: "the LAN"} {
			err := b.greeted(netip.AddrPortFrom(isp.Static.Addr(), port))
			if err != nil {
				t.Errorf("to %s through ISP %d: %v", what, isp.Number, err)
			}
		}
	}
}

// Other tools' bits of packet and connection marks survive, and somebody who
// flushes all of nftables takes our table away for a moment only: no flow moves.
func TestForeignMarksAndFlush(t *testing.T) {
	b := gatewayBench(t, []int{1, 1}, nil, normalProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	foreign := `table ip other {
	chain pre { type filter hook prerouting priority -160
		iifname "lan0" meta mark set meta mark or 0x00ab0000
		iifname "lan0" ct mark set ct mark or 0x00cd0000
	}
	chain post { type filter hook postrouting priority 300
		oifname "eth*" iif lan0 meta mark and 0x00ff0000 != 0x00ab0000 counter name "bad"
		oifname "eth*" iif lan0 ct mark and 0x00ff0000 != 0x00cd0000 counter name "bad"
		oifname "eth*" iif lan0 counter name "sum"
	}
}`
	put := func() {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(strings.Replace(foreign, "chain pre",
			"counter bad { }\n counter sum { }\n chain pre", 1))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	put()
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "ip", "other").Run() })
	flows, byISP := b.open(60, 0, b.dialUDP)
	if len(byISP) != 2 {
		t.Fatalf("by ISP: %v", byISP)
	}
	if errs := b.broken(flows, 0); len(errs) > 0 {
		t.Error(errs[0])
	}
	counters := b.kernel("nft list counters table ip other")
	if !strings.Contains(counters, "packets 0 bytes 0") || strings.Count(counters, "packets 0") != 1 {
		t.Errorf("foreign bits did not survive:\n%s", counters)
	}
	for range 3 {
		b.kernel("nft flush ruleset")
		put()
		b.until("our table is back", time.Second, func() bool {
			return strings.Contains(b.kernel("nft list tables"), "inet uplinkd")
		})
		if errs := b.broken(flows, 0); len(errs) > 0 {
			t.Errorf("%d flows moved: %v", len(errs), errs[0])
		}
	}
	b.kill(syscall.SIGTERM)
	if errs := b.broken(flows, 0); len(errs) > 0 {
		t.Errorf("without the daemon %d flows moved: %v", len(errs), errs[0])
	}
}

// Flows that begin while our nft table is away leave untranslated, and connection
// tracking never lets a flow's translation change: with a flush in the middle of 200, 2
// to 4 never worked again, and went on to tell the LAN's addresses (c82b5ea). Here the
// table is away for longer, so that it meets all of 40.
func TestFlowsOfTheGap(t *testing.T) {
	b := gatewayBench(t, []int{1, 1}, nil, normalProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	before, _ := b.open(20, 0, b.dialUDP)
	gap := b.openInGap(func(n int) string { return netip.AddrPortFrom(lab.Somewhere(100+n), lab.Port).String() })
	dead := b.unanswered(gap)
	if dead > 0 {
		t.Errorf("%d of %d flows that began in the gap never work", dead, len(gap))
	}
	if errs := b.broken(before, 0); len(errs) > 0 {
		t.Errorf("%d flows of before moved: %v", len(errs), errs[0])
	}
	if !strings.Contains(b.log.String(), "flows forgotten") {
		t.Error("the log does not tell that flows were forgotten")
	}
}

// openInGap has 40 flows of the LAN begin while our nft table is away, to the addresses that to gives, and lets the
// table come back.
func (b *bench) openInGap(to func(n int) string) (gap []*flow) {
	b.Helper()
	b.ok(b.cmd.Process.Signal(syscall.SIGSTOP))
	// As a firewall's own file does: it flushes all, and tracks connections itself.
	b.kernel(`nft 'flush ruleset; table inet filter { chain forward { type filter hook forward priority 0; ct state established accept; }; }'`)
	b.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "filter").Run() })
	gap = b.begin(to)
	time.Sleep(100 * time.Millisecond)
	b.ok(b.cmd.Process.Signal(syscall.SIGCONT))
	b.until("our table is back", 2*time.Second, func() bool {
		return strings.Contains(b.kernel("nft list tables"), "inet uplinkd")
	})
	return gap
}

// begin has 40 flows of the LAN begin, to the addresses that to gives.
func (b *bench) begin(to func(n int) string) (flows []*flow) {
	b.Helper()
	b.inLAN(func() error {
		for n := range 40 {
			conn, err := net.Dial("udp", to(n))
			if err != nil {
				return err
			}
			b.Cleanup(func() { _ = conn.Close() })
			if _, err := conn.Write([]byte("who am I?")); err != nil {
				return err
			}
			flows = append(flows, &flow{conn: conn, udp: true})
		}
		return nil
	})
	return flows
}

// unanswered returns how many flows do not work.
func (b *bench) unanswered(flows []*flow) (dead int) {
	b.Helper()
	for _, f := range flows {
		if _, err := b.askUDP(f); err != nil {
			dead++
		}
	}
	return dead
}

// When a better tier is back, flows on the worse one stay, or move if told to.
func TestOnReturn(t *testing.T) {
	for _, on := range []string{"keep", "move"} {
		t.Run(on, func(t *testing.T) {
			b := gatewayBench(t, []int{1, 1}, []string{"", "tier: 2"}, normalProbe+"on_return: "+on+"\n")
			b.start()
			b.untilStates(5*time.Second, "up", "up")
			b.ok(b.world.ISPs[0].Silence(true))
			b.untilStates(2*time.Second, "down", "up")
			flows, byISP := b.open(30, 0, b.dialUDP)
			if byISP[2] != 30 {
				t.Fatalf("by ISP: %v", byISP)
			}
			b.ok(b.world.ISPs[0].Silence(false))
			b.untilStates(3*time.Second, "up", "up")
			time.Sleep(200 * time.Millisecond)
			moved := len(b.broken(flows, 0))
			if want := map[string]int{"keep": 0, "move": 30}[on]; moved != want {
				t.Errorf("%d of 30 flows moved, want %d", moved, want)
			}
		})
	}
}

// BIND and UDP ASSOCIATE through the real danted: one session keeps to one uplink;
// and with hash: l3 it is that of the control connection too.
func TestDantedSessions(t *testing.T) {
	labtest.NeedRoot(t, "danted")
	for _, hash := range []string{"l4", "l3"} {
		t.Run(hash, func(t *testing.T) {
			b := newBench(t, 2)
			b.configure(b.static(1, 1), normalProbe+"routes: {hash: "+hash+"}\n")
			b.start()
			b.untilStates(5*time.Second, "up", "up")
			server := b.danted()
			used, same := map[netip.Addr]int{}, 0
			for n := range 20 {
				var control, data netip.Addr
				var err error
				b.ok(b.world.Client.Do(func() error { control, data, err = b.ftpLike(server, n); return nil }))
				if err != nil {
					t.Fatalf("session %d: %v", n, err)
				}
				used[data]++
				if control == data {
					same++
				}
			}
			t.Logf("BIND used %v; %d of 20 by the uplink of the control connection", used, same)
			if hash == "l3" && same != 20 {
				t.Errorf("%d of 20 by the uplink of the control connection, want all", same)
			}
			for n := range 5 {
				var err error
				b.ok(b.world.Client.Do(func() error { err = b.associate(server, n); return nil }))
				if err != nil {
					t.Fatalf("UDP session %d: %v", n, err)
				}
			}
		})
	}
}

// associate sends ten datagrams to one address through a SOCKS server (RFC 1928
// section 7); each answer tells the caller's address, which must not change.
func (b *bench) associate(server string, n int) error {
	conn, err := net.DialTimeout("tcp4", server, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(3 * time.Second))
	relay, err := socksAsk(conn, 3, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	if err != nil {
		return err
	}
	udp, err := net.Dial("udp4", relay.String())
	if err != nil {
		return err
	}
	defer udp.Close()
	to := lab.Somewhere(100 + n).As4()
	packet := append([]byte{0, 0, 0, 1}, to[:]...)
	packet = append(packet, byte(lab.Port>>8), byte(lab.Port&0xff), '?')
	var first netip.Addr
	for range 10 {
		_ = udp.SetDeadline(time.Now().Add(time.Second))
		if _, err := udp.Write(packet); err != nil {
			return err
		}
		reply := make([]byte, 100)
		m, err := udp.Read(reply)
		if err != nil || m < 11 {
			return fmt.Errorf("%d bytes: %w", m, err)
		}
		at, err := netip.ParseAddrPort(strings.TrimSpace(string(reply[10:m])))
		if err != nil {
			return err
		}
		if first.IsValid() && at.Addr() != first {
			return fmt.Errorf("from %s, and then from %s", first, at.Addr())
		}
		first = at.Addr()
	}
	return nil
}

// ftpLike connects to the internet through a SOCKS server, as FTP's control
// connection does, then binds, and has the internet connect to what it was told:
// it returns the addresses of the control connection and of the bound one.
func (b *bench) ftpLike(server string, n int) (control, data netip.Addr, err error) {
	dialer, err := proxy.SOCKS5("tcp4", server, nil, &net.Dialer{Timeout: 2 * time.Second})
	if err != nil {
		return control, data, err
	}
	to := netip.AddrPortFrom(lab.Somewhere(n), lab.Port)
	conn, err := dialer.Dial("tcp4", to.String())
	if err != nil {
		return control, data, fmt.Errorf("connect: %w", err)
	}
	defer conn.Close()
	caller, err := lab.ReadCaller(conn)
	if err != nil {
		return control, data, err
	}
	bind, err := net.DialTimeout("tcp4", server, time.Second)
	if err != nil {
		return control, data, err
	}
	defer bind.Close()
	_ = bind.SetDeadline(time.Now().Add(3 * time.Second))
	at, err := socksAsk(bind, 2, to)
	if err != nil {
		return control, data, fmt.Errorf("bind: %w", err)
	}
	if at.Addr().IsUnspecified() {
		return control, data, fmt.Errorf("bound to %s", at)
	}
	var in net.Conn
	err = b.world.Internet.Do(func() (err error) {
		d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: to.Addr().AsSlice()}}
		in, err = d.Dial("tcp4", at.String())
		return err
	})
	if err != nil {
		return control, data, fmt.Errorf("the internet connects to %s: %w", at, err)
	}
	defer in.Close()
	if _, err := socksReply(bind); err != nil {
		return control, data, fmt.Errorf("the second answer to bind: %w", err)
	}
	_ = in.SetDeadline(time.Now().Add(time.Second))
	if _, err := in.Write([]byte("data")); err != nil {
		return control, data, err
	}
	got := make([]byte, 4)
	if _, err := bind.Read(got); err != nil || string(got) != "data" {
		return control, data, fmt.Errorf("got %q over the bound connection: %w", got, err)
	}
	return caller, at.Addr(), nil
}

// socksAsk greets a SOCKS server and asks for something (RFC 1928 section 4): 2 is
// BIND, a port to be connected to from to; 3 is UDP ASSOCIATE.
func socksAsk(conn net.Conn, command byte, to netip.AddrPort) (netip.AddrPort, error) {
	if _, err := conn.Write([]byte{5, 1, 0}); err != nil {
		return netip.AddrPort{}, err
	}
	hello := make([]byte, 2)
	if _, err := conn.Read(hello); err != nil || hello[1] != 0 {
		return netip.AddrPort{}, fmt.Errorf("greeting %v: %w", hello, err)
	}
	address := to.Addr().As4()
	request := append([]byte{5, command, 0, 1}, address[:]...)
	if _, err := conn.Write(append(request, byte(to.Port()>>8), byte(to.Port()))); err != nil {
		return netip.AddrPort{}, err
	}
	return socksReply(conn)
}

func socksReply(conn net.Conn) (netip.AddrPort, error) {
	b := make([]byte, 10)
	for n := 0; n < len(b); {
		m, err := conn.Read(b[n:])
		if err != nil {
			return netip.AddrPort{}, err
		}
		n += m
	}
	if b[1] != 0 {
		return netip.AddrPort{}, fmt.Errorf("SOCKS says %d", b[1])
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(b[8])<<8|uint16(b[9])), nil
}

// The provider gives another address: Dante, which reads addresses at its start, is
// told by the shipped hook, and the next SOCKS connection over that uplink works.
func TestDantedLearnsAnAddress(t *testing.T) {
	labtest.NeedRoot(t, "danted")
	b := newBench(t, 1)
	lines := b.dhcp(8*time.Second, 1)
	b.configure(lines, normalProbe+fmt.Sprintf("hooks:\n  - {run: [%q, %q], on: [address]}\n",
		mustAbs(t, "../../configs/hooks/reload-danted"), b.dir+"/danted.pid"))
	b.start()
	b.untilStates(5*time.Second, "up")
	config, err := os.ReadFile("../../configs/examples/danted.conf")
	b.ok(err)
	b.ok(os.WriteFile(b.dir+"/danted.conf", []byte(strings.Replace(string(config), "external: eth2\n", "", 1)), 0o600))
	b.in(b.world.Host(), "danted", "-f", b.dir+"/danted.conf", "-p", b.dir+"/danted.pid", "-N", "1")
	server := netip.AddrPortFrom(lab.LANHost.Addr(), 1080).String()
	try := func() error {
		return b.world.Client.Do(func() error {
			_, err := b.socks(server, 1)
			return err
		})
	}
	b.until("danted works", 5*time.Second, func() bool { return try() == nil })
	old := b.status().Uplinks[0].Address
	b.world.ISPs[0].DHCP.Renumber()
	b.until("another address", 12*time.Second, func() bool {
		u := b.status().Uplinks[0]
		return u.Address != old && u.State == "up"
	})
	b.until("danted works by the new address", 3*time.Second, func() bool { return try() == nil })
	if !strings.Contains(b.log.String(), "danted told of isp1") {
		t.Error("the hook did not say so in the log")
	}
}

func mustAbs(t *testing.T, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/" + path
}
