package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// Whatever is advertised on an uplink's link, it makes no route but that of the address's own network in the
// uplink's own table, and no address of a network that is the LAN's or another uplink's.
func TestIPv6HostileRouter(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.delegating(false)
	b.configure(b.dual(1, 1), "lan: [{interface: lan0, subnet: 1}]\n")
	b.launch(exec.Command(b.build(), "run", "-c", b.config)) // what it costs is that of the program without the race detector
	b.untilStates6(15*time.Second, "up", "up")
	b.lanClient()
	b.untilPrefixes()
	router := b.world.ISPs[1].Router
	lan := b.status().LAN[0].Prefix
	routes := func() string {
		return b.kernel("ip -6 route show table all | grep -v '^local\\|^multicast\\|^fe80' | sed 's/ expires .*//' | sort")
	}
	before, addresses := routes(), b.status().Uplinks[1].IPv6.Addresses
	flows, _ := b.open(10, 1, b.dialTCP6)
	option := func(p netip.Prefix) ndp.Option { return lab.PrefixOption(p, time.Hour, time.Hour) }
	bad := []*ndp.RouterAdvertisement{
		{RouterLifetime: time.Hour, Options: []ndp.Option{option(lan)}},
		{RouterLifetime: time.Hour, Options: []ndp.Option{option(b.world.ISPs[0].Link6())}},
		{RouterLifetime: time.Hour, Options: []ndp.Option{option(netip.PrefixFrom(lan.Addr(), 113))}},
		{RouterLifetime: time.Hour, Options: []ndp.Option{option(netip.MustParsePrefix("fe80::/64"))}},
		{RouterLifetime: time.Hour, Options: []ndp.Option{option(netip.MustParsePrefix("ff02::/64"))}},
		{RouterLifetime: time.Hour, Options: []ndp.Option{&ndp.RouteInformation{
			PrefixLength: 48, RouteLifetime: time.Hour, Prefix: netip.MustParseAddr("2001:2::"),
		}}},
		{RouterLifetime: time.Hour, Options: []ndp.Option{&ndp.PrefixInformation{
			PrefixLength: 48, OnLink: true, ValidLifetime: time.Hour, PreferredLifetime: time.Hour, Prefix: netip.MustParseAddr("2001:2::"),
		}}},
		{RouterLifetime: time.Hour, Options: []ndp.Option{&ndp.PrefixInformation{ // preferred for longer than valid
			PrefixLength: 64, AutonomousAddressConfiguration: true, ValidLifetime: time.Minute, PreferredLifetime: time.Hour,
			Prefix: netip.MustParseAddr("2001:db8:66::"),
		}}},
	}
	for _, a := range bad {
		b.ok(router.Send(lab.Gateway6, 255, a))
		time.Sleep(150 * time.Millisecond)
	}
	// From beyond the link: it would take the router away.
	b.ok(router.Send(lab.Gateway6, 64, &ndp.RouterAdvertisement{RouterLifetime: 0}))
	b.ok(router.SendRaw(lab.Gateway6, 255, []byte{134, 0, 0, 0, 64}))
	time.Sleep(500 * time.Millisecond)
	if after := routes(); after != before {
		t.Errorf("routes before:\n%safter:\n%s", before, after)
	}
	if now := b.status().Uplinks[1].IPv6.Addresses; fmt.Sprint(now) != fmt.Sprint(addresses) {
		t.Errorf("addresses before %v, after %v", addresses, now)
	}
	b.untilStates6(time.Second, "up", "up")

	// 10,000 a second, each another.
	busy := b.cpu()
	began := time.Now()
	sent := 0
	for ; time.Since(began) < 3*time.Second; sent++ {
		a := &ndp.RouterAdvertisement{
			RouterLifetime: time.Duration(1+sent%9000) * time.Second,
			Options:        []ndp.Option{option(netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8:77:%x::", sent%65000)), 64))},
		}
		_ = router.Send(lab.Gateway6, 255, a) // the queue may be full
		if ahead := time.Duration(sent)*100*time.Microsecond - time.Since(began); ahead > time.Millisecond {
			time.Sleep(ahead)
		}
	}
	took := time.Since(began)
	used := b.cpu() - busy
	t.Logf("%d advertisements in %v, each another: %.1f %% of a core", sent, took.Round(time.Millisecond), 100*used.Seconds()/took.Seconds())
	if n := len(b.status().Uplinks[1].IPv6.Addresses); n > 4 {
		t.Errorf("the uplink has %d addresses, want 4 at most", n)
	}
	if broken := b.broken(flows, 0); len(broken) > 0 {
		t.Errorf("connections broke: %v", broken)
	}
	if used > took/2 {
		t.Errorf("the daemon took %v of processor in %v", used, took)
	}
}

// cpu returns what the daemon has taken of processors (proc_pid_stat(5), utime and stime).
func (b *bench) cpu() time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.cmd.Process.Pid))
	b.ok(err)
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+2:]))
	var user, system int
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	b.ok(err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// A router that falls silent is one for as long as it said, and its uplink is down then.
func TestIPv6RouterExpires(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.routers()
	for _, isp := range b.world.ISPs {
		b.ok(isp.Router.Change(func(a *ndp.RouterAdvertisement) { a.RouterLifetime = 6 * time.Second }))
	}
	b.configure(b.dual(1, 1), "")
	b.start()
	b.untilStates6(10*time.Second, "up", "up")
	b.world.ISPs[0].Router.Silence(true)
	began := time.Now()
	b.untilStates6(10*time.Second, "down", "up")
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("down %v after the router fell silent, want when its 6 s are over", took)
	}
	if reason := b.status().Uplinks[0].IPv6.Reason; !strings.Contains(reason, "has said nothing for as long as it was to be one") {
		t.Errorf("the reason is %q", reason)
	}
	asked := b.world.ISPs[0].Router.Asked()
	b.until("the router is asked for again", 15*time.Second, func() bool { return b.world.ISPs[0].Router.Asked() > asked })
	b.world.ISPs[0].Router.Silence(false)
	b.untilStates6(15*time.Second, "up", "up")
}

