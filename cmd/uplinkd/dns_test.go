package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// A dnsBench has two ISPs, each with a real DNS server that only its own customers reach. The
// first is known by DHCP, the second from the configuration.
type dnsBench struct {
	*bench
	servers []netip.Addr
	etc     string // stands in the place of /etc where names are looked up
	number  atomic.Int64
}

// answer is what the DNS server of an ISP says to each name.
func answer(isp int) string { return fmt.Sprint("192.0.2.", isp) }

func newDNSBench(t *testing.T, mode string) *dnsBench {
	t.Helper()
	labtest.NeedRoot(t, "dnsmasq", "getent", "unshare")
	b := &dnsBench{bench: newBench(t, 2)}
	b.etc = filepath.Join(b.dir, "etc")
	b.ok(os.Mkdir(b.etc, 0o755))
	b.ok(os.WriteFile(filepath.Join(b.etc, "nsswitch.conf"), []byte("hosts: dns\n"), 0o644))
	b.ok(os.WriteFile(filepath.Join(b.etc, "passwd"), []byte(
		"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\nsystemd-resolve:x:999:65534:resolved:/:/bin/sh\n"), 0o644))
	for _, isp := range b.world.ISPs {
		b.servers = append(b.servers, b.nameserver(isp))
	}
	b.dnsmasq(b.world.ISPs[0], "1h", "--dhcp-option=option:dns-server,"+b.servers[0].String())
	lines := b.static(1, 1)
	lines[0] = b.dhcpLines()[0]
	lines[1] += fmt.Sprintf(", nameservers: [%s]", b.servers[1])
	b.configure(lines, "dns: "+mode+"\n")
	return b
}

// nameserver starts the DNS server of an ISP: real dnsmasq, at an address that no other ISP
// leads to. It may be another one for each question, so that no answer is remembered.
func (b *bench) nameserver(isp *lab.ISP) netip.Addr {
	b.Helper()
	server := netip.AddrFrom4([4]byte{203, 0, 113, byte(50 + isp.Number)})
	b.ok(isp.Namespace().Address("lo", netip.PrefixFrom(server, 32)))
	b.in(isp.Namespace(), "dnsmasq", "--keep-in-foreground", "--bind-interfaces", "--listen-address="+server.String(),
		"--except-interface=none", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file", "--log-facility=-",
		"--address=/example/"+answer(isp.Number), "--max-ttl=0")
	return server
}

// resolv puts a resolv.conf where names are looked up.
func (b *dnsBench) resolv(target string) {
	b.Helper()
	_ = os.Remove(filepath.Join(b.etc, "resolv.conf"))
	b.ok(os.Symlink(target, filepath.Join(b.etc, "resolv.conf")))
}

// inEtc runs a command where names are looked up as etc says.
func (b *dnsBench) inEtc(script string) *exec.Cmd {
	return exec.Command("unshare", "--mount", "sh", "-euc", "mount --bind "+b.etc+" /etc; "+script)
}

// A lookup is how long a name took to be looked up, and from which ISP's server the answer was.
type lookup struct {
	began time.Time
	took  time.Duration
	from  string // "": there was no answer
}

// lookUp looks a name up that nobody has asked for yet, as any program does.
func (b *dnsBench) lookUp() lookup {
	l := lookup{began: time.Now()}
	out, _ := b.inEtc(fmt.Sprintf("exec getent ahostsv4 n%d.example", b.number.Add(1))).CombinedOutput()
	l.took = time.Since(l.began)
	if words := strings.Fields(string(out)); len(words) > 0 {
		l.from = words[0]
	}
	return l
}

// lookUps looks names up, ten a second, until stopped.
func (b *dnsBench) lookUps() (stop func() []lookup) {
	var list []lookup
	var mu sync.Mutex
	var all sync.WaitGroup
	done := make(chan struct{})
	all.Go(func() {
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				all.Go(func() {
					l := b.lookUp()
					mu.Lock()
					list = append(list, l)
					mu.Unlock()
				})
			}
		}
	})
	return func() []lookup {
		close(done)
		all.Wait()
		slices.SortFunc(list, func(a, b lookup) int { return a.began.Compare(b.began) })
		return list
	}
}

// throughDeath looks names up while the first ISP falls silent, and returns the longest that
// one took before that, between then and the verdict, and later.
func (b *dnsBench) throughDeath() (before, meanwhile, later time.Duration) {
	b.Helper()
	stop := b.lookUps()
	time.Sleep(2 * time.Second)
	after := b.lastEvent()
	fell := time.Now()
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up")
	time.Sleep(2 * time.Second)
	verdict := b.verdictTime(after, "down")
	for _, l := range stop() {
		if l.from == "" {
			b.Errorf("a name looked up %v after the ISP had fallen silent got no answer in %v", l.began.Sub(fell), l.took)
		}
		switch {
		case l.began.Before(fell.Add(-500 * time.Millisecond)):
			before = max(before, l.took)
		case l.began.Before(verdict.Add(50 * time.Millisecond)): // what is given has to be written
			meanwhile = max(meanwhile, l.took)
		default:
			later = max(later, l.took)
			if l.from == answer(1) {
				b.Errorf("the server of an ISP that is down answered")
			}
		}
	}
	b.Logf("the longest look-up: %v before, %v until the verdict %v later, %v from then on",
		before.Round(time.Millisecond), meanwhile.Round(time.Millisecond), verdict.Sub(fell).Round(time.Millisecond), later.Round(time.Millisecond))
	return before, meanwhile, later
}

