package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/proxy"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/control"
)

// A pair is two gateways of one LAN, each with the daemon, keepalived and danted, and two
// uplinks to the same two ISPs.
type pair struct {
	*bench
	hosts      [2]*gatewayHost
	oneNetwork bool // both are in the same network of each ISP
}

// A gatewayHost is one of the two.
type gatewayHost struct {
	ns     *lab.Namespace
	number int
	own    netip.Addr // on the LAN
	port   string     // of the LAN's bridge
	dir    string
	client *control.Client
	stop   map[string]func() // what runs on it
}

// shared is the address that one of the two has.
var shared = netip.MustParseAddr("192.168.77.254")

const ispSide = "cust2" // the ISP's interface towards the second host

func newPair(t *testing.T, oneNetwork bool) *pair {
	t.Helper()
	labtest.NeedRoot(t, "keepalived", "danted")
	p := &pair{bench: newBench(t, 2), oneNetwork: oneNetwork}
	second, err := lab.NewNamespace()
	p.ok(err)
	t.Cleanup(second.Close)
	p.hosts[0] = &gatewayHost{ns: p.world.Host(), number: 1, own: lab.LANHost.Addr(), port: "eth0"}
	p.hosts[1] = &gatewayHost{ns: second, number: 2, own: netip.MustParseAddr("192.168.77.3"), port: "port2"}
	for _, isp := range p.world.ISPs {
		p.ok(second.Wire(isp.Interface, isp.Namespace(), ispSide))
		if oneNetwork {
			p.at(isp.Namespace(), fmt.Sprintf("ip link add wan type bridge; ip link set wan up; ip addr del %s/24 dev cust; "+
				"ip addr add %[1]s/24 dev wan; ip link set cust master wan; ip link set cust2 master wan", isp.Gateway))
			continue
		}
		gateway := netip.AddrFrom4([4]byte{100, 65, byte(isp.Number), 1})
		p.ok(isp.Namespace().Address(ispSide, netip.PrefixFrom(gateway, 24)))
		p.ok(p.world.Internet.Route(netip.PrefixFrom(gateway, 24).Masked(), netip.AddrFrom4([4]byte{172, 31, byte(isp.Number), 1}), fmt.Sprint("isp", isp.Number)))
	}
	p.ok(p.world.Client.Wire("port2", second, "lan0"))
	p.ok(second.Address("lan0", netip.PrefixFrom(p.hosts[1].own, 24)))
	p.at(p.world.Client, "ip link add br0 type bridge; ip link set br0 up; ip addr del "+lab.LANClient.String()+" dev eth0; "+
		"ip link set eth0 master br0; ip link set port2 master br0; ip addr add "+lab.LANClient.String()+" dev br0")
	program := p.build()
	for _, h := range p.hosts {
		h.dir, h.stop = filepath.Join(p.dir, fmt.Sprint("host", h.number)), map[string]func(){}
		p.ok(os.Mkdir(h.dir, 0o755))
		p.ok(os.Symlink(program, filepath.Join(h.dir, "uplinkd")))
		h.client = control.NewClient(filepath.Join(h.dir, "sock"))
		p.startDaemon(h)
	}
	for _, h := range p.hosts {
		p.until("both uplinks are up", 10*time.Second, func() bool {
			s, err := h.client.Status(t.Context())
			return err == nil && len(s.DefaultRoute.NextHops) == 2
		})
		p.startDanted(h)
	}
	return p
}

// at runs a command in a namespace.
func (b *bench) at(ns *lab.Namespace, script string) {
	b.Helper()
	cmd := exec.Command("sh", "-euc", script)
	var out []byte
	if err := ns.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err }); err != nil {
		b.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// outside returns the address that a host has of an ISP, and its gateway.
func (p *pair) outside(h *gatewayHost, isp *lab.ISP) (address netip.Prefix, gateway netip.Addr) {
	if p.oneNetwork {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(isp.Number), byte(9 + h.number)}), 24), isp.Gateway
	}
	network := func(last byte) netip.Addr {
		return netip.AddrFrom4([4]byte{100, byte(63 + h.number), byte(isp.Number), last})
	}
	return netip.PrefixFrom(network(10), 24), network(1)
}

