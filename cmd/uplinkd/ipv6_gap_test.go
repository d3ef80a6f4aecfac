package main

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
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
	b.ok(b.cmd.Process.Signal(syscall.SIGSTOP))
	b.kernel(`nft 'flush ruleset; table inet filter { chain forward { type filter hook forward priority 0; ct state established accept; }; }'`)
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "filter").Run() })
	var gap []*flow
	b.inLAN(func() error {
		for n := range 40 {
			conn, err := net.Dial("udp6", fmt.Sprintf("[%s]:%d", lab.Somewhere6(100+n), lab.Port))
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = conn.Close() })
			if _, err := conn.Write([]byte("who am I?")); err != nil {
				return err
			}
			gap = append(gap, &flow{conn: conn, udp: true})
		}
		return nil
	})
	time.Sleep(100 * time.Millisecond)
	spoofed, err := b.world.ISPs[1].Spoofed()
	b.ok(err)
	if spoofed == 0 {
		t.Fatal("no flow has left by the ISP that did not give its address: the test tests nothing")
	}
	b.ok(b.cmd.Process.Signal(syscall.SIGCONT))
	b.until("our table is back", 2*time.Second, func() bool {
		return strings.Contains(b.kernel("nft list tables"), "inet uplinkd")
	})
	silent := 0
	for _, f := range gap {
		if _, err := b.askUDP(f); err != nil {
			silent++
		}
	}
	t.Logf("%d of 40 left by the ISP that drops them; %d are without an answer afterwards", spoofed, silent)
	if silent > 0 {
		t.Errorf("%d of 40 flows of the gap do not work", silent)
	}
}
