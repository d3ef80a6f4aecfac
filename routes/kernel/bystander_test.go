package kernel_test

import (
	"context"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
)

// The kernel is not read for what does not concern us of a link that is not ours, and for all else it is.
func TestLinksThatWake(t *testing.T) {
	labtest.Need(t)
	wires(t)
	k := openKernel(t)
	w, err := kernel.NewWatcher(k)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	woken, done := make(chan struct{}, 1000), make(chan error)
	go func() { done <- w.Watch(ctx, func() { woken <- struct{}{} }) }()
	if _, err := k.Read(t.Context(), routes.Scope{Owner: owner, Links: []string{"wan1", "lan0"}}); err != nil {
		t.Fatal(err)
	}
	wakes := func(within time.Duration) bool {
		select {
		case <-woken:
			return true
		case <-time.After(within):
			return false
		}
	}
	ip(t, "link set wan2 mtu 1400")      // the first that is told of it counts
	for wakes(1500 * time.Millisecond) { // links take their time to come up
	}
	for _, tt := range []struct {
		args string
		want bool
	}{
		{"link set wan2 mtu 1401", false},
		{"link set wan2 txqueuelen 77", false},
		{"link set wan1 mtu 1402", true},
		{"link set wan1 promisc on", true},
		{"link set wan2 down", true},
		{"link set wan2 up", true},
		{"link set wan2 mtu 1403", false},
		{"link add near type veth peer name far", true},
		{"link del near", true},
		{"link set wan2 down", true}, // before Linux 6.2 a link that is up keeps its name
		{"link set wan2 name lan0", true},
		{"link set lan0 mtu 1404", true},
		{"link set lan0 name wan2", true},
	} {
		ip(t, tt.args)
		if got := wakes(300 * time.Millisecond); got != tt.want {
			t.Errorf("ip %s: wakes %v, want %v", tt.args, got, tt.want)
		}
		for wakes(1200 * time.Millisecond) { // a survey of routes, a second later at most
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