// startDaemon starts the daemon of a host, with its defaults and the hook for keepalived.
func (p *pair) startDaemon(h *gatewayHost) {
	p.Helper()
	hook, err := filepath.Abs("../../configs/hooks/keepalived-track")
	p.ok(err)
	text := "uplinks:\n"
	for _, isp := range p.world.ISPs {
		address, gateway := p.outside(h, isp)
		text += fmt.Sprintf("  - {name: isp%d, interface: %s, address: %s, gateway: %s, masquerade: %t}\n",
			isp.Number, isp.Interface, address, gateway, !p.oneNetwork)
	}
	text += fmt.Sprintf("control: {socket: %s/sock}\nstate_dir: %[1]s/state\n"+
		"hooks: [{run: [/usr/bin/env, 'PATH=%[1]s:%s', %s, %[1]s/track, %[1]s/sock], on: [up, down, switch]}]\n",
		h.dir, os.Getenv("PATH"), hook)
	if p.oneNetwork {
		text += "routes: {hash: l3}\n" // by the ports, veth hands the hash of the client's socket on, to both alike
	}
	config := filepath.Join(h.dir, "uplinkd.yaml")
	p.ok(os.WriteFile(config, []byte(text), 0o600))
	if h.number == 1 {
		p.ok(os.WriteFile(p.config, []byte(text), 0o600)) // what the bench cleans up by
	}
	h.stop["uplinkd"] = p.in(h.ns, filepath.Join(h.dir, "uplinkd"), "run", "-c", config)
}

// startDanted starts danted on the host's own address and on the shared one.
func (p *pair) startDanted(h *gatewayHost) {
	p.Helper()
	text, err := os.ReadFile("../../configs/examples/danted.conf")
	p.ok(err)
	path := filepath.Join(h.dir, "danted.conf")
	internal := "internal: 0.0.0.0 port = 1080"
	p.ok(os.WriteFile(path, []byte(strings.NewReplacer("internal: lan0 port = 1080", internal, "logoutput: syslog", "logoutput: stderr").Replace(string(text))), 0o600))
	h.stop["danted"] = p.in(h.ns, "danted", "-f", path, "-p", filepath.Join(h.dir, "danted.pid"), "-N", "1")
}

// startKeepalived starts keepalived with a shipped example.
func (p *pair) startKeepalived(h *gatewayHost, example string, replace ...string) {
	p.Helper()
	text, err := os.ReadFile("../../configs/examples/" + example)
	p.ok(err)
	config := strings.NewReplacer(append(replace,
		"/run/uplinkd-hooks/keepalived", filepath.Join(h.dir, "track"), "/usr/sbin/uplinkd", filepath.Join(h.dir, "uplinkd"),
		"192.168.77.1:1080", h.own.String()+":1080", "198.51.100.9:443", fmt.Sprintf("%s:%d", lab.Somewhere(53), lab.Port),
		"\tenable_script_security\n", "", "script_user uplinkd", "script_user root",
	)...).Replace(string(text))
	path := filepath.Join(h.dir, "keepalived.conf")
	p.ok(os.WriteFile(path, []byte(config), 0o600))
	for _, left := range []string{"k.pid", "v.pid", "c.pid"} {
		_ = os.Remove(filepath.Join(h.dir, left)) // of one that had no time to
	}
	h.stop["keepalived"] = p.in(h.ns, "keepalived", "-n", "-l", "-f", path, "-p", h.dir+"/k.pid", "-r", h.dir+"/v.pid", "-c", h.dir+"/c.pid")
}

// silence takes the Internet away from a host, with carrier and link as they were, or gives
// it back.
func (p *pair) silence(h *gatewayHost, on bool) {
	p.Helper()
	for _, isp := range p.world.ISPs {
		name := []string{"cust", ispSide}[h.number-1]
		if on {
			p.at(isp.Namespace(), "nft 'add table inet dead; add chain inet dead c { type filter hook prerouting priority -400; }; add rule inet dead c iifname "+name+" drop'")
		} else {
			p.at(isp.Namespace(), "nft delete table inet dead")
		}
	}
}

