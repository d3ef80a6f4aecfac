package main

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// Connection tracking is full, as under a flood: new connections fail by whatever uplink, and say nothing of any. The
// uplinks stay as they are, and so do the connections over them. From the figures: probes were refused (EPERM), both
// uplinks were down after 1.4 s, and connections were ended that lived.
func TestTrackingFull(t *testing.T) {
	labtest.Measured(t)
	labtest.NeedRoot(t, "conntrack")
	b := newBench(t, 2)
	b.needRootForFlows()
	var most int
	_, _ = fmt.Sscan(strings.TrimPrefix(b.kernel("cat /proc/sys/net/netfilter/nf_conntrack_max"), "# cat /proc/sys/net/netfilter/nf_conntrack_max\n"), &most)
	if most == 0 || most > 600_000 {
		labtest.Missing(t, fmt.Sprintf("to fill connection tracking takes %d flows here", most))
	}
	far := fmt.Sprintf("tcp://%s:%d", lab.Somewhere(53), lab.Port)
	b.configure(b.static(1, 1), fmt.Sprintf("probe: {targets: [gateway, %q], quorum: all}\n", far))
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	flows, byISP := b.openHere(20, b.dialTCPHere)
	last := b.lastEvent()
	t.Cleanup(func() { _ = exec.Command("conntrack", "-F").Run() })
	made, err := lab.FillConntrack(most+1000, b.world.ISPs[0].Static.Addr(), 1<<24)
	b.ok(err)
	if _, err := b.world.Dial(4711, 500*time.Millisecond); err == nil {
		t.Fatalf("with %d flows of %d there is room for one more: this tests nothing", made, most)
	}
	time.Sleep(8 * time.Second)
	if events := b.falls(last); len(events) > 0 {
		t.Errorf("uplinks fell: %v", events)
	}
	// So it is when the daemon is started just then: it goes on with what the one before it knew.
	b.kill(syscall.SIGKILL)
	b.start()
	time.Sleep(5 * time.Second)
	if events := b.falls(0); len(events) > 0 {
		t.Errorf("started again, uplinks fell: %v", events)
	}
	if got := strings.Count(b.kernel("ip route show default"), "nexthop"); got != 2 {
		t.Errorf("the default route has %d ways, want 2", got)
	}
	if text := fmt.Sprint(b.status().Uplinks[0].Probes); !strings.Contains(text, "nf_conntrack_max") {
		t.Errorf("status does not say why nothing is known: %s", text)
	}
	for _, f := range flows {
		if err := b.works(f); err != nil {
			t.Errorf("a connection of ISP %d was ended: %v", f.isp, err)
		}
	}
	b.ok(exec.Command("conntrack", "-F").Run())
	b.untilStates(5*time.Second, "up", "up")
	t.Logf("%d flows; connections by ISP: %v", made, byISP)
	// And a rule that drops what leaves by an uplink is that uplink's end, though the error is the same.
	b.kernel("nft add table ip block", "nft add chain ip block out '{ type filter hook output priority 0; }'", "nft add rule ip block out oifname eth1 drop")
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "ip", "block").Run() })
	b.untilStates(15*time.Second, "down", "up")
}
