package main

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Who saves the ruleset of a gateway loads our table with it: by hand, and at each boot before the daemon is started. It
// is replaced, and connections keep to their uplinks, also when new ones go elsewhere. From a defect: what nft had
// listed had its marks turned around, bore our version, and stayed for good.
func TestSavedRulesetIsReplaced(t *testing.T) {
	b := gatewayBench(t, []int{1, 1}, nil, normalProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	flows, byISP := b.open(40, 0, b.dialUDP)
	if len(byISP) != 2 {
		t.Fatalf("by ISP: %v", byISP)
	}
	saved := filepath.Join(b.dir, "nftables.conf")
	load := "nft list ruleset >" + saved + "; nft flush ruleset; nft -f " + saved
	put := b.status().Kernel.Repairs
	b.kernel(load)
	b.until("our table is put in the place of the one that was loaded", 2*time.Second, func() bool {
		k := b.status().Kernel
		return k.Repairs > put && k.InSync
	})
	b.kill(syscall.SIGTERM)
	b.kernel(load)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	if out, err := b.run("drain", "isp1", "-c", b.config); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("new connections go by the other", 2*time.Second, func() bool {
		_, byISP := b.open(10, 100, b.dialUDP)
		return byISP[1] == 0
	})
	if errs := b.broken(flows, 0); len(errs) > 0 {
		t.Errorf("%d of 40 flows moved: %v", len(errs), errs[0])
	}
}