// has reports whether a host has an address.
func (p *pair) has(h *gatewayHost, address netip.Addr) bool {
	var out []byte
	p.ok(h.ns.Do(func() (err error) {
		out, err = exec.Command("ip", "-4", "-o", "addr", "show", "dev", "lan0").Output()
		return err
	}))
	return strings.Contains(string(out), " "+address.String()+"/")
}

// master returns the host that has the shared address, and the other one.
func (p *pair) master() (master, other *gatewayHost) {
	p.Helper()
	p.until("one of the two has the shared address", 10*time.Second, func() bool {
		for i, h := range p.hosts {
			if p.has(h, shared) && !p.has(p.hosts[1-i], shared) {
				master, other = h, p.hosts[1-i]
			}
		}
		return master != nil
	})
	return master, other
}

// connectThrough has a client of the LAN connect to the Internet through a SOCKS server.
func (p *pair) connectThrough(server netip.AddrPort, n int) error {
	return p.world.Client.Do(func() error {
		dialer, err := proxy.SOCKS5("tcp4", server.String(), nil, &net.Dialer{Timeout: time.Second})
		if err != nil {
			return err
		}
		conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(n%200), lab.Port).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, err = lab.ReadCaller(conn)
		return err
	})
}

// outage connects through a SOCKS server every 20 ms, from before something happens until
// ten in a row have gone well after it, and returns the longest time in which none began
// that went well.
func (p *pair) outage(server netip.AddrPort, happens func()) time.Duration {
	p.Helper()
	var mu sync.Mutex
	var good []time.Time
	var all sync.WaitGroup
	started := time.Now()
	attempt := func(n int) {
		all.Go(func() {
			began := time.Now()
			if p.connectThrough(server, n) == nil {
				mu.Lock()
				good = append(good, began)
				mu.Unlock()
			}
		})
	}
	var happened time.Time
	for n := 0; time.Since(started) < 20*time.Second; n++ {
		attempt(n)
		if n == 25 {
			happened = time.Now()
			happens()
		}
		time.Sleep(20 * time.Millisecond)
		mu.Lock()
		later := 0
		for _, at := range good {
			if at.After(happened.Add(3 * time.Second)) {
				later++
			}
		}
		mu.Unlock()
		if n > 25 && later >= 10 {
			break
		}
	}
	all.Wait()
	slices.SortFunc(good, time.Time.Compare)
	longest := 20 * time.Second
	if len(good) > 1 && good[len(good)-1].After(happened.Add(3*time.Second)) {
		longest = 0
		for i := 1; i < len(good); i++ {
			longest = max(longest, good[i].Sub(good[i-1]))
		}
	}
	return longest
}

// reboot is what a host does that has lost its power: it is off the LAN at once, and comes
// back without the shared address.
func (p *pair) reboot(h *gatewayHost) {
	p.Helper()
	h.stop["keepalived"]()
	p.at(h.ns, fmt.Sprintf("ip addr del %s/24 dev lan0 2>/dev/null || true", shared))
	p.at(p.world.Client, "ip link set "+h.port+" master br0")
	p.startKeepalived(h, "keepalived.conf")
}

