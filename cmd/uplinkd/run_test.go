package main

import (
	"testing"
	"time"
)

func TestSmoke(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.dhcp(time.Hour, 2, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	out, err := b.run("status", "-c", b.config)
	t.Log(out, err)
	t.Log(b.kernel("ip rule", "ip route show table all", "ip addr"))
	n := map[int]int{}
	for i := range 300 {
		isp, err := b.dial(i, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		n[isp.Number]++
	}
	t.Log(n)
	t.Log(b.log)
}
