package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/proxy"
	"golang.org/x/sys/unix"

	"uplinkd/configs"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/cgroups"
)

// A journey is a connection: from where, to where, and as what.
type journey struct {
	from *lab.Namespace // nil: this host
	to   string         // address and port
	dscp int
}

// leavesBy returns the ISPs that so many connections leave by; 0 stands for those that do not come about.
func (b *bench) leavesBy(j journey, count int) map[int]int {
	b.Helper()
	byISP := map[int]int{}
	from := j.from
	if from == nil {
		from = b.world.Host()
	}
	b.ok(from.Do(func() error {
		for range count {
			dialer := net.Dialer{Timeout: time.Second, Control: func(_, _ string, c syscall.RawConn) (err error) {
				if j.dscp != 0 {
					_ = c.Control(func(fd uintptr) {
						err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP,
							unix.IP_TOS, j.dscp<<2)
					})
				}
				return err
			}}
			isp := 0
			if conn, err := dialer.Dial("tcp4", j.to); err == nil {
				isp = b.ispOf(conn)
				_ = conn.Close()
			}
			byISP[isp]++
		}
		return nil
	}))
	return byISP
}

// ispOf returns the ISP that a connection to the lab's server left by.
func (b *bench) ispOf(conn net.Conn) int {
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	if from, err := lab.ReadCaller(conn); err == nil && b.world.ISPOf(from) != nil {
		return b.world.ISPOf(from).Number
	}
	return 0
}

// all wants all of a few connections to leave by one ISP; 0: by none.
func (b *bench) all(what string, j journey, isp int) {
	b.Helper()
	const count = 6
	if got := b.leavesBy(j, count); got[isp] != count {
		b.Errorf("%s: %v, want all by ISP %d", what, got, isp)
	}
}

// spread wants connections to leave by several ISPs.
func (b *bench) spread(what string, j journey) {
	b.Helper()
	if got := b.leavesBy(j, 40); len(got) < 2 || got[0] > 0 {
		b.Errorf("%s: %v, want it spread", what, got)
	}
}