// dnsSlower is how much longer a look-up may take when an ISP has just died.
const dnsSlower = 500 * time.Millisecond

// Each ISP's DNS servers are asked by way of it, whichever way new connections go; one that
// is down draws nothing.
func TestDNSRoute(t *testing.T) {
	b := newDNSBench(t, "route")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	for i, server := range b.servers {
		b.ok(os.WriteFile(filepath.Join(b.etc, "resolv.conf"), []byte("nameserver "+server.String()+"\n"), 0o644))
		for range 20 {
			if l := b.lookUp(); l.from != answer(i+1) {
				t.Errorf("asked the server of isp%d: answer %q", i+1, l.from)
			}
		}
	}
	rule := fmt.Sprintf("from all to %s lookup 501", b.servers[0])
	if rules := b.kernel("ip rule"); !strings.Contains(rules, rule) {
		t.Errorf("no rule %q:\n%s", rule, rules)
	}
	b.kernel("ip rule del to " + b.servers[0].String())
	b.until("the rule is put back", time.Second, func() bool { return strings.Contains(b.kernel("ip rule"), rule) })
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up")
	if rules := b.kernel("ip rule"); strings.Contains(rules, rule) {
		t.Errorf("a rule leads to a dead ISP:\n%s", rules)
	}
	if s := b.status().DNS; s.Mode != "route" || len(s.Servers) != 1 || s.Servers[0].Uplink != "isp2" || s.Error != "" {
		t.Errorf("dns of status: %+v", s)
	}
}

// The file names the servers of ISPs that work. A program that reads it asks a live server
// once there is a verdict; before that it waits a second for the dead one.
func TestDNSFile(t *testing.T) {
	b := newDNSBench(t, "file")
	file := filepath.Join(b.dir, "resolv.conf")
	b.resolv(file)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.until("the file names both", time.Second, func() bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), "nameserver "+b.servers[0].String()+"\n") &&
			strings.Contains(string(text), "nameserver "+b.servers[1].String()+"\n")
	})
	b.ok(os.Chmod(b.dir, 0o755))
	before, meanwhile, later := b.throughDeath()
	if limit := 1100*time.Millisecond + before; meanwhile > limit*slowFactor {
		t.Errorf("a look-up took %v before the verdict, want %v at the most", meanwhile, limit)
	}
	if later > before+dnsSlower*slowFactor {
		t.Errorf("a look-up took %v after the verdict, and %v before the fault", later, before)
	}
	b.kill(9)
	if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), b.servers[0].String()) {
		t.Errorf("after the daemon's end: %s, %v", text, err)
	}
	b.ok(b.world.ISPs[0].Silence(false))
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.until("the file names both again", time.Second, func() bool {
		text, _ := os.ReadFile(file)
		return strings.Contains(string(text), b.servers[0].String())
	})
	b.kill(15)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Errorf("cleanup: %v\n%s", err, out)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("cleanup left the file of servers")
	}
}

// Hooks are told which servers are to be asked, at the start and whenever that changes.
func TestDNSHook(t *testing.T) {
	b := newDNSBench(t, "hook")
	told := filepath.Join(b.dir, "told")
	text, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte(fmt.Sprintf("%shooks: [{run: [/bin/sh, -c, 'echo $UPLINKD_EVENT $UPLINKD_DNS >>%s'], on: [dns]}]\n", text, told)), 0o600))
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	is := func(want ...string) {
		t.Helper()
		b.until(fmt.Sprintf("hooks were told %q", want), 2*time.Second, func() bool {
			have, _ := os.ReadFile(told)
			return string(have) == strings.Join(want, "")
		})
	}
	both, one := fmt.Sprintf("dns %s %s\n", b.servers[0], b.servers[1]), fmt.Sprintf("dns %s\n", b.servers[1])
	is(both)
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up")
	is(both, one)
}

// Real dnsmasq on this host reads the file and asks all servers at once: a look-up takes no
// longer at any time.
func TestDNSForwarder(t *testing.T) {
	b := newDNSBench(t, "file")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.ok(os.Chmod(b.dir, 0o755)) // dnsmasq reads as nobody
	b.in(b.world.Host(), "dnsmasq", "--keep-in-foreground", "--bind-interfaces", "--listen-address=127.0.0.1",
		"--resolv-file="+filepath.Join(b.dir, "resolv.conf"), "--all-servers", "--no-hosts", "--conf-file=/dev/null",
		"--pid-file", "--log-facility=-")
	b.ok(os.WriteFile(filepath.Join(b.etc, "resolv.conf"), []byte("nameserver 127.0.0.1\n"), 0o644))
	b.until("dnsmasq answers", 3*time.Second, func() bool { return b.lookUp().from != "" })
	before, meanwhile, later := b.throughDeath()
	if most := max(meanwhile, later); most > before+dnsSlower*slowFactor {
		t.Errorf("a look-up took %v, and %v before the fault", most, before)
	}
}

