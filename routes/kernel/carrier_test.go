package kernel_test

import (
	"context"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes/kernel"
)

// Each carrier that falls is told once, however often the kernel speaks of the interface; so are those that come again
// and fall again.
func TestCarrierIsLost(t *testing.T) {
	labtest.Need(t)
	wires(t)
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	run("link", "add", "near", "type", "veth", "peer", "name", "far")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "near").Run() })
	run("link", "set", "near", "up")
	run("link", "set", "far", "up")
	w, err := kernel.NewCarrierWatcher()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lost, ended := make(chan int, 100), make(chan error)
	var heard atomic.Int32
	go func() { ended <- w.Watch(ctx, func() { heard.Add(1) }, func(index int, _ time.Time) { lost <- index }) }()
	count := func() map[int]int {
		time.Sleep(100 * time.Millisecond)
		counts := map[int]int{}
		for len(lost) > 0 {
			counts[<-lost]++
		}
		return counts
	}
	for range 3 {
		run("link", "set", "far", "down")
		run("link", "set", "near", "mtu", "1400")
		run("link", "set", "near", "mtu", "1500")
		time.Sleep(100 * time.Millisecond)
		if heard.Swap(0) == 0 {
			t.Error("nothing was heard of links, and there were four events")
		}
		got := count()
		if len(got) != 2 {
			t.Fatalf("told of %v, want both ends of the wire", got)
		}
		for index, n := range got {
			if n != 1 {
				t.Errorf("interface %d was told %d times", index, n)
			}
		}
		run("link", "set", "far", "up")
		if got := count(); len(got) > 0 {
			t.Errorf("a carrier that is there was told lost: %v", got)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
