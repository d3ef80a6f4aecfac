package main

import (
	"fmt"
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
