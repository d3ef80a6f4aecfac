package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// Flows of the LAN over IPv6 that begin while another program has taken our nft table away leave untranslated, some
// of them by the ISP that has not given their address, which drops them; connection tracking never lets that change.
// They are forgotten when the table is back, and their next packet goes out as it should. Here the counters at the
// ISPs may count: nothing of ours is there to keep those packets.
func TestIPv6FlowsOfTheGap(t *testing.T) {
	labtest.Measured(t)
	b := newBenchOf(t, func() (*lab.World, error) { return lab.NewWorld(2) })
	b.ok(b.world.EnableIPv6())
	b.delegating(false)
	b.configure(b.dual(1, 1), normalProbe+"lan: [{interface: lan0, subnet: 1}]\n")
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	b.untilPrefixes()
	b.lanClient()
	gap := b.openInGap(func(n int) string { return fmt.Sprintf("[%s]:%d", lab.Somewhere6(100+n), lab.Port) })
	spoofed, err := b.world.ISPs[1].Spoofed()
	b.ok(err)
	if spoofed == 0 {
		t.Fatal("no flow has left by the ISP that did not give its address: the test tests nothing")
	}
	silent := b.unanswered(gap)
	t.Logf("%d of 40 left by the ISP that drops them; %d are without an answer afterwards", spoofed, silent)
	if silent > 0 {
		t.Errorf("%d of 40 flows of the gap do not work", silent)
	}
}

// A host of the LAN has its address from before the gateway was started, and sends before the providers have delegated
// their prefixes again: what leaves by the one that has not given the address is not answered. It is when the LAN has
// its network, and is not kept to what was decided before. Here, too, the counters at the ISPs may count.
func TestIPv6FlowsBeforeThePrefix(t *testing.T) {
	labtest.Measured(t)
	b := newBenchOf(t, func() (*lab.World, error) { return lab.NewWorld(2) })
	b.ok(b.world.EnableIPv6())
	b.routers()
	b.configure(b.dual(1, 1), normalProbe+"lan: [{interface: lan0, subnet: 1}]\n"+
		"policies: [{name: p, to: 198.18.1.0/24, via: isp2}]\n") // our nft table is there before
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	time.Sleep(1500 * time.Millisecond) // a second after the table was put flows are forgotten once more
	b.kernel("ip -6 addr add fe80::1/64 dev lan0 nodad")
	b.forward6()
	b.inLAN(func() error {
		return exec.Command("sh", "-ec", "ip -6 addr replace 2001:db8:1:101::2/64 dev eth0 nodad; "+
			"ip -6 route replace default via fe80::1 dev eth0").Run()
	})
	flows := b.begin(func(n int) string { return fmt.Sprintf("[%s]:%d", lab.Somewhere6(100+n), lab.Port) })
	b.until("a flow leaves by the ISP that has not given its address, or the test tests nothing", 5*time.Second, func() bool {
		spoofed, err := b.world.ISPs[1].Spoofed()
		b.ok(err)
		return spoofed > 0
	})
	b.delegate(false)
	b.untilPrefixes()
	b.until("the LAN has its network", 5*time.Second, func() bool {
		return strings.Contains(b.kernel("ip -6 addr show dev lan0"), "2001:db8:1:101::1/64")
	})
	if silent := b.unanswered(flows); silent > 0 {
		t.Errorf("%d of 40 flows from before do not work", silent)
	}
}
