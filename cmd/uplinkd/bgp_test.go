package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// bird starts a real BIRD in a namespace, and returns how to ask it.
func (b *bench) bird(ns *lab.Namespace, name, config string) (ask func(args ...string) string) {
	b.Helper()
	file, socket := filepath.Join(b.dir, name+".conf"), filepath.Join(b.dir, name+".ctl")
	b.ok(os.WriteFile(file, []byte(config), 0o600))
	b.in(ns, "bird", "-f", "-c", file, "-s", socket, "-P", filepath.Join(b.dir, name+".pid"))
	ask = func(args ...string) string {
		out, _ := exec.Command("birdc", append([]string{"-s", socket}, args...)...).CombinedOutput()
		return string(out)
	}
	b.until("bird "+name+" answers", 10*time.Second, func() bool { return strings.Contains(ask("show", "status"), "up and running") })
	return ask
}

// What a provider announces by BGP leads there, by a policy, while its uplink is up; and the
// site is told of a default route while an uplink works, with a MED that rises as uplinks fall.
// UPLINKD_ROUTES says how many prefixes the provider announces.
func TestBGP(t *testing.T) {
	labtest.NeedRoot(t, "bird", "birdc")
	announced := 5000
	if text := os.Getenv("UPLINKD_ROUTES"); text != "" {
		var err error
		announced, err = strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
	}
	b := gatewayBench(t, []int{2, 1}, nil, "")
	b.ok(os.Mkdir(filepath.Join(b.dir, "bgp"), 0o755))
	hooks, err := filepath.Abs("../../configs/hooks")
	b.ok(err)
	med, ctl := filepath.Join(b.dir, "med.conf"), filepath.Join(b.dir, "gateway.ctl")
	lines := b.static(2, 1)
	for i := range lines {
		lines[i] += ", masquerade: true"
	}
	b.configure(lines, fmt.Sprintf(`routes: {last_resort: none}
policies: [{name: learned, to: "bgp:isp1", via: isp1}]
hooks: [{run: [%s/bgp-med, "3", bird, %s, -s, %s], on: [switch]}]
`, hooks, med, ctl))
	b.ok(os.WriteFile(med, []byte("define uplinkd_med = 100;\n"), 0o600)) // as before a first start
	b.launch(exec.Command("unshare", "--mount", "sh", "-euc", "mount -t tmpfs tmpfs /var/lib; mkdir /var/lib/uplinkd-bgp; mount --bind "+b.dir+
		"/bgp /var/lib/uplinkd-bgp; exec "+b.build()+" run -c "+b.config))
	b.untilStates(10*time.Second, "up", "up")

	var provider strings.Builder
	provider.WriteString("log stderr all;\nrouter id 100.64.1.1;\nprotocol device {}\nprotocol static {\n ipv4;\n route 198.19.0.0/16 blackhole;\n route 0.0.0.0/0 blackhole;\n")
	for i := range announced - 1 {
		fmt.Fprintf(&provider, " route %s blackhole;\n", internet4.network(i))
	}
	provider.WriteString("}\nprotocol bgp customer { local 100.64.1.1 as 65001; neighbor 100.64.1.10 as 65000; ipv4 { import none; export all; }; }\n")
	b.bird(b.world.ISPs[0].Namespace(), "isp1", provider.String())
	example, err := os.ReadFile("../../configs/examples/bird.conf")
	b.ok(err)
	gateway := b.bird(b.world.Host(), "gateway", strings.ReplaceAll(string(example), "/var/lib/uplinkd-bgp/med.conf", med))
	site := b.bird(b.world.Client, "site", `log stderr all;
router id 192.168.77.2;
protocol device {}
protocol bgp uplinkd { local 192.168.77.2 as 65002; neighbor 192.168.77.1 as 65000; ipv4 { import all; export none; }; }
`)
	b.until("all prefixes are learned", 60*time.Second, func() bool {
		return strings.Contains(gateway("show", "route", "protocol", "isp1", "count"), fmt.Sprintf("%d of ", announced+1))
	})
	b.ok(os.WriteFile(filepath.Join(b.dir, "bgp-isp1"), []byte("bird isp1 -s "+ctl+"\n"), 0o600))
	export := exec.Command(filepath.Join(hooks, "bgp-prefixes"), "isp1")
	export.Env = append(os.Environ(), "STATE_DIRECTORY="+b.dir+"/bgp", "CONFIGURATION_DIRECTORY="+b.dir)
	began := time.Now()
	out, err := export.CombinedOutput()
	if err != nil || !strings.Contains(string(out), fmt.Sprint(announced, " prefixes of isp1")) {
		t.Fatalf("bgp-prefixes: %v\n%s", err, out)
	}
	learned := func() map[int]int { return b.leftBy(1<<16+256, 30) } // in 198.19.0.0/16
	b.until("the policy leads there", 20*time.Second, func() bool { return learned()[1] == 30 })
	t.Logf("%d prefixes lead by isp1 %v after they were asked for", announced, time.Since(began).Round(10*time.Millisecond))
	if by := b.leftBy(0, 60); by[2] < 8 {
		t.Errorf("what was not announced left by %v", by)
	}

	announces := func(med string) bool {
		said := site("show", "route", "0.0.0.0/0", "all")
		return strings.Contains(said, "0.0.0.0/0") && strings.Contains(said, "BGP.med: "+med+"\n")
	}
	b.until("the site has a default route, of MED 0", 30*time.Second, func() bool { return announces("0") })
	b.ok(b.world.ISPs[0].Silence(true))
	b.untilStates(5*time.Second, "down", "up")
	if by := learned(); by[2] != 30 {
		t.Errorf("while isp1 is down what it announced leaves by %v", by)
	}
	b.until("the site is told of MED 67", 10*time.Second, func() bool { return announces("67") })
	b.ok(b.world.ISPs[1].Silence(true))
	b.untilStates(5*time.Second, "down", "down")
	b.until("the site has no default route", 10*time.Second, func() bool { return !strings.Contains(site("show", "route", "0.0.0.0/0"), "0.0.0.0/0") })
	b.ok(b.world.ISPs[0].Silence(false))
	b.ok(b.world.ISPs[1].Silence(false))
	b.untilStates(15*time.Second, "up", "up")
	b.until("the site has a default route again", 10*time.Second, func() bool { return announces("0") })
	if n := b.status().Kernel.Repairs; n > 0 {
		t.Errorf("%d repairs beside BIRD", n)
	}
}