// example prepares the lab for one of the examples of docs/policies.md: servers at addresses of documentation, and on
// the ports that policies name.
func example(t *testing.T, text string) *bench {
	t.Helper()
	b := newBench(t, max(2, strings.Count(text, "interface: eth")))
	for _, isp := range b.world.ISPs {
		b.ok(isp.StartDHCP(time.Hour))
	}
	b.ok(b.world.Internet.Do(func() error {
		out, err := exec.Command("sh", "-ec", `
			for net in 203.0.113.0/24 198.51.100.0/24; do ip route add local $net dev lo; done
			nft add table ip ports
			nft add chain ip ports prerouting '{ type nat hook prerouting priority -100; }'
			nft add rule ip ports prerouting tcp dport '{ 25, 443, 587, 53 }' redirect to :7000`).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	t.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	text += fmt.Sprintf("control: {socket: %s}\nstate_dir: %s\nprobe: {hold_down: 0s}\n",
		filepath.Join(b.dir, "sock"), filepath.Join(b.dir, "state"))
	b.ok(os.WriteFile(b.config, []byte(text), 0o600))
	b.start()
	b.until("all are up", 15*time.Second, func() bool {
		s := b.status()
		for i := range s.Uplinks {
			if s.Uplinks[i].State != "up" {
				return false
			}
		}
		return len(s.Uplinks) > 0 && s.Kernel.InSync
	})
	return b
}

// wlan gives the host an interface for guests, and returns the namespace of one of them.
func (b *bench) wlan() *lab.Namespace {
	b.Helper()
	guest, err := lab.NewNamespace()
	b.ok(err)
	b.Cleanup(guest.Close)
	b.ok(b.world.Host().Wire("wlan0", guest, "eth0"))
	b.Cleanup(func() { _ = b.world.Host().DeleteLink("wlan0") })
	b.ok(b.world.Host().Address("wlan0", netip.MustParsePrefix("192.168.78.1/24")))
	b.ok(guest.Address("eth0", netip.MustParsePrefix("192.168.78.2/24")))
	b.ok(guest.Do(func() error { return exec.Command("ip", "route", "add", "default", "via", "192.168.78.1").Run() }))
	return guest
}

var exampleText = regexp.MustCompile("(?s)### ([^\n]+)\n.*?```yaml\n(.*?)```")

// Every example of docs/policies.md does what it says, as it stands there, with traffic.
func TestPolicyExamples(t *testing.T) {
	labtest.Need(t)
	page, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	found := exampleText.FindAllStringSubmatch(string(page), -1)
	if len(found) != len(examples) {
		t.Errorf("%d examples, and tests of %d", len(found), len(examples))
	}
	for _, e := range found {
		check, ok := examples[e[1]]
		if !ok {
			t.Errorf("nothing tests %q", e[1])
			continue
		}
		t.Run(e[1], func(t *testing.T) { check(t, e[2]) })
	}
}

const site, other = "203.0.113.9:7000", "198.18.9.9:7000"

var examples = map[string]func(t *testing.T, text string){
	"A household with a games console":      exampleHousehold,
	"A school":                              exampleSchool,
	"An office with voice and guests":       exampleOffice,
	"A seedbox":                             exampleSeedbox,
	"A Dante host with one customer an ISP": exampleDante,
	"LTE as overflow, with a quota":         exampleOverflow,
	"A site by its name":                    exampleName,
	"A bank that wants to see one address":  exampleBank,
	"Backups at night, by the cheap line":   exampleBackups,
	"A branch with a head office":           exampleBranch,
}

func exampleHousehold(t *testing.T, text string) {
	t.Helper()
	b := example(t, text)
	client := journey{from: b.world.Client, to: other}
	b.spread("another device", client)
	b.ok(b.world.Client.Do(func() error {
		return exec.Command("ip", "link", "set", "eth0", "address", "02:00:5e:00:00:07").Run()
	}))
	b.until("the console's new address is known", 3*time.Second, func() bool { return b.leavesBy(client, 1)[0] == 0 })
	leads := b.status().Policies[0].Leads
	isp := map[string]int{"fiber": 1, "cable": 2}[leads]
	b.all("the console", client, isp)
	b.ok(b.world.ISPs[isp-1].Silence(true))
	b.until("it goes by the other", 3*time.Second, func() bool { return b.leavesBy(client, 1)[3-isp] == 1 })
	b.all("the console, its uplink dead", client, 3-isp)
}

func exampleSchool(t *testing.T, text string) {
	t.Helper()
	b := example(t, text)
	pupil := b.wlan()
	staff := b.world.Client
	b.all("staff", journey{from: staff, to: other}, 1)
	b.all("mail", journey{from: staff, to: "203.0.113.9:25"}, 1)
	lessons := false
	c, err := configs.Parse(strings.NewReader(text), configs.Options{})
	b.ok(err)
	for _, p := range c.Policies {
		lessons = lessons || len(p.When) > 0 && configs.Holds(p.When, time.Now())
	}
	if lessons {
		b.all("a pupil in school hours", journey{from: pupil, to: other}, 2)
	} else {
		b.spread("a pupil at home time", journey{from: pupil, to: other})
	}
	b.ok(b.world.ISPs[0].Silence(true))
	b.until("the office is down", 3*time.Second, func() bool {
		return b.status().Uplinks[0].State == "down" &&
			b.status().Kernel.InSync
	})
	b.all("mail, the office dead", journey{from: staff, to: "203.0.113.9:587"}, 0)
	b.all("staff, the office dead", journey{from: staff, to: other}, 2)
}

func exampleOffice(t *testing.T, text string) {
	t.Helper()
	b := example(t, text)
	guest := b.wlan()
	b.all("guests", journey{from: guest, to: other}, 3)
	b.all("voice", journey{from: b.world.Client, to: site, dscp: 46}, 1)
	b.spread("all else", journey{from: b.world.Client, to: site})
	b.ok(b.world.ISPs[0].Silence(true))
	b.ok(b.world.ISPs[2].Silence(true))
	b.until("both are down", 4*time.Second, func() bool {
		s := b.status()
		return s.Uplinks[0].State == "down" && s.Uplinks[2].State == "down" && s.Kernel.InSync
	})
	b.all("voice, the fiber dead", journey{from: b.world.Client, to: site, dscp: 46}, 2)
	b.all("guests, LTE dead", journey{from: guest, to: other}, 0)
}

func exampleSeedbox(t *testing.T, text string) {
	t.Helper()
	labtest.NeedRoot(t)
	group := filepath.Join(cgroups.Root(), "system.slice", "transmission-daemon.service")
	_ = os.Mkdir(filepath.Dir(group), 0o755) // perhaps it is there
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(group) })
	b := example(t, text)
	leads := func() string { return b.status().Policies[0].Leads }
	b.until("the service is found", 3*time.Second, func() bool {
		return leads() == "unmetered" &&
			b.status().Kernel.InSync
	})
	for n := range 4 {
		if isp, err := b.inCgroup(group, at256(3)+n); isp != 2 || err != nil {
			t.Errorf("the service: ISP %d, %v; want 2", isp, err)
		}
	}
	b.all("all else of the host", journey{to: other}, 1)
	b.ok(b.world.ISPs[1].Silence(true))
	b.until("it is refused", 4*time.Second, func() bool { return leads() == "nowhere" && b.status().Kernel.InSync })
	if isp, err := b.inCgroup(group, at256(3)); err == nil {
		t.Errorf("the service, its uplink dead: ISP %d", isp)
	}
}

func exampleDante(t *testing.T, text string) {
	t.Helper()
	labtest.NeedRoot(t, "danted", "setpriv")
	b := example(t, text)
	customers := []struct{ user, port, isp int }{{2001, 1081, 1}, {2002, 1082, 2}}
	for _, c := range customers {
		config := filepath.Join(b.dir, fmt.Sprint("danted-", c.port))
		b.ok(os.WriteFile(config, []byte(fmt.Sprintf(`logoutput: stderr
internal: 192.168.77.1 port = %d
external: eth1
external: eth2
external.rotation: route
clientmethod: none
socksmethod: none
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
`, c.port)), 0o644))
		b.ok(os.Chmod(b.dir, 0o755))
		b.in(b.world.Host(), "setpriv", fmt.Sprint("--reuid=", c.user), fmt.Sprint("--regid=", c.user),
			"--clear-groups",
			"danted", "-f", config, "-p", fmt.Sprintf("/tmp/danted-%d.pid", c.port), "-N", "1")
	}
	socks := func(port, n int) (isp int) {
		b.inLAN(func() error {
			dialer, err := proxy.SOCKS5("tcp4", fmt.Sprintf("192.168.77.1:%d", port), nil,
				&net.Dialer{Timeout: time.Second})
			if err != nil {
				return err
			}
			if conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(n), lab.Port).String()); err == nil {
				isp = b.ispOf(conn)
				_ = conn.Close()
			}
			return nil
		})
		return isp
	}
	for _, c := range customers {
		b.until("his danted answers", 5*time.Second, func() bool { return socks(c.port, 1) != 0 })
		for n := range 8 {
			if isp := socks(c.port, at256(4)+n); isp != c.isp {
				t.Errorf("customer %d left by ISP %d, want %d", c.user, isp, c.isp)
			}
		}
	}
	b.ok(b.world.ISPs[0].Silence(true))
	b.until("his provider is down", 3*time.Second,
		func() bool { return b.status().Policies[0].Leads == "nowhere" && b.status().Kernel.InSync })
	if isp := socks(1081, 9); isp != 0 {
		t.Errorf("the first customer, his provider dead, left by ISP %d", isp)
	}
	if isp := socks(1082, 9); isp != 2 {
		t.Errorf("the second customer left by ISP %d, want 2", isp)
	}
}

