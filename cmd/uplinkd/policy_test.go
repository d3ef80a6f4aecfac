package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/cgroups"
)

// at256 is the first address of the n-th /24 of the internet.
func at256(n int) int { return n * 256 }

// only wants all of some connections from the LAN to leave by one ISP; 0: to be refused.
func (b *bench) only(what string, from, count, isp int) {
	b.Helper()
	if got := b.leftBy(from, count); got[isp] != count {
		b.Errorf("%s: %v, want all by ISP %d", what, got, isp)
	}
}

// explains wants explain to name a policy and the uplink it leads to.
func (b *bench) explains(policy, uplink string, args ...string) {
	b.Helper()
	out, err := b.run(append([]string{"explain", "-c", b.config}, args...)...)
	b.ok(err)
	why := "policy " + policy + " leads new connections to " + uplink
	if !strings.Contains(out, why) {
		b.Errorf("explain %v lacks %q:\n%s", args, why, out)
	}
}

// clientMAC is the Ethernet address of the LAN's client.
func (b *bench) clientMAC() string {
	b.Helper()
	var mac string
	b.ok(b.world.Client.Do(func() error {
		out, err := exec.Command("ip", "-o", "link", "show", "eth0").Output()
		if _, after, ok := strings.Cut(string(out), "link/ether "); ok {
			mac, _, _ = strings.Cut(after, " ")
		}
		return err
	}))
	return mac
}

// period is one that holds now, or in some hours.
func period(in time.Duration) string {
	at := time.Now().Add(in)
	return at.Add(-time.Hour).Format("15:04") + "-" + at.Add(time.Hour).Format("15:04")
}

// Who and when: the Ethernet address, interfaces by the beginning of their names, what must not be, and times.
func TestPolicyMatches(t *testing.T) {
	b := newBench(t, 3)
	b.gateway([]int{1, 1, 1}, nil, normalProbe+fmt.Sprintf(`
policies:
  - {name: phone, to: 198.18.1.0/24, mac: [02:00:5e:00:00:01, "%s"], via: isp2}
  - {name: other, to: 198.18.2.0/24, mac: 02:00:5e:00:00:01, via: isp2}
  - {name: anyone, to: 198.18.2.0/24, via: isp3}
  - {name: wlans, to: 198.18.3.0/24, in: ["nothing*", "la*"], via: isp2}
  - {name: wired, to: 198.18.4.0/24, in: ["eth*", lan00], via: isp2}
  - {name: rest, to: 198.18.4.0/24, via: isp3}
  - {name: most, to: 198.18.5.0/24, not: {to: 198.18.5.64/26, dport: 20-30, in: "wlan*"}, via: isp2}
  - {name: few, to: 198.18.5.0/24, via: isp3}
  - {name: web, to: 198.18.6.0/24, not: {dport: %d}, via: isp2}
  - {name: now, to: 198.18.7.0/24, when: "%s", via: isp1}
  - {name: later, to: 198.18.8.0/24, when: ["%s"], via: isp1}
  - {name: until, to: 198.18.8.0/24, via: isp3}
  - {name: client, to: 198.18.9.0/24, from: [192.168.77.0/30, 192.0.2.0/24], via: isp2}
  - {name: neighbour, to: 198.18.10.0/24, from: 192.168.77.9, via: isp2}
  - {name: others, to: 198.18.10.0/24, via: isp3}
  - {name: low, to: 198.18.11.0/24, protocol: tcp, sport: 20000-20999, via: isp2}
  - {name: high, to: 198.18.11.0/24, via: isp3}
`, b.clientMAC(), lab.Port, period(0), period(5*time.Hour)))
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	b.only("of the client's address", at256(1), 8, 2)
	b.only("of another address", at256(2), 8, 3)
	b.only("in by la*", at256(3), 8, 2)
	b.only("in by another", at256(4), 8, 3)
	b.only("not denied", at256(5), 8, 2)
	b.only("denied", at256(5)+64, 8, 3)
	if got := b.leftBy(at256(6), 60); len(got) != 3 {
		t.Errorf("its port is denied: %v, want it spread", got)
	}
	b.only("at this time", at256(7), 8, 1)
	b.only("not at this time", at256(8), 8, 3)
	b.only("from the client", at256(9), 8, 2)
	b.only("not from a neighbour", at256(10), 8, 3)
	for port, want := range map[int]int{20123: 2, 21123: 3} {
		isp := 0
		b.inLAN(func() error {
			dialer := net.Dialer{Timeout: time.Second, LocalAddr: &net.TCPAddr{Port: port}}
			conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(lab.Somewhere(at256(11)), lab.Port).String())
			if err == nil {
				isp = b.ispOf(conn)
				_ = conn.Close()
			}
			return err
		})
		if isp != want {
			t.Errorf("from port %d: ISP %d, want %d", port, isp, want)
		}
	}

	b.explains("phone", "isp2", "198.18.1.9", "--in", "lan0", "--from", "192.168.77.2", "--mac", b.clientMAC())
	b.explains("anyone", "isp3", "198.18.2.9", "--in", "lan0", "--from", "192.168.77.2", "--mac", b.clientMAC())
	b.explains("wlans", "isp2", "198.18.3.9", "--in", "lan0", "--from", "192.168.77.2")
	b.explains("most", "isp2", "198.18.5.9", "--in", "lan0", "--from", "192.168.77.2", "--proto", "tcp", "--dport",
		"443")
	b.explains("few", "isp3", "198.18.5.9", "--in", "lan0", "--from", "192.168.77.2", "--proto", "tcp", "--dport", "25")
	b.explains("now", "isp1", "198.18.7.9", "--in", "lan0", "--from", "192.168.77.2")
	b.explains("until", "isp3", "198.18.8.9", "--in", "lan0", "--from", "192.168.77.2")
	out, err := b.run("check", "-c", b.config)
	if strings.Contains(out, "never match") {
		t.Errorf("check says that a policy can never match (%v):\n%s", err, out)
	}
}

