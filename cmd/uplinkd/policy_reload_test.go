package main

import (
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Reloads that change one policy of a hundred lose no packet of a flow that is known, and lead no new connection of
// another policy astray.
func TestPolicyReload(t *testing.T) {
	b := newBench(t, 3)
	file := func(port int) string {
		text := normalProbe + "policies:\n"
		for i := range 100 {
			line := fmt.Sprintf("name: p%d, to: 203.0.%d.0/24, dport: %d, via: isp1", i, i, 10+i)
			if i == 40 {
				line = fmt.Sprintf("name: changing, to: 198.18.77.0/24, dport: [%d, 7000], via: isp3", port)
			}
			text += "  - {" + line + "}\n"
		}
		return text + "  - {name: steady, to: 198.18.1.0/24, via: isp2}\n"
	}
	b.gateway([]int{1, 1, 1}, nil, file(1000))
	b.swallow()
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	stop := make(chan struct{})
	sent := 0
	var sender sync.WaitGroup
	sender.Go(func() {
		b.inLAN(func() error {
			conn, err := net.Dial("udp4", "198.18.1.1:9")
			if err != nil {
				return err
			}
			defer conn.Close()
			for {
				select {
				case <-stop:
					return nil
				case <-time.After(500 * time.Microsecond):
				}
				for range 5 {
					if _, err := conn.Write([]byte("x")); err == nil {
						sent++
					}
				}
			}
		})
	})
	end := sync.OnceFunc(func() { close(stop); sender.Wait() })
	t.Cleanup(end)
	for n := range 40 {
		b.gateway([]int{1, 1, 1}, nil, file(1001+n%2))
		if out, err := b.run("reload", "--socket", filepath.Join(b.dir, "sock")); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b.only("a policy that stays", at256(1), 3, 2)
		b.only("the one that changes", at256(77), 1, 3)
	}
	end()
	through := 0
	b.until("all have come through", 2*time.Second, func() bool { through = b.swallowed(); return through >= sent })
	t.Logf("40 reloads: %d of %d packets of a known flow came through", through, sent)
	if through != sent || sent < 1000 {
		t.Errorf("%d of %d packets came through", through, sent)
	}
}