// The same script and hook with FRR's real bgpd.
func TestBGPByFRR(t *testing.T) {
	const bgpd = "/usr/lib/frr/bgpd"
	labtest.NeedRoot(t, "bird", "vtysh")
	if _, err := os.Stat(bgpd); err != nil {
		labtest.Skip(t, "needs "+bgpd)
	}
	b := newBench(t, 1)
	b.kernel("ip addr add 100.64.1.10/24 dev eth1")
	t.Cleanup(func() { b.kernel("ip addr del 100.64.1.10/24 dev eth1") })
	b.bird(b.world.ISPs[0].Namespace(), "isp1", `log stderr all;
router id 100.64.1.1;
protocol device {}
protocol static { ipv4; route 198.19.0.0/16 blackhole; route 20.0.1.0/24 blackhole; route 20.0.2.0/25 blackhole; }
protocol bgp customer { local 100.64.1.1 as 65001; neighbor 100.64.1.10 as 65000; connect delay time 1; ipv4 { import none; export all; }; }
`)
	dir := filepath.Join(b.dir, "frr")
	b.ok(os.Mkdir(dir, 0o700))
	b.ok(os.Chmod(b.dir, 0o755)) // bgpd is not root
	b.ok(os.WriteFile(filepath.Join(dir, "bgpd.conf"), []byte(
		"router bgp 65000\n bgp router-id 100.64.1.10\n no bgp ebgp-requires-policy\n neighbor 100.64.1.1 remote-as 65001\n neighbor 100.64.1.1 timers connect 1\n"), 0o644))
	b.kernel("chown -R frr " + dir)
	b.in(b.world.Host(), "unshare", "--mount", "sh", "-euc", "mount -t tmpfs tmpfs /run; mkdir -m 777 /run/frr; exec "+bgpd+
		" -n -Z -f "+dir+"/bgpd.conf -i "+dir+"/bgpd.pid --vty_socket "+dir)
	b.ok(os.WriteFile(filepath.Join(b.dir, "bgp-isp1"), []byte("frr 100.64.1.1 --vty_socket "+dir+"\n"), 0o600))
	hook := func(name string, args ...string) (string, error) {
		cmd := exec.Command(filepath.Join("../../configs/hooks", name), args...)
		cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+b.dir, "CONFIGURATION_DIRECTORY="+b.dir, "UPLINKD_TO=isp2 1")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	want, got := "198.19.0.0/16\n20.0.1.0/24\n20.0.2.0/25\n", ""
	b.until("what is announced is in the file", 20*time.Second, func() bool {
		_, _ = hook("bgp-prefixes", "isp1") // fails until bgpd listens
		text, _ := os.ReadFile(filepath.Join(b.dir, "isp1.prefixes"))
		got = string(text)
		return got == want
	})
	if out, err := hook("bgp-med", "3", "frr", "--vty_socket", dir); err != nil || !strings.Contains(out, "MED 67: 1 of 3") {
		t.Errorf("bgp-med: %v\n%s", err, out)
	}
	if config := b.kernel("vtysh --vty_socket " + dir + " -c 'show running-config'"); !strings.Contains(config, "route-map uplinkd-med permit 10\n set metric 67") {
		t.Errorf("bgpd has\n%s", config)
	}
}
