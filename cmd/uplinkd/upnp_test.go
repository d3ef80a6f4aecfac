package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// A upnpBench is a gateway whose first two uplinks have addresses that the Internet reaches,
// and the third one behind carrier-grade NAT; the hook upnp runs a real miniupnpd for each.
type upnpBench struct {
	*bench
	addresses []netip.Addr
}

// systemctl does for uplinkd-upnp@NAME.service what systemd would: it runs what the unit runs,
// with the directories that systemd makes.
const systemctl = `#!/bin/sh
action=$1 service=$(for word; do :; done; echo "$word")
[ "$action" = --quiet ] && action=$2
name=${service#uplinkd-upnp@} name=${name%.service}
export RUNTIME_DIRECTORY=@directory/run-$name STATE_DIRECTORY=@directory/state-upnp CONFIGURATION_DIRECTORY=@directory HOOKS_DIRECTORY=@directory
mkdir -p $RUNTIME_DIRECTORY $STATE_DIRECTORY
alive() { [ -e @directory/$name.pid ] && grep -q 'State:.[^Z]' /proc/$(cat @directory/$name.pid)/status 2>/dev/null; }
stop() {
	alive && kill $(cat @directory/$name.pid) && while alive; do sleep 0.01; done
	@hook clean $name
}
start() { alive || { setsid @hook run $name >>@directory/$name.log 2>&1 & echo $! >@directory/$name.pid; }; }
case $action in
is-active) alive ;;
start) start ;;
stop) stop ;;
restart) stop; start ;;
esac
`

func newUPnPBench(t *testing.T) *upnpBench {
	t.Helper()
	labtest.NeedRoot(t, "miniupnpd", "upnpc", "nft", "setsid")
	b := &upnpBench{bench: newBench(t, 3)}
	b.ok(b.world.Host().Sysctl("net/ipv4/ip_forward", "1"))
	t.Cleanup(func() { _ = b.world.Host().Sysctl("net/ipv4/ip_forward", "0") })
	lines := b.static(1, 1, 1)
	for i, isp := range b.world.ISPs {
		b.bcp38(isp, isp.Network)
		if i == 2 {
			b.addresses = append(b.addresses, isp.Static.Addr())
			lines[i] += ", masquerade: true"
			continue
		}
		// miniupnpd knows the networks of documentation for what they are, too.
		gateway, host := netip.AddrFrom4([4]byte{100, 128, byte(i), 1}), netip.AddrFrom4([4]byte{100, 128, byte(i), 10})
		network := netip.PrefixFrom(gateway, 24)
		b.ok(isp.Namespace().Address("cust", network))
		b.ok(b.world.Internet.Route(network.Masked(), netip.AddrFrom4([4]byte{172, 31, byte(isp.Number), 1}), fmt.Sprint("isp", isp.Number)))
		b.bcp38(isp, network.Masked())
		b.addresses = append(b.addresses, host)
		lines[i] = fmt.Sprintf("name: isp%d, interface: %s, address: %s/24, gateway: %s, masquerade: true", isp.Number, isp.Interface, host, gateway)
	}
	hook, err := filepath.Abs("../../configs/hooks/upnp")
	b.ok(err)
	text := strings.NewReplacer("@directory", b.dir, "@hook", hook).Replace(systemctl)
	b.ok(os.WriteFile(filepath.Join(b.dir, "systemctl"), []byte(text), 0o700))
	b.ok(os.WriteFile(filepath.Join(b.dir, "upnp.conf"), []byte("listening_ip=lan0\n"), 0o600))
	b.configure(lines, normalProbe+fmt.Sprintf("hooks: [{run: [/usr/bin/env, 'PATH=%s:%s', HOOKS_DIRECTORY=%s, %s], on: [address, up, down]}]\n",
		b.dir, os.Getenv("PATH"), b.dir, hook))
	t.Cleanup(func() {
		b.kill(9)
		for _, isp := range b.world.ISPs {
			out, err := exec.Command(filepath.Join(b.dir, "systemctl"), "stop", fmt.Sprintf("uplinkd-upnp@isp%d.service", isp.Number)).CombinedOutput()
			if said, _ := os.ReadFile(filepath.Join(b.dir, fmt.Sprintf("isp%d.log", isp.Number))); err != nil || t.Failed() {
				t.Logf("stop: %v %s; miniupnpd said:\n%s", err, out, said)
			}
		}
	})
	return b
}

// bcp38 has an ISP take packets from its customers' addresses only (RFC 2827), so that an answer
// by another uplink than the question's is lost.
func (b *upnpBench) bcp38(isp *lab.ISP, network netip.Prefix) {
	b.Helper()
	for _, text := range []string{
		"add table ip bcp38", "add set ip bcp38 ours { type ipv4_addr; flags interval; }",
		"add element ip bcp38 ours { " + network.String() + " }", "add chain ip bcp38 c { type filter hook prerouting priority 0; }",
		"flush chain ip bcp38 c", "add rule ip bcp38 c iifname cust ip saddr != @ours drop",
	} {
		cmd := exec.Command("nft", text)
		b.ok(isp.Namespace().Do(cmd.Run))
	}
}