// Two gateways with one address. A gateway that dies, whose uplinks all do, or whose danted
// does, loses it to the other; that one keeps it when the first is back.
func TestTwoGateways(t *testing.T) {
	runs := runsOr(t, 1)
	p := newPair(t, false)
	for _, h := range p.hosts {
		p.startKeepalived(h, "keepalived.conf")
	}
	server := netip.AddrPortFrom(shared, 1080)
	master, other := p.master()
	ready := func() {
		t.Helper()
		p.until("both work", 15*time.Second, func() bool {
			for _, h := range p.hosts {
				text, err := os.ReadFile(filepath.Join(h.dir, "track"))
				if err != nil || strings.TrimSpace(string(text)) != "0" || p.connectThrough(netip.AddrPortFrom(h.own, 1080), 1) != nil {
					return false
				}
			}
			return p.connectThrough(server, 1) == nil
		})
		time.Sleep(3 * time.Second) // two checks of danted, and what the priorities follow
		master, other = p.master()
	}
	for name, fault := range map[string]struct {
		limit     time.Duration
		begin     func(*gatewayHost)
		mend      func(*gatewayHost)
		associate bool
	}{
		"its power fails": {
			1500 * time.Millisecond, func(h *gatewayHost) { p.at(p.world.Client, "ip link set "+h.port+" nomaster") }, p.reboot, true,
		},
		"its uplinks die": {
			2 * time.Second, func(h *gatewayHost) { p.silence(h, true) }, func(h *gatewayHost) { p.silence(h, false) }, true,
		},
		"its danted dies": {
			2 * time.Second, func(h *gatewayHost) { h.stop["danted"]() }, p.startDanted, true,
		},
	} {
		var took []time.Duration
		for range runs {
			ready()
			dying, taking := master, other
			took = append(took, p.outage(server, func() { fault.begin(dying) }))
			if !p.has(taking, shared) {
				t.Errorf("%s: the other gateway has not taken the address over", name)
			}
			if fault.associate {
				p.udpAndBind(server)
			}
			fault.mend(dying)
		}
		slices.Sort(took)
		t.Logf("%s: no CONNECT for %v in the median, %v at the most, of %d", name,
			took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), len(took))
		if worst := took[len(took)-1]; worst > fault.limit*slowFactor {
			t.Errorf("%s: no CONNECT for %v, want %v at the most", name, worst, fault.limit)
		}
	}
	ready()
	before := master
	p.udpAndBind(server)
	time.Sleep(time.Second)
	if !p.has(before, shared) {
		t.Error("the address went back to a gateway that had come back")
	}
}

// udpAndBind uses the other two orders of SOCKS.
func (p *pair) udpAndBind(server netip.AddrPort) {
	p.Helper()
	err := p.world.Client.Do(func() error {
		if err := p.associate(server.String(), 1); err != nil {
			return fmt.Errorf("UDP ASSOCIATE: %w", err)
		}
		_, _, err := p.ftpLike(server.String(), 1)
		return err
	})
	if err != nil {
		p.Errorf("through %s: %v", server, err)
	}
}

// Two gateways that both work, each the master of one address. While the uplinks of one are
// dead the other has both; then each has its own again.
func TestTwoGatewaysBothWork(t *testing.T) {
	p := newPair(t, false)
	p.startKeepalived(p.hosts[0], "keepalived-both.conf")
	p.startKeepalived(p.hosts[1], "keepalived-both.conf", "priority 110", "priority 100", "priority 100", "priority 110")
	addresses := [2]netip.Addr{netip.MustParseAddr("192.168.77.253"), netip.MustParseAddr("192.168.77.252")}
	each := func() bool {
		return p.has(p.hosts[0], addresses[0]) && p.has(p.hosts[1], addresses[1]) && !p.has(p.hosts[0], addresses[1]) && !p.has(p.hosts[1], addresses[0])
	}
	for i, dying := range p.hosts {
		p.until("each has its own address", 10*time.Second, each)
		took := p.outage(netip.AddrPortFrom(addresses[i], 1080), func() { p.silence(dying, true) })
		t.Logf("the uplinks of host %d die: no CONNECT by its address for %v", dying.number, took.Round(time.Millisecond))
		if took > 2*time.Second*slowFactor {
			t.Errorf("no CONNECT for %v, want 2 s at the most", took)
		}
		for _, address := range addresses {
			if !p.has(p.hosts[1-i], address) {
				t.Errorf("%s is not on the gateway that works", address)
			}
			p.udpAndBind(netip.AddrPortFrom(address, 1080))
		}
		p.silence(dying, false)
	}
	p.until("each has its own address again", 10*time.Second, each)
	for _, address := range addresses {
		p.until("CONNECT by "+address.String(), 3*time.Second, func() bool { return p.connectThrough(netip.AddrPortFrom(address, 1080), 1) == nil })
	}
}