// Another host on the link has the address that this one makes itself: it is not used, and nothing goes out with it.
func TestIPv6Duplicate(t *testing.T) {
	b := newBench6(t, 2)
	isp := b.world.ISPs[0]
	end := strings.TrimSpace(b.kernel(`ip -6 addr show dev eth1 scope link | sed -n 's/.*inet6 fe80::\([^/]*\).*/\1/p'`)) // with a heading
	end = end[strings.LastIndexByte(end, '\n')+1:]
	other := netip.MustParsePrefix(strings.Replace(isp.Link6().String(), "::/64", ":0:"+end+"/64", 1))
	b.ok(isp.Namespace().Address("cust", other))
	b.configure(b.dual(1, 1), "")
	b.start()
	b.until("the kernel hears no routers", time.Second, func() bool {
		return strings.HasSuffix(strings.TrimSpace(b.kernel("cat /proc/sys/net/ipv6/conf/eth1/accept_ra")), "\n0")
	})
	b.routers()
	b.untilStates6(15*time.Second, "down", "up")
	if reason := b.status().Uplinks[0].IPv6.Reason; !strings.Contains(reason, "another host on eth1 has") {
		t.Errorf("the reason is %q\n%s", reason, b.kernel("ip -6 addr show dev eth1"))
		b.ok(isp.Namespace().Do(func() error {
			out, err := exec.Command("ip", "-6", "addr", "show", "dev", "cust").CombinedOutput()
			t.Logf("%s", out)
			return err
		}))
	}
	if failed, all := b.connects6(time.Second); failed > 0 {
		t.Errorf("%d of %d connections failed", failed, all)
	}
}
