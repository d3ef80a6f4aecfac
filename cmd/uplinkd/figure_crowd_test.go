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
	v6  bool // all uplinks have IPv6 too
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
		c.ok(far.Address(there, netip.PrefixFrom(crowdAddress(i, 1), 24)))
		lines = append(lines, fmt.Sprintf("name: u%d, interface: %s, address: %s/24, gateway: %s",
			i, here, crowdAddress(i, 5), crowdAddress(i, 1)))
	}
	t.Cleanup(func() {
		for i := range n {
			_ = c.world.Host().DeleteLink(fmt.Sprint("u", i))
		}
	})
	c.configure(lines, extra)
	return c
}

// crowdAddress is an address of the i-th uplink's network: the gateway has 1, the host 5.
func crowdAddress(i int, last byte) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i / 250), byte(i % 250), last})
}

// crowdAddress6 is the same of IPv6.
func crowdAddress6(i int, last byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 6: byte(i >> 8), 7: byte(i), 15: last})
}

// giveIPv6 gives all uplinks the second family, and the LAN a network of its own that each of them masquerades.
func (c *crowd) giveIPv6(n int) {
	c.Helper()
	c.v6 = true
	for i := range n {
		gateway := crowdAddress6(i, 1)
		c.at(c.far, fmt.Sprintf("ip -6 addr add %s/64 dev p%d nodad", gateway, i))
		c.edit(func(text string) string {
			name := fmt.Sprintf("{name: u%d,", i)
			return strings.Replace(text, name, fmt.Sprintf("%s ipv6: {address: '%s/64', gateway: '%s'},", name, crowdAddress6(i, 5), gateway), 1)
		})
	}
	c.edit(func(text string) string {
		return text + "lan: [{interface: lan0, subnet: 1}]\nipv6: {lan_prefix: 'fd00:aaaa::/56'}\n"
	})
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
			if u := &s.Uplinks[i]; u.State != "up" || c.v6 && (u.IPv6 == nil || u.IPv6.State != "up") {
				return false
			}
		}
		if c.v6 && (s.DefaultRoute6 == nil || len(s.DefaultRoute6.NextHops) != len(s.Uplinks)) {
			return false
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