// Real haproxy has one SOCKS address over two hosts' danted, which it asks through themselves. A
// client stays with one of them while that works, and goes on by the other when it does not.
func TestSOCKSOverTwoHosts(t *testing.T) {
	labtest.NeedRoot(t, "haproxy")
	p := newPair(t, false)
	text, err := os.ReadFile("../../configs/examples/haproxy.cfg")
	p.ok(err)
	target := lab.Somewhere(53).As4()
	config := strings.Replace(string(text), "c633640901bb", fmt.Sprintf("%x%04x", target, lab.Port), 1)
	path := filepath.Join(p.dir, "haproxy.cfg")
	p.ok(os.WriteFile(path, []byte(config), 0o600))
	p.in(p.world.Client, "haproxy", "-db", "-f", path)
	server := netip.AddrPortFrom(lab.LANClient.Addr(), 1080)
	p.until("CONNECT through haproxy", 5*time.Second, func() bool { return p.connectThrough(server, 1) == nil })
	for name, fault := range map[string]struct{ begin, mend func(*gatewayHost) }{
		"its uplinks die": {func(h *gatewayHost) { p.silence(h, true) }, func(h *gatewayHost) { p.silence(h, false) }},
		"its danted dies": {func(h *gatewayHost) { h.stop["danted"]() }, p.startDanted},
	} {
		time.Sleep(3 * time.Second) // both are checked to be up
		used := map[int]bool{}
		for n := range 20 {
			used[p.hostOf(server, n)] = true
		}
		if len(used) != 1 || used[0] {
			t.Fatalf("a client was led to hosts %v", used)
		}
		dying := p.hosts[0]
		if used[2] {
			dying = p.hosts[1]
		}
		took := p.outage(server, func() { fault.begin(dying) })
		t.Logf("%s: no CONNECT for %v", name, took.Round(time.Millisecond))
		if took > 2*time.Second*slowFactor {
			t.Errorf("%s: no CONNECT for %v, want 2 s at the most", name, took)
		}
		if at := p.hostOf(server, 1); at != 3-dying.number {
			t.Errorf("%s: a client is led to host %d", name, at)
		}
		p.udpAndBind(server)
		fault.mend(dying)
	}
}

// hostOf returns the number of the host that a connection through a SOCKS server has left by.
func (p *pair) hostOf(server netip.AddrPort, n int) (host int) {
	p.Helper()
	p.ok(p.world.Client.Do(func() error {
		dialer, err := proxy.SOCKS5("tcp4", server.String(), nil, &net.Dialer{Timeout: 2 * time.Second})
		if err != nil {
			return err
		}
		conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(n), lab.Port).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		caller, err := lab.ReadCaller(conn)
		if err == nil {
			host = int(caller.As4()[1]) - 63
		}
		return err
	}))
	return host
}

// With the outside addresses on whichever gateway is at work, and conntrackd telling the other
// of every flow, forwarded flows outlive the gateway they began on. Without it those do that
// happen to leave by the same ISP there.
func TestFlowsOutliveTheirGateway(t *testing.T) {
	for name, told := range map[string]bool{"told by conntrackd": true, "not told": false} {
		t.Run(name, func(t *testing.T) {
			all, ended := flowsOverGateways(t, told)
			if told && ended > 0 {
				t.Errorf("%d of %d flows did not outlive their gateway", ended, all)
			}
			if !told && ended == 0 {
				t.Error("all flows outlive their gateway though the other knows of none: this test shows nothing")
			}
		})
	}
}