// A resolvedBench has the real systemd-resolved, and the bus over which it is asked.
type resolvedBench struct {
	*dnsBench
	program string
	stop    func()
}

// newResolvedBench has names looked up by systemd-resolved. It is not installed, for that
// would change whom this machine asks: `make deps` unpacks it.
func newResolvedBench(t *testing.T) *resolvedBench {
	t.Helper()
	b := &resolvedBench{dnsBench: newDNSBench(t, "resolved")}
	for _, program := range []string{os.Getenv("UPLINKD_RESOLVED"), "/usr/lib/systemd/systemd-resolved"} {
		if _, err := os.Stat(program); err == nil && b.program == "" {
			b.program = program
		}
	}
	if b.program == "" {
		labtest.Skip(t, "needs systemd-resolved: make deps unpacks one")
	}
	labtest.NeedRoot(t, "dbus-daemon")
	bus := b.systemBus(b.inEtc) // it asks who systemd-resolved is
	b.ok(os.Chmod(bus, 0o666))
	b.ok(os.Chmod(b.dir, 0o755)) // systemd-resolved is not root
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+bus)
	b.ok(os.MkdirAll(filepath.Join(b.dir, "run/systemd/resolve"), 0o755))
	b.ok(os.Chown(filepath.Join(b.dir, "run/systemd/resolve"), 999, 65534))
	b.ok(os.WriteFile(filepath.Join(b.etc, "resolv.conf"), []byte("nameserver 127.0.0.53\n"), 0o644))
	return b
}

// resolve starts systemd-resolved, with a /run of its own.
func (b *resolvedBench) resolve() {
	b.Helper()
	cmd := b.inEtc("mount --bind " + b.dir + "/run /run; exec " + b.program)
	b.stop = b.in(b.world.Host(), cmd.Args[0], cmd.Args[1:]...)
}

// has waits until systemd-resolved has the servers of those ISPs, and of no other.
func (b *resolvedBench) has(when string, limit time.Duration, want ...netip.Addr) {
	b.Helper()
	b.until(fmt.Sprintf("%s systemd-resolved has %v", when, want), limit, func() bool {
		text, _ := os.ReadFile(filepath.Join(b.dir, "run/systemd/resolve/resolv.conf"))
		var have []string
		for line := range strings.Lines(string(text)) {
			if server, ok := strings.CutPrefix(strings.TrimSpace(line), "nameserver "); ok {
				have = append(have, server)
			}
		}
		slices.Sort(have)
		return len(text) > 0 && slices.EqualFunc(have, want, func(h string, w netip.Addr) bool { return h == w.String() })
	})
}

// The real systemd-resolved has the servers of each uplink on that uplink's link, those of a
// dead one taken away, and asks all that carry at once: a look-up takes no longer at any time.
func TestDNSResolved(t *testing.T) {
	b := newResolvedBench(t)
	b.resolve()
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.has("with both up", 10*time.Second, b.servers...)
	before, meanwhile, later := b.throughDeath()
	if most := max(meanwhile, later); most > before+dnsSlower*slowFactor {
		t.Errorf("a look-up took %v, and %v before the fault", most, before)
	}
	b.has("with one down", time.Second, b.servers[1])
	if s := b.status().DNS; s.Mode != "resolved" || len(s.Servers) != 1 || s.Error != "" {
		t.Errorf("dns of status: %+v", s)
	}
	b.ok(b.world.ISPs[0].Silence(false))
	b.untilStates(10*time.Second, "up", "up")
	b.has("with both up again", time.Second, b.servers...)
	b.kill(15)
	b.has("after the daemon's end", time.Second, b.servers...)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Errorf("cleanup: %v\n%s", err, out)
	}
	b.has("after cleanup", time.Second)
}

// systemd-resolved may come later, or be started again, and dns may become something else.
func TestDNSResolvedComesAndGoes(t *testing.T) {
	b := newResolvedBench(t)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.until("status says that it does not run", 2*time.Second, func() bool {
		return strings.Contains(b.status().DNS.Error, "systemd-resolved does not run")
	})
	b.resolve()
	b.has("once it runs", 10*time.Second, b.servers...)
	b.until("status has no error", time.Second, func() bool { return b.status().DNS.Error == "" })
	b.stop()
	b.ok(os.Remove(filepath.Join(b.dir, "run/systemd/resolve/resolv.conf")))
	b.resolve()
	b.has("started again", time.Second, b.servers...)
	text, err := os.ReadFile(b.config)
	b.ok(err)
	b.ok(os.WriteFile(b.config, []byte(strings.Replace(string(text), "dns: resolved", "dns: route", 1)), 0o600))
	if out, err := b.run("reload", "-c", b.config); err != nil {
		t.Fatalf("reload: %v\n%s", err, out)
	}
	b.has("with dns: route", time.Second)
}
