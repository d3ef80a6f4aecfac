package probe_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/internal/sock"
	"uplinkd/probe"
)

var web, nameServer = lab.Somewhere(80), lab.Somewhere(53)

// services puts an HTTP server and a DNS server on the internet.
func services(t *testing.T, world *lab.World) {
	t.Helper()
	var listener net.Listener
	var dns net.PacketConn
	err := world.Internet.Do(func() (err error) {
		if listener, err = net.Listen("tcp4", netip.AddrPortFrom(web, 80).String()); err == nil {
			dns, err = net.ListenPacket("udp4", netip.AddrPortFrom(nameServer, 53).String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/portal":
			http.Redirect(w, r, "http://portal.example/", http.StatusFound)
		case "/empty":
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.WriteString(w, "all is well")
		}
	})}
	go server.Serve(listener)
	go answerNames(dns)
	t.Cleanup(func() { _ = server.Close(); _ = dns.Close() })
}

// answerNames gives web's address to www.example and knows no other name.
func answerNames(conn net.PacketConn) {
	b := make([]byte, 1500)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		m.Response = true
		q := m.Questions[0]
		switch {
		case q.Name.String() != "www.example.":
			m.RCode = dnsmessage.RCodeNameError
		case q.Type == dnsmessage.TypeA:
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: web.As4()},
			}}
		}
		if answer, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(answer, from)
		}
	}
}

func tcp(port uint16) probe.Target {
	return probe.Target{Kind: probe.TCP, Name: fmt.Sprintf("tcp://%s:%d", web, port), IP: web, Port: port}
}

func httpTarget(url string) probe.Target { return probe.Target{Kind: probe.HTTP, Name: url, URL: url} }

func dnsTarget(name string) probe.Target {
	return probe.Target{Kind: probe.DNS, Name: "dns", IP: nameServer, Query: name}
}

// check asks each target of spec once by a Conn of its own.
func check(t *testing.T, spec probe.Spec, target probe.Target) probe.Answer {
	t.Helper()
	spec.Targets = []probe.Target{target}
	conn, err := probe.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Send(0, 7); err != nil {
		t.Fatal(err)
	}
	a, err := conn.Receive()
	if err != nil || a.Seq != 7 {
		t.Fatalf("%+v, %v", a, err)
	}
	return a
}

// far returns a lab in which the uplinks' own tables lead to their ISPs, and the
// spec of checks over the first.
func farRoom(t *testing.T) (*lab.World, probe.Spec) {
	t.Helper()
	world, spec := room(t)
	services(t, world)
	isp := world.ISPs[0]
	if err := world.Host().Route(netip.MustParsePrefix("198.18.0.0/15"), isp.Gateway, isp.Interface); err != nil {
		t.Fatal(err)
	}
	if err := world.ISPs[0].Namespace().Unreachable(netip.PrefixFrom(lab.Somewhere(9), 32)); err != nil {
		t.Fatal(err)
	}
	spec.Pace.Timeout = time.Second
	spec.DNS = []netip.Addr{nameServer}
	return world, spec
}