// flowsOverGateways has the gateway fail that a LAN's flows go by, and returns how many flows
// there were, and how many have ended then.
func flowsOverGateways(t *testing.T, told bool) (all, ended int) {
	t.Helper()
	labtest.NeedRoot(t, "conntrackd")
	p := newPair(t, true)
	example, err := os.ReadFile("../../configs/examples/conntrackd.conf")
	p.ok(err)
	for i, h := range p.hosts {
		// Two machines do not spread alike, as two namespaces of one do.
		p.at(h.ns, fmt.Sprint("sysctl -qw net.ipv4.fib_multipath_hash_seed=", h.number))
		p.at(h.ns, "sysctl -qw net.ipv4.ip_forward=1; nft 'add table ip outside; add chain ip outside post { type nat hook postrouting priority srcnat; };"+
			"add rule ip outside post ip saddr 192.168.77.0/24 oifname eth1 snat to 100.64.1.200;"+
			"add rule ip outside post ip saddr 192.168.77.0/24 oifname eth2 snat to 100.64.2.200'")
		if !told {
			continue
		}
		text := strings.NewReplacer("192.168.77.1", h.own.String(), "192.168.77.3", p.hosts[1-i].own.String(), "/run/", h.dir+"/").Replace(string(example))
		p.ok(os.WriteFile(filepath.Join(h.dir, "conntrackd.conf"), []byte(text), 0o600))
		p.at(h.ns, "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0")
		h.stop["conntrackd"] = p.in(h.ns, "conntrackd", "-C", filepath.Join(h.dir, "conntrackd.conf"))
	}
	t.Cleanup(func() {
		p.at(p.world.Host(), "sysctl -qw net.ipv4.ip_forward=0 net.netfilter.nf_conntrack_tcp_loose=1 net.ipv4.fib_multipath_hash_seed=0; nft delete table ip outside")
	})
	for _, h := range p.hosts {
		p.startKeepalived(h, "keepalived-flows.conf")
	}
	p.at(p.world.Client, "ip route replace default via "+shared.String())
	master, other := p.master()
	p.until("the LAN is on the Internet", 10*time.Second, func() bool {
		return p.world.Client.Do(func() error {
			f, err := p.dialTCP(1, (&net.Dialer{Timeout: time.Second}).Dial)
			if err == nil {
				err = f.conn.Close()
			}
			return err
		}) == nil
	})
	flows, by := p.open(40, 0, func(n int) (*flow, error) { return p.dialTCP(n, (&net.Dialer{Timeout: time.Second}).Dial) })
	if errs := p.broken(flows, 0); len(errs) > 0 || by[1] < 5 || by[2] < 5 {
		t.Fatalf("%d flows by %v: %v", len(flows), by, errs)
	}
	time.Sleep(time.Second) // conntrackd tells the other
	began := time.Now()
	p.at(p.world.Client, "ip link set "+master.port+" nomaster")
	for _, isp := range p.world.ISPs {
		p.at(isp.Namespace(), "ip link set "+[]string{"cust", ispSide}[master.number-1]+" nomaster")
	}
	p.until("the other has the address", 5*time.Second, func() bool { return p.has(other, shared) })
	errs := p.broken(flows, 0)
	t.Logf("%d flows, by %v: %d ended; all had been asked %v after the gateway's power failed", len(flows), by, len(errs), time.Since(began).Round(time.Millisecond))
	return len(flows), len(errs)
}

// Several processes of danted serve one port. One that is killed under load takes its own
// connections along, and no new one fails.
func TestDantedProcesses(t *testing.T) {
	labtest.NeedRoot(t, "danted")
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	text, err := os.ReadFile("../../configs/examples/danted.conf")
	b.ok(err)
	path := filepath.Join(b.dir, "danted.conf")
	b.ok(os.WriteFile(path, text, 0o600))
	b.in(b.world.Host(), "danted", "-f", path, "-p", filepath.Join(b.dir, "danted.pid"), "-N", "4")
	p := &pair{bench: b}
	server := netip.AddrPortFrom(lab.LANHost.Addr(), 1080)
	b.until("danted answers", 5*time.Second, func() bool { return p.connectThrough(server, 1) == nil })
	var failed, all int
	for n := range 400 {
		if n == 100 || n == 200 {
			b.kernel("kill -9 $(pgrep -f '^danted -f " + path + "' | tail -1)")
		}
		all++
		if err := p.connectThrough(server, n); err != nil {
			failed++
			t.Logf("connection %d: %v", n, err)
		}
	}
	t.Logf("%d connections while two of four processes were killed: %d failed", all, failed)
	if failed > 1 { // that may have been in the hands of one that was killed
		t.Errorf("%d of %d connections failed", failed, all)
	}
	if left := strings.TrimSpace(b.kernel("pgrep -fc '^danted -f " + path + "'")); !strings.HasSuffix(left, "2") {
		t.Errorf("processes left: %s", left)
	}
}