// A control group's programs leave by its policy's uplink: also when it has gone and come again, as a service that is
// restarted, and not those of another.
func TestPolicyByCgroup(t *testing.T) {
	labtest.NeedRoot(t)
	root := cgroups.Root()
	b := newBench(t, 3)
	slice := filepath.Join(root, fmt.Sprintf("uplinkd-test-%d.slice", os.Getpid()))
	enter := func(group string) string {
		t.Helper()
		dir := filepath.Join(slice, group)
		b.ok(os.MkdirAll(dir, 0o755))
		t.Cleanup(func() { _ = os.Remove(dir); _ = os.Remove(slice) })
		return dir
	}
	b.gateway([]int{1, 1, 1}, nil, normalProbe+fmt.Sprintf(`
policies:
  - {name: seedbox, cgroup: %s/one.service, via: isp2}
  - {name: backup, cgroup: %[1]s/two.service, via: isp3}
`, filepath.Base(slice)))
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	leads := func(name string) string {
		for _, p := range b.status().Policies {
			if p.Name == name {
				return p.Leads
			}
		}
		return ""
	}
	if got := leads("seedbox"); got != "the next policy" {
		t.Errorf("without its control group the policy leads to %s", got)
	}
	for n := range 3 { // each time it is another group of that name
		one, two := enter("one.service"), enter("two.service")
		b.until("the groups are found", time.Second, func() bool {
			return leads("seedbox") == "isp2" &&
				leads("backup") == "isp3"
		})
		b.until("they are in force", time.Second, func() bool { return b.status().Kernel.InSync })
		for i := range 5 {
			for dir, want := range map[string]int{one: 2, two: 3} {
				if isp, err := b.inCgroup(dir, 1000*n+i); err != nil || isp != want {
					t.Errorf("%s, the %d. time: ISP %d, %v; want %d", filepath.Base(dir), n, isp, err, want)
				}
			}
		}
		b.explains("seedbox", "isp2", "198.18.1.9", "--cgroup", filepath.Base(slice)+"/one.service/more")
		b.ok(os.Remove(one))
		b.until("that it has gone", time.Second, func() bool { return leads("seedbox") == "the next policy" })
		if isp, err := b.inCgroup(two, 1000*n+9); err != nil || isp != 3 {
			t.Errorf("the other group: ISP %d, %v; want 3", isp, err)
		}
		b.ok(os.Remove(two))
	}
}

// inCgroup opens a connection from a process of a control group, and returns the ISP it left by.
func (b *bench) inCgroup(dir string, n int) (int, error) {
	cmd := b.caller(n)
	// The shell enters the group, and becomes the program.
	cmd.Args = []string{"sh", "-c", "echo $$ > " + dir + "/cgroup.procs && exec /proc/self/fd/3"}
	self, err := os.Open("/proc/self/exe")
	b.ok(err)
	defer self.Close()
	cmd.Path, cmd.ExtraFiles = "/bin/sh", []*os.File{self}
	return b.callerISP(cmd)
}