// Each kind of target, answering and not.
func TestChecks(t *testing.T) {
	_, spec := farRoom(t)
	program := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	execute := func(path string) probe.Target {
		return probe.Target{Kind: probe.Exec, Name: "exec", Program: path, Limit: 500 * time.Millisecond}
	}
	expecting := func(status int, body, url string) probe.Target {
		target := httpTarget(url)
		target.Status, target.Body = status, body
		return target
	}
	base := "http://" + web.String()
	for name, tt := range map[string]struct {
		target probe.Target
		err    string // "": answered
		hard   bool
	}{
		"tcp":                    {tcp(80), "", false},
		"tcp, refused":           {tcp(81), "connection refused", false},
		"tcp, unreachable":       {probe.Target{Kind: probe.TCP, Name: "x", IP: lab.Somewhere(9), Port: 80}, "no route to host", true},
		"http":                   {httpTarget(base + "/"), "", false},
		"http by name":           {httpTarget("http://www.example/"), "", false},
		"http, unknown name":     {httpTarget("http://nowhere.example/"), "no such host", false},
		"http, 204 is fine":      {httpTarget(base + "/empty"), "", false},
		"http, 204 is wanted":    {expecting(204, "", base+"/empty"), "", false},
		"http, 204 is not given": {expecting(204, "", base+"/"), "status 200", false},
		"http, body":             {expecting(0, "is well", base+"/"), "", false},
		"http, another body":     {expecting(0, "log in", base+"/"), `"log in" is not in the answer`, false},
		"http, a portal":         {httpTarget(base + "/portal"), "status 302", false},
		"https, no TLS there":    {httpTarget("https://" + web.String() + ":80/"), "HTTPS client", false},
		"dns":                    {dnsTarget("www.example"), "", false},
		"dns, unknown name":      {dnsTarget("nowhere.example"), "NameError", false},
		"exec":                   {execute("/bin/true"), "", false},
		"exec, failing":          {execute(program("fails", "echo it is so; exit 3")), "exit status 3: it is so", false},
		// From attacking the first stage: what others say reached root's terminal as it was.
		"exec, hostile": {
			execute(program("hostile", `printf '\033[2J\033]0;pwned\007all is well\rup'; exit 3`)),
			"exit status 3: ?[2J?]0;pwned?all is well up", false,
		},
		"exec, environment": {execute(program("env",
			`test "$INTERFACE $ADDRESS $FWMARK" = "eth1 100.64.1.10 0x1" && test $# = 0 && test -z "$HOME"`)), "", false},
		"exec, too slow, with children": {execute(program("slow", "sleep 60 & sleep 60")), "time limit", false},
		"exec, none":                    {execute("/nowhere/at/all"), "no such file", false},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			a := check(t, spec, tt.target)
			if (a.Err == "") != (tt.err == "") || !strings.Contains(a.Err, tt.err) || a.Hard != tt.hard {
				t.Errorf("got %q, hard %v; want %q, %v", a.Err, a.Hard, tt.err, tt.hard)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %v", took)
			}
			if known := tt.target.Kind != probe.Exec && a.Err == ""; known && (a.Bytes < 100 || a.Bytes > 3000) {
				t.Errorf("cost %d bytes", a.Bytes)
			}
		})
	}
}

