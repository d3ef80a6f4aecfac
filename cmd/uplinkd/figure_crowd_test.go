package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab"
)

// A crowd is a host with many uplinks, to as many gateways that are one machine.
type crowd struct {
	*bench
	far *lab.Namespace
}

// newCrowd builds it, and configures all uplinks with extra.
func newCrowd(t *testing.T, n int, extra string) *crowd {
	t.Helper()
	c := &crowd{bench: newBench(t, 1)}
	far, err := lab.NewNamespace()
	c.ok(err)
	t.Cleanup(far.Close)
	c.far = far
	var lines []string
	for i := range n {
		here, there := fmt.Sprint("u", i), fmt.Sprint("p", i)
		c.ok(c.world.Host().Wire(here, far, there))
		network := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i / 250), byte(i % 250), last}) }
		c.ok(far.Address(there, netip.PrefixFrom(network(1), 24)))
		lines = append(lines, fmt.Sprintf("name: u%d, interface: %s, address: %s/24, gateway: %s", i, here, network(5), network(1)))
	}
	t.Cleanup(func() {
		for i := range n {
			_ = c.world.Host().DeleteLink(fmt.Sprint("u", i))
		}
	})
	c.configure(lines, extra)
	return c
}

// begin starts the program as it is delivered, and waits until all uplinks are up. It returns how long that took.
func (c *crowd) begin(program string) time.Duration {
	c.Helper()
	began := time.Now()
	c.launch(exec.Command(program, "run", "-c", c.config))
	c.untilAllUp()
	return time.Since(began)
}

// edit changes the configuration.
func (c *crowd) edit(change func(text string) string) {
	c.Helper()
	text, err := os.ReadFile(c.config)
	c.ok(err)
	c.ok(os.WriteFile(c.config, []byte(change(string(text))), 0o600))
}

func (c *crowd) untilAllUp() {
	c.Helper()
	c.until("all uplinks are up", 30*time.Second, func() bool {
		s := c.status()
		for i := range s.Uplinks {
			if s.Uplinks[i].State != "up" {
				return false
			}
		}
		return s.Kernel.InSync && len(s.DefaultRoute.NextHops) == len(s.Uplinks)
	})
}

// end stops the daemon as systemd does, and returns how long that took. What it put into the kernel is taken away.
func (c *crowd) end() time.Duration {
	c.Helper()
	began := time.Now()
	c.kill(15)
	took := time.Since(began)
	if out, err := c.run("cleanup", "-c", c.config); err != nil {
		c.Fatalf("%v: %s", err, strings.TrimSpace(out))
	}
	return took
}