// client runs upnpc in the LAN.
func (b *upnpBench) client(args ...string) string {
	b.Helper()
	var out []byte
	b.inLAN(func() error {
		out, _ = exec.Command("upnpc", args...).CombinedOutput() // fails where it finds a device that is not connected
		return nil
	})
	return string(out)
}

var descriptionURL = regexp.MustCompile(`desc: (http://\S+)`)

// devices returns the addresses at which gateways describe themselves to the LAN.
func (b *upnpBench) devices() []string {
	b.Helper()
	var list []string
	for _, found := range descriptionURL.FindAllStringSubmatch(b.client("-l"), -1) {
		if !slices.Contains(list, found[1]) {
			list = append(list, found[1])
		}
	}
	return list
}

// table returns an uplink's mappings in the kernel, "" when there is no table for them.
func (b *upnpBench) table(isp int) string {
	out, _ := exec.Command("nft", "list", "table", "inet", fmt.Sprint("uplinkd-upnp-isp", isp)).CombinedOutput()
	if strings.Contains(string(out), "No such file") {
		return ""
	}
	return string(out)
}

// A client in the LAN maps a port on each uplink; what comes in by one is answered by the same.
// When an uplink dies its mappings go and nobody's else; when it is back they are. Behind
// carrier-grade NAT that is said, and no mapping is promised.
func TestUPnP(t *testing.T) {
	b := newUPnPBench(t)
	b.greet(b.world.Client, ":8080")
	b.start()
	b.untilStates(10*time.Second, "up", "up", "up")
	var devices []string
	b.until("a gateway on each uplink", 20*time.Second, func() bool { devices = b.devices(); return len(devices) == 3 })
	ports := []uint16{9001, 9002, 9003}
	mapped := map[int]bool{}
	for _, device := range devices {
		said := b.client("-u", device, "-s")
		number := slices.IndexFunc(b.addresses, func(a netip.Addr) bool { return strings.Contains(said, "ExternalIPAddress = "+a.String()) })
		if number < 0 {
			number = 2
		}
		said = b.client("-u", device, "-e", "test", "-a", lab.LANClient.Addr().String(), "8080", fmt.Sprint(ports[number]), "TCP")
		mapped[number] = strings.Contains(said, "is redirected to internal")
		t.Logf("isp%d: %s", number+1, said[strings.LastIndex(strings.TrimSpace(said), "\n")+1:])
	}
	if !mapped[0] || !mapped[1] || mapped[2] {
		t.Fatalf("mapped: %v, want the first two", mapped)
	}
	if !strings.Contains(b.log.String(), "port mappings on isp3 are of no use: 100.64.3.10 is private") {
		t.Error("nobody said that the third is behind carrier-grade NAT")
	}
	for n := range 2 {
		for range 20 {
			if err := b.greeted(netip.AddrPortFrom(b.addresses[n], ports[n])); err != nil {
				t.Fatalf("in by isp%d: %v\n%s", n+1, err, b.table(n+1))
			}
		}
	}
	other := b.table(2)
	stop := b.greetings(netip.AddrPortFrom(b.addresses[1], ports[1]))
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up", "up")
	b.until("the mappings of the dead are gone", 2*time.Second, func() bool { return b.table(1) == "" })
	time.Sleep(time.Second)
	b.ok(b.world.ISPs[0].Silence(false))
	b.untilStates(10*time.Second, "up", "up", "up")
	b.until("the mapping is back", 5*time.Second, func() bool { return strings.Contains(b.table(1), "9001") })
	b.until("what comes in by it is answered", 2*time.Second, func() bool {
		return b.greeted(netip.AddrPortFrom(b.addresses[0], ports[0])) == nil
	})
	if now := b.table(2); now != other || !strings.Contains(other, "9002") {
		t.Errorf("the mappings of the other uplink were\n%s\nand are\n%s", other, now)
	}
	all, failed := stop()
	t.Logf("%d connections to the mapping of the other uplink meanwhile, %d failed", all, failed)
	if failed > 0 || all < 20 {
		t.Errorf("of %d connections to the mapping of the uplink that lives, %d failed", all, failed)
	}
	if _, err := b.run("disable", "isp2", "-c", b.config); err != nil {
		t.Fatal(err)
	}
	b.until("an uplink that is out has none", 3*time.Second, func() bool { return b.table(2) == "" })
}

// greetings connects from the internet, twenty times a second, until stopped.
func (b *bench) greetings(by netip.AddrPort) (stop func() (all, failed int)) {
	done, ended := make(chan struct{}), make(chan [2]int)
	go func() {
		count := [2]int{}
		for {
			select {
			case <-done:
				ended <- count
				return
			case <-time.After(50 * time.Millisecond):
				count[0]++
				if b.greeted(by) != nil {
					count[1]++
				}
			}
		}
	}()
	return func() (all, failed int) {
		close(done)
		count := <-ended
		return count[0], count[1]
	}
}