// An answer that comes back by another uplink does not count, of any kind.
func TestCheckAnsweredByAnotherUplinkDoesNotCount(t *testing.T) {
	world, spec := farRoom(t)
	isp1, isp2 := world.ISPs[0], world.ISPs[1]
	host := netip.PrefixFrom(isp1.Static.Addr(), 32)
	for _, err := range []error{
		world.Host().Sysctl("net/ipv4/conf/eth2/rp_filter", "0"), world.Host().Sysctl("net/ipv4/conf/all/rp_filter", "0"),
		world.Internet.Route(host, netip.AddrFrom4([4]byte{172, 31, 2, 1}), "isp2"),
		isp2.Namespace().Route(host, isp2.Static.Addr(), "cust"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	spec.Pace.Timeout = 300 * time.Millisecond
	for name, target := range map[string]probe.Target{
		"tcp": tcp(80), "http": httpTarget("http://" + web.String() + "/"), "dns": dnsTarget("www.example"),
	} {
		before := received(t)
		if a := check(t, spec, target); a.Err == "" {
			t.Errorf("%s: an answer that came in by eth2 counted for eth1", name)
		}
		if after := received(t); after == before {
			t.Errorf("%s: nothing came in by eth2: the test proves nothing", name)
		}
	}
}

// Checks end with their Conn, programs included.
func TestChecksEnd(t *testing.T) {
	_, spec := farRoom(t)
	before := runtime.NumGoroutine()
	spec.Targets = []probe.Target{
		{Kind: probe.Exec, Name: "exec", Program: "/bin/cat", Limit: time.Minute},
		tcp(80),
		{Name: "gateway", IP: netip.MustParseAddr("100.64.1.1")},
		{Kind: probe.TCP, Name: "silent", IP: netip.MustParseAddr("100.64.1.77"), Port: 9},
	}
	spec.Pace.Timeout = time.Minute
	for range 3 {
		conn, err := probe.Open(spec)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range uint16(8) {
			for target := range spec.Targets {
				_ = conn.Send(target, seq) // busy, at some time
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		left := 0
		for _, err := conn.Receive(); err == nil; _, err = conn.Receive() {
			if left++; left > len(spec.Targets) {
				t.Fatal("a closed Conn goes on")
			}
		}
	}
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

// A router that says "unreachable" is heard, long before any timeout.
func TestRefusedByTheNetwork(t *testing.T) {
	_, spec := farRoom(t)
	far := lab.Somewhere(9)
	spec.Targets = []probe.Target{{Name: far.String(), IP: far}}
	conn, err := probe.OpenICMP(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if a, ok := ask(t, conn, 42); !ok || !a.Hard || a.Seq != 42 || !strings.Contains(a.Err, "no route to host, says 100.64.1.1") {
		t.Errorf("%+v, %v; want the gateway's word on probe 42", a, ok)
	}
}

// Errors forged with any id kept a core busy (attack on the first stage: 75 % of one at
// 263,000/s): with more than a few none are read for a second, echoes go on, and then
// routers are heard again.
func TestForgedErrorsAreNotRead(t *testing.T) {
	world, spec := farRoom(t)
	far := lab.Somewhere(9)
	spec.Targets = []probe.Target{{Name: "gateway", IP: spec.Targets[0].IP}, {Name: far.String(), IP: far}}
	conn, err := probe.OpenICMP(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	forged := forgedError(spec.Source, far)
	flood := func(n int) {
		err := world.ISPs[0].Namespace().Do(func() error {
			raw, err := net.Dial("ip4:icmp", spec.Source.String())
			if err != nil {
				return err
			}
			defer raw.Close()
			for range n {
				if _, err := raw.Write(forged); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	answers := make(chan probe.Answer, 3000)
	go func() {
		for {
			a, err := conn.Receive()
			if err != nil {
				close(answers)
				return
			}
			answers <- a
		}
	}()
	expect := func(target int, seq uint16, want string) {
		t.Helper()
		if err := conn.Send(target, seq); err != nil {
			t.Fatal(err)
		}
		got := "nothing"
		select {
		case a := <-answers:
			got = map[bool]string{true: "refusal", false: "answer"}[a.Hard]
			if a.Target != target || a.Seq != seq {
				got = fmt.Sprintf("%+v", a)
			}
		case <-time.After(300 * time.Millisecond):
		}
		if got != want {
			t.Errorf("to probe %d of target %d: %s, want %s", seq, target, got, want)
		}
	}
	flood(2000)
	expect(0, 1, "answer")
	expect(1, 2, "nothing")
	expect(0, 3, "answer")
	time.Sleep(time.Second)
	expect(1, 4, "refusal")
}

// forgedError is an ICMP "host unreachable" about an echo request from source to
// target that is not ours. It quotes eight bytes.
func forgedError(source, target netip.Addr) []byte {
	b := make([]byte, 8+20+8)
	b[0], b[1] = 3, 1
	ip := b[8:]
	ip[0], ip[3], ip[8], ip[9] = 0x45, 28, 64, unix.IPPROTO_ICMP
	s, d := source.As4(), target.As4()
	copy(ip[12:], s[:])
	copy(ip[16:], d[:])
	binary.BigEndian.PutUint16(ip[10:], ^sock.Sum(ip[:20], 0))
	ip[20] = 8
	binary.BigEndian.PutUint16(b[2:], ^sock.Sum(b, 0))
	return b
}

// A header that does not end was read up to 10 MB on each check (attack on the first
// stage), which a metered uplink pays for.
func TestEndlessHeader(t *testing.T) {
	world, spec := farRoom(t)
	var listener net.Listener
	err := world.Internet.Do(func() (err error) {
		listener, err = net.Listen("tcp4", netip.AddrPortFrom(web, 81).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n")
			for err == nil {
				_, err = io.WriteString(conn, "X-More: "+strings.Repeat("x", 1000)+"\r\n")
			}
			_ = conn.Close()
		}
	}()
	spec.Targets = []probe.Target{httpTarget("http://" + netip.AddrPortFrom(web, 81).String() + "/")}
	conn, err := probe.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a, ok := ask(t, conn, 1)
	t.Logf("%d bytes, %s", a.Bytes, a.Err)
	if !ok || a.Err == "" || a.Bytes > 1<<20 {
		t.Errorf("%+v, %v: want an error after 64 kB and what was under way", a, ok)
	}
}

// 64 targets ten times a second cost less than 2 % of a core, or than half as much again as the kernel alone takes for
// the same packets on this machine.
func TestManyTargetsCostLittle(t *testing.T) {
	labtest.Measured(t)
	labtest.Need(t)
	world, err := lab.NewWorld(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	isp := world.ISPs[0]
	if err := world.Host().Address(isp.Interface, isp.Static); err != nil {
		t.Fatal(err)
	}
	if err := world.Host().Route(netip.MustParsePrefix("198.18.0.0/15"), isp.Gateway, isp.Interface); err != nil {
		t.Fatal(err)
	}
	index, err := world.Host().Index(isp.Interface)
	if err != nil {
		t.Fatal(err)
	}
	spec := probe.Spec{Interface: isp.Interface, Index: index, Source: isp.Static.Addr(), Pace: normal}
	spec.Pace.Interval, spec.Pace.Timeout = 100*time.Millisecond, 90*time.Millisecond
	for n := range 64 {
		a := lab.Somewhere(n + 1)
		spec.Targets = append(spec.Targets, probe.Target{Name: a.String(), IP: a})
	}
	p := probe.New(probe.Open, func(probe.Change) {})
	done := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- p.Run(ctx) }()
	p.Set(&spec)
	time.Sleep(2 * time.Second)
	// What is measured beside it is what else the processors do: three times at most, then.
	share, most := 100.0, 2.0*slowFactor
	for tries := 0; tries < 3 && share > most; tries++ {
		share = shareOf(t, func() { time.Sleep(4 * time.Second) })
		bare := shareOf(t, func() { echoes(t, isp.Static.Addr(), spec.Targets, 40) }) - share
		t.Logf("64 targets ten times a second: %.2f%% of a core; the same packets alone %.2f%%", share, bare)
		most = max(most, 1.5*bare)
	}
	answered := uint64(0)
	for _, s := range p.Status() {
		answered += s.Received
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if answered < 64*60 {
		t.Errorf("%d answers in seven seconds: the test proves nothing", answered)
	}
	// The answering side is the same kernel, and part of the cost; the race detector
	// costs several times as much.
	if share > most {
		t.Errorf("%.2f%% of a core, want %.2f%% at most", share, most)
	}
}

// shareOf returns how much of a core this process takes while something runs, in percent.
func shareOf(t *testing.T, run func()) float64 {
	t.Helper()
	begun, start := selfCPU(t), time.Now()
	run()
	return 100 * (selfCPU(t) - begun).Seconds() / time.Since(start).Seconds()
}

// echoes sends an echo request to each of some targets every tenth of a second, so many times, and reads the answers:
// what the kernel takes, and next to nothing else.
func echoes(t *testing.T, source netip.Addr, targets []probe.Target, rounds int) {
	t.Helper()
	conn, err := net.ListenIP("ip4:icmp", &net.IPAddr{IP: source.AsSlice()})
	if err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		for buffer := make([]byte, 1500); err == nil; {
			_, _, err = conn.ReadFromIP(buffer)
		}
	})
	request, marshalErr := (&icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: 1, Seq: 1, Data: make([]byte, 16)}}).Marshal(nil)
	if marshalErr != nil {
		t.Fatal(marshalErr)
	}
	pace := time.NewTicker(100 * time.Millisecond)
	defer pace.Stop()
	for range rounds {
		for _, target := range targets {
			if _, err := conn.WriteToIP(request, &net.IPAddr{IP: target.IP.AsSlice()}); err != nil {
				t.Error(err)
			}
		}
		<-pace.C
	}
	_ = conn.Close()
	reader.Wait()
}
