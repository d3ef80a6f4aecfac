package flows_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/routes/flows"
)

// world is a lab whose host has its static addresses, and a route to the internet.
func world(t *testing.T) *lab.World {
	t.Helper()
	labtest.Need(t)
	w, err := lab.NewWorld(2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	for _, isp := range w.ISPs {
		must(t, w.Host().Address(isp.Interface, isp.Static))
	}
	must(t, w.Host().Route(netip.MustParsePrefix("198.18.0.0/15"), w.ISPs[0].Gateway, "eth1"))
	return w
}

func dial(t *testing.T, network string, from netip.Addr, to netip.AddrPort) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	if strings.HasPrefix(network, "udp") {
		d.LocalAddr = &net.UDPAddr{IP: from.AsSlice()}
	}
	conn, err := d.Dial(network, to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// dead reports whether a connection has been ended under its program.
func dead(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, syscall.ECONNABORTED) || errors.Is(err, syscall.ECONNRESET)
}

// waiting returns how many sockets are in TIME_WAIT (proc_net_tcp(5)).
func waiting(t *testing.T) int {
	t.Helper()
	table, err := os.ReadFile("/proc/thread-self/net/tcp")
	must(t, err)
	return strings.Count(string(table), " 06 ")
}

// What has the address is ended: TCP, TCP of a program that speaks IPv6, connected
// UDP. What does not is left, and so is what a listener of this host has accepted,
// the listener itself, and a UDP socket without a peer.
func TestEndSockets(t *testing.T) {
	w := world(t)
	one, two := w.ISPs[0].Static.Addr(), w.ISPs[1].Static.Addr()
	internet := netip.AddrPortFrom(lab.Somewhere(1), lab.Port)
	read := func(conn net.Conn) net.Conn {
		if _, err := lab.ReadCaller(conn); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	mapped := func() net.Conn {
		fd, err := syscall.Socket(syscall.AF_INET6, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		must(t, err)
		at := func(a netip.Addr, port uint16) *syscall.SockaddrInet6 {
			return &syscall.SockaddrInet6{Port: int(port), Addr: netip.AddrFrom16(a.As16()).As16()}
		}
		must(t, syscall.Bind(fd, at(one, 0)))
		must(t, syscall.Connect(fd, at(internet.Addr(), internet.Port())))
		must(t, syscall.SetNonblock(fd, true))
		f := os.NewFile(uintptr(fd), "mapped")
		conn, err := net.FileConn(f)
		must(t, err)
		must(t, f.Close())
		t.Cleanup(func() { _ = conn.Close() })
		return read(conn)
	}
	victims := map[string]net.Conn{
		"TCP": read(dial(t, "tcp4", one, internet)), "UDP": dial(t, "udp4", one, internet), "TCP over IPv6": mapped(),
	}
	spared := map[string]net.Conn{
		"TCP of the other": read(dial(t, "tcp4", two, internet)), "UDP of the other": dial(t, "udp4", two, internet),
	}
	listener, err := net.Listen("tcp4", netip.AddrPortFrom(one, 2222).String())
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	var admin net.Conn
	must(t, w.ISPs[0].Namespace().Do(func() (err error) {
		admin, err = net.DialTimeout("tcp4", listener.Addr().String(), time.Second)
		return err
	}))
	t.Cleanup(func() { _ = admin.Close() })
	accepted, err := listener.Accept()
	must(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	spared["accepted by a listener"] = accepted
	peerless, err := net.ListenPacket("udp4", netip.AddrPortFrom(one, 0).String())
	must(t, err)
	t.Cleanup(func() { _ = peerless.Close() })

	// What is left of connections that this host has closed stands before the others in the list.
	before := waiting(t)
	for range 3 {
		closed := read(dial(t, "tcp4", one, internet))
		must(t, closed.Close())
	}
	// On an emulated machine their ends took longer than a pause, and one was still there to end.
	for deadline := time.Now().Add(5 * time.Second); waiting(t) < before+3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of three closed connections wait out their time", waiting(t)-before)
		}
	}

	// One of the three is a socket of IPv6: it was ended, and never counted.
	counts, err := flows.Connections(t.Context(), []netip.Addr{one, two})
	if err != nil || counts[one] != 2 || counts[two] != 1 {
		t.Errorf("counted %v, %v; want two over %s, without the accepted one, and one over %s", counts, err, one, two)
	}
	n, err := flows.EndSockets(t.Context(), []netip.Prefix{w.ISPs[0].Static})
	if err != nil || n != len(victims) {
		t.Errorf("ended %d, %v; want %d", n, err, len(victims))
	}
	if n, err := flows.EndSockets(t.Context(), []netip.Prefix{w.ISPs[0].Static}); err != nil || n != 0 {
		t.Errorf("again: ended %d, %v; want nothing left", n, err)
	}
	for name, conn := range victims {
		if !dead(conn) {
			t.Errorf("%s: not ended", name)
		}
	}
	for name, conn := range spared {
		if dead(conn) {
			t.Errorf("%s: ended", name)
		}
	}
	if _, err := peerless.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(internet)); err != nil {
		t.Errorf("UDP without a peer: %v", err)
	}
	if conn, err := net.DialTimeout("tcp4", listener.Addr().String(), time.Second); err != nil {
		t.Errorf("the listener: %v", err)
	} else {
		_ = conn.Close()
	}
}

// Flows with the mark are forgotten, under the mask alone, and no others.
func TestForgetFlows(t *testing.T) {
	labtest.NeedRoot(t, "conntrack", "nft")
	w := world(t)
	nft(t, "add table inet marks; add chain inet marks out { type filter hook output priority 0; }")
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "marks").Run() })
	for port, mark := range map[int]int{1001: 0x97, 1002: 0x98, 1003: 0xab97, 1004: 0} {
		nft(t, "add rule inet marks out udp dport "+strconv.Itoa(port)+" ct mark set "+strconv.Itoa(mark))
		conn := dial(t, "udp4", w.ISPs[0].Static.Addr(), netip.AddrPortFrom(lab.Somewhere(1), uint16(port)))
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	known := func() string {
		out, err := exec.Command("conntrack", "-L", "-p", "udp").Output()
		must(t, err)
		var ports []string
		for _, port := range []string{"1001", "1002", "1003", "1004"} {
			if strings.Contains(string(out), "dport="+port+" ") {
				ports = append(ports, port)
			}
		}
		return strings.Join(ports, " ")
	}
	if got := known(); got != "1001 1002 1003 1004" {
		t.Fatalf("known: %s", got)
	}
	counts, err := flows.Count(t.Context(), []netip.Addr{w.ISPs[0].Static.Addr()})
	if err != nil || counts[w.ISPs[0].Static.Addr()] != 0 {
		t.Errorf("counted %v, %v; want none: nothing was answered", counts, err)
	}
	n, err := flows.Forget(t.Context(), false, 0x97, 0xff)
	if err != nil || n != 2 {
		t.Errorf("forgot %d, %v; want 2", n, err)
	}
	if got := known(); got != "1002 1004" {
		t.Errorf("known: %s, want 1002 1004", got)
	}
}

