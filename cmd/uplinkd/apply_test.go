package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/uplink/control"
)

// A remote login is a connection from the Internet to an address of an uplink, with a
// program on this host that answers.
type remoteLogin struct {
	*bench
	conn net.Conn // at the far end
	peer net.Addr
}

func (b *bench) login(isp int) *remoteLogin {
	b.Helper()
	return b.loginAt(b.world.ISPs[isp].Static.Addr(), lab.Somewhere(3))
}

// loginAt returns a login at an address of this host from one on the Internet.
func (b *bench) loginAt(own, from netip.Addr) *remoteLogin {
	b.Helper()
	listener, err := net.Listen("tcp", netip.AddrPortFrom(own, 22).String())
	b.ok(err)
	b.Cleanup(func() { _ = listener.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		if conn, err := listener.Accept(); err == nil {
			accepted <- conn
		}
	}()
	l := &remoteLogin{bench: b}
	b.ok(b.world.Internet.Do(func() (err error) {
		dialer := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
		l.conn, err = dialer.Dial("tcp", listener.Addr().String())
		return err
	}))
	b.Cleanup(func() { _ = l.conn.Close() })
	host := <-accepted
	b.Cleanup(func() { _ = host.Close() })
	l.peer = host.RemoteAddr()
	go func() {
		buffer := make([]byte, 64)
		for {
			n, err := host.Read(buffer)
			if err != nil {
				return
			}
			if _, err := host.Write(buffer[:n]); err != nil {
				return
			}
		}
	}()
	return l
}

// works waits until what is typed comes back.
func (l *remoteLogin) works(limit time.Duration) {
	l.Helper()
	_ = l.conn.SetDeadline(time.Now().Add(limit))
	if _, err := l.conn.Write([]byte("x")); err != nil {
		l.Fatal(err)
	}
	if _, err := l.conn.Read(make([]byte, 64)); err != nil {
		l.Fatalf("the login is dead: %v", err)
	}
}

// hangs checks that what is typed does not come back. What has been sent is answered once
// it can be, and taken in here.
func (l *remoteLogin) hangs(length time.Duration) (answered func(limit time.Duration)) {
	l.Helper()
	_ = l.conn.SetDeadline(time.Now().Add(length))
	_, err := l.conn.Write([]byte("x"))
	l.ok(err)
	if _, err := l.conn.Read(make([]byte, 64)); err == nil {
		l.Fatal("the configuration does not cut the login: the test proves nothing")
	}
	return func(limit time.Duration) {
		l.Helper()
		_ = l.conn.SetDeadline(time.Now().Add(limit))
		if _, err := l.conn.Read(make([]byte, 64)); err != nil {
			l.Fatalf("the login is not back: %v", err)
		}
	}
}

// typed runs a command as if it were typed over the login.
func (l *remoteLogin) typed(args ...string) (string, error) {
	cmd := l.program(args...)
	peer, own := l.peer.(*net.TCPAddr), l.conn.RemoteAddr().(*net.TCPAddr) //nolint:forcetypeassert // of TCP
	cmd.Env = append(cmd.Env, fmt.Sprintf("SSH_CONNECTION=%s %d %s %d", peer.IP, peer.Port, own.IP, own.Port))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A configuration that cuts the login it comes by: said beforehand, on trial by default,
// and back by itself, also when the daemon is killed meanwhile. UPLINKD_RUNS says how often.
func TestApplyGoesBack(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	// The other provider takes nothing from an address that is not its customer's (RFC 2827).
	b.ok(b.world.ISPs[1].Namespace().Sysctl("net/ipv4/conf/cust/rp_filter", "1"))
	whole, err := os.ReadFile(b.config)
	b.ok(err)
	lines := strings.Split(string(whole), "\n")
	cut := filepath.Join(b.dir, "cut.yaml")
	b.ok(os.WriteFile(cut, []byte(strings.Join(append(lines[:1:1], lines[2:]...), "\n")), 0o600))

	l := b.login(0)
	l.works(time.Second)
	out, err := l.typed("plan", "-c", b.config, cut)
	if want := "this login from " + lab.Somewhere(3).String() + " may end"; err != nil || !strings.Contains(out, want) ||
		!strings.Contains(out, "isp1: the uplink is removed: 1 connections of this host") {
		t.Errorf("plan: %v\n%s", err, out)
	}
	out, err = l.typed("apply", "-c", b.config, cut)
	if err != nil || !strings.Contains(out, "on trial for 1m0s") || !strings.Contains(out, "uplinks.isp1.weight: 1 -> -") {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	b.untilStates(2*time.Second, "up")
	back := l.hangs(300 * time.Millisecond)
	_, err = b.run("confirm", "--reject", "-c", b.config)
	b.ok(err)
	back(5 * time.Second)

	for n := range runsOr(t, 1) {
		for _, killed := range []bool{false, true} {
			file, length := cut, "3s"
			if killed { // the daemon's own, edited in place, and longer than the test
				text, err := os.ReadFile(cut)
				b.ok(err)
				b.ok(os.WriteFile(b.config, text, 0o600))
				file, length = b.config, "10m"
			}
			out, err := l.typed("apply", "--confirm", length, "-c", b.config, file)
			if err != nil {
				t.Fatalf("%d: %v\n%s", n, err, out)
			}
			b.untilStates(2*time.Second, "up")
			back := l.hangs(200 * time.Millisecond)
			if killed {
				b.kill(syscall.SIGKILL)
				b.start()
			}
			back(8 * time.Second)
			b.untilStates(5*time.Second, "up", "up")
			if killed {
				b.ok(os.WriteFile(b.config, whole, 0o600))
				_, err := b.run("reload", "-c", b.config)
				b.ok(err)
			}
		}
	}
	if now, err := os.ReadFile(b.config); err != nil || string(now) != string(whole) {
		t.Errorf("the file has changed: %v\n%s", err, now)
	}
}

// The same by a login over IPv6: the configuration takes that family from the uplink it comes by. Its flow
// was forgotten at once, noted anew by the other uplink, and lost for good when all had gone back.
func TestApplyGoesBackOverIPv6(t *testing.T) {
	b := newBench6(t, 2)
	b.routers()
	b.configure(b.dual(1, 1), fastProbe)
	b.start()
	b.untilStates6(10*time.Second, "up", "up")
	whole, err := os.ReadFile(b.config)
	b.ok(err)
	cut := filepath.Join(b.dir, "cut.yaml")
	b.ok(os.WriteFile(cut, []byte(strings.Replace(string(whole), ", ipv6: auto", "", 1)), 0o600))

	b.ok(b.world.Internet.Sysctl("net/ipv6/ip_nonlocal_bind", "1"))
	l := b.loginAt(b.address6(0).Addr(), lab.Somewhere6(3))
	l.works(time.Second)
	out, err := l.typed("plan", "-c", b.config, cut)
	if want := "this login from " + lab.Somewhere6(3).String() + " may end"; err != nil || !strings.Contains(out, want) {
		t.Errorf("plan: %v\n%s", err, out)
	}
	b.noneSpoofed("plan")
	out, err = l.typed("apply", "-c", b.config, cut)
	if err != nil || !strings.Contains(out, "on trial for 1m0s") {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	b.until("IPv6 of isp1 is taken away", 5*time.Second, func() bool { return b.status().Uplinks[0].IPv6 == nil && b.status().Kernel.InSync })
	back := l.hangs(500 * time.Millisecond)
	b.kill(syscall.SIGKILL)
	b.start()
	back(8 * time.Second)
	b.untilStates6(10*time.Second, "up", "up")
	b.excuseSpoofed() // on trial nothing of the first ISP's IPv6 was ours, and the kernel had an address of it
	if now, err := os.ReadFile(b.config); err != nil || string(now) != string(whole) {
		t.Errorf("the file has changed: %v\n%s", err, now)
	}
}

// What does not cut the login is in force for good; confirmed by hand it is as well, and
// the file before is kept.
func TestApplyAndConfirm(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	whole, err := os.ReadFile(b.config)
	b.ok(err)
	l := b.login(1)
	file := filepath.Join(b.dir, "new.yaml")
	change := func(weight string) {
		b.ok(os.WriteFile(file, []byte(strings.Replace(string(whole), "weight: 1", "weight: "+weight, 1)), 0o600))
	}
	weight := func() int { return b.status().Uplinks[0].Weight }
	change("5")
	if out, err := l.typed("apply", "-c", b.config, file); err != nil || out != "uplinks.isp1.weight: 1 -> 5\n" || weight() != 5 {
		t.Errorf("%v, weight %d\n%s", err, weight(), out)
	}
	l.works(time.Second)
	change("6")
	if out, err := l.typed("apply", "--confirm", "30s", "-c", b.config, file); err != nil || !strings.Contains(out, "in force until") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := b.run("status", "-c", b.config); err != nil || !strings.Contains(out, "on trial until") {
		t.Errorf("status does not say so: %v\n%s", err, out)
	}
	if out, err := b.run("reload", "-c", b.config); err == nil || !strings.Contains(out, "uplinkd confirm") {
		t.Errorf("a reload during the trial: %v\n%s", err, out)
	}
	if out, err := b.run("confirm", "-c", b.config); err != nil || weight() != 6 {
		t.Errorf("%v, weight %d\n%s", err, weight(), out)
	}
	old, err := os.ReadFile(b.config + ".old")
	if err != nil || !strings.Contains(string(old), "weight: 5") {
		t.Errorf("the file before: %v\n%s", err, old)
	}
	b.kill(syscall.SIGKILL)
	b.start()
	if weight() != 6 {
		t.Errorf("weight %d after a restart", weight())
	}
	if out, err := b.run("confirm", "-c", b.config); err == nil || !strings.Contains(out, "no configuration is on trial") {
		t.Errorf("%v\n%s", err, out)
	}
	// A confirmation that comes when it has gone back leaves the file as it stood (review).
	change("7")
	_, err = b.run("apply", "--confirm", "1m", "-c", b.config, file)
	b.ok(err)
	late, err := b.client.Trial(context.Background())
	b.ok(err)
	_, err = b.run("confirm", "--reject", "-c", b.config)
	b.ok(err)
	stood, err := os.ReadFile(b.config)
	b.ok(err)
	stood = append(stood, "# edited meanwhile\n"...)
	b.ok(os.WriteFile(b.config, stood, 0o600))
	c := &common{}
	if err := c.keep(context.Background(), b.client, late); !errors.Is(err, control.ErrNoTrial) {
		t.Errorf("confirmed too late: %v", err)
	}
	if now, err := os.ReadFile(b.config); err != nil || string(now) != string(stood) {
		t.Errorf("after a late confirmation, %v, the file is\n%s", err, now)
	}
	b.ok(os.WriteFile(file, []byte("uplinks: ["), 0o600))
	if out, err := b.run("apply", "-c", b.config, file); err == nil || !strings.Contains(out, "not YAML") {
		t.Errorf("%v\n%s", err, out)
	}
	b.untilStates(5*time.Second, "up", "up")
}