func exampleOverflow(t *testing.T, text string) {
	t.Helper()
	b := example(t, text)
	client := journey{from: b.world.Client, to: other}
	b.all("the line is free", client, 1)
	// Fifteen of its sixteen megabits a second, which build no queue: late answers would be doubt, and another reason.
	end := b.load(15_000_000)
	began := time.Now()
	b.until("new connections overflow to LTE", 12*time.Second, func() bool { return b.leavesBy(client, 1)[2] == 1 })
	took := time.Since(began)
	t.Logf("new connections overflow %v after the line is full", took.Round(100*time.Millisecond))
	if state := b.status().Uplinks[0].State; state != "up" || took < time.Second {
		t.Errorf("they overflow after %v, and the line is %s", took, state)
	}
	b.all("the line is full", client, 2)
	end()
	began = time.Now()
	b.until("they come back", 8*time.Second, func() bool { return b.leavesBy(client, 1)[1] == 1 })
	t.Logf("and come back after %v", time.Since(began).Round(100*time.Millisecond))
	b.all("the line is free again", client, 1)

	if out, err := b.run("quota", "lte", "10GB", "--socket", filepath.Join(b.dir, "sock")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("the quota is used up", 2*time.Second, func() bool {
		return b.status().Uplinks[1].Quota.Spent &&
			b.status().Kernel.InSync
	})
	b.all("the line is free, LTE spent", client, 1)
	b.ok(b.world.ISPs[0].Silence(true))
	b.until("the line is down", 3*time.Second, func() bool {
		return b.status().Uplinks[0].State == "down" &&
			b.status().Kernel.InSync
	})
	b.all("the line is down", client, 2)
}

func exampleName(t *testing.T, text string) {
	t.Helper()
	b := example(t, text)
	b.nameServers("--host-record=www.video.example,203.0.113.9", "--host-record=www.example,203.0.113.10")
	b.spread("not looked up yet", journey{from: b.world.Client, to: site})
	b.lookUp("www.video.example", "ip4")
	b.lookUp("www.example", "ip4")
	b.all("the site", journey{from: b.world.Client, to: site}, 2)
	b.spread("another site", journey{from: b.world.Client, to: "203.0.113.10:7000"})
}

func exampleBank(t *testing.T, text string) {
	t.Helper()
	b := example(t, text)
	client := journey{from: b.world.Client, to: site}
	if got := b.leavesBy(client, 12); len(got) != 1 || got[0] > 0 {
		t.Errorf("the bank: %v, want all by one", got)
	}
	b.spread("all else", journey{from: b.world.Client, to: other})
}

func exampleBackups(t *testing.T, text string) {
	t.Helper()
	labtest.NeedRoot(t)
	b := example(t, text)
	want := 1
	if hour := time.Now().Hour(); hour >= 22 || hour < 6 {
		want = 2
	}
	for n := range 6 {
		if isp, err := b.asUser(2003, at256(5)+n); isp != want || err != nil {
			t.Errorf("the backup: ISP %d, %v; want %d", isp, err, want)
		}
	}
	b.spread("all else of the host", journey{to: other})
}

func exampleBranch(t *testing.T, text string) {
	t.Helper()
	dir := t.TempDir()
	list := filepath.Join(dir, "office.prefixes")
	if err := os.WriteFile(list, []byte("203.0.113.0/24 # the data centre\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := example(t, strings.Replace(text, "/etc/uplinkd/office.prefixes", list, 1))
	b.all("the head office", journey{from: b.world.Client, to: site}, 1)
	b.all("its DNS", journey{from: b.world.Client, to: "203.0.113.9:53"}, 2)
	b.all("all else", journey{from: b.world.Client, to: other}, 2)
	b.ok(b.world.ISPs[0].Silence(true))
	b.until("the leased line is down", 3*time.Second, func() bool {
		return b.status().Uplinks[0].State == "down" &&
			b.status().Kernel.InSync
	})
	b.all("the head office, the leased line dead", journey{from: b.world.Client, to: site}, 2)
}