// An answer that does not come is given up, and is an error, not a number.
func TestAskGivesUp(t *testing.T) {
	w := world(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	addresses := []netip.Addr{w.ISPs[0].Static.Addr()}
	if counts, err := flows.Connections(ctx, addresses); !errors.Is(err, context.Canceled) || counts != nil {
		t.Errorf("connections: %v, %v", counts, err)
	}
	if counts, err := flows.Count(ctx, addresses); !errors.Is(err, context.Canceled) || counts != nil {
		t.Errorf("flows: %v, %v", counts, err)
	}
	if stalled, err := flows.Stalled(ctx, addresses); !errors.Is(err, context.Canceled) || stalled != nil {
		t.Errorf("stalled: %v, %v", stalled, err)
	}
}

// What an interface counts is what has gone over it, headers and all.
func TestTraffic(t *testing.T) {
	w := world(t)
	links, err := flows.OpenLinks()
	must(t, err)
	t.Cleanup(links.Close)
	device, err := net.InterfaceByName(w.ISPs[0].Interface)
	must(t, err)
	before, err := links.Read(device.Index, false)
	must(t, err)
	conn := dial(t, "udp4", w.ISPs[0].Static.Addr(), netip.AddrPortFrom(lab.Somewhere(1), 9))
	if _, err := conn.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	sent := uint64(0)
	for deadline := time.Now().Add(2 * time.Second); sent < 1000 && time.Now().Before(deadline); {
		after, err := links.Read(device.Index, false) // the packet waits for ARP first
		must(t, err)
		sent = after.TxBytes - before.TxBytes
	}
	if sent < 1028 || sent > 2000 {
		t.Errorf("1000 bytes by UDP are %d more on %s", sent, device.Name)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func nft(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command("nft", command).CombinedOutput(); err != nil {
		t.Fatalf("nft %s: %v\n%s", command, err, out)
	}
}
