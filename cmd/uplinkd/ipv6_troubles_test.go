package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// address6 returns the address of an uplink in IPv6 that new connections take.
func (b *bench) address6(i int) netip.Prefix {
	b.Helper()
	list := b.status().Uplinks[i].IPv6.Addresses
	if len(list) == 0 {
		b.Fatalf("uplink %d has no IPv6 address", i+1)
	}
	return list[0]
}

// connects6 makes a connection over IPv6 every 5 ms for a time, or as soon as the last one has ended, and
// returns how many failed of how many. One that fails at once is followed by the same pause: else the same few
// milliseconds count as often as the loop turns in them.
func (b *bench) connects6(length time.Duration) (failed, all int) {
	b.Helper()
	began := time.Now()
	for ; time.Since(began) < length; time.Sleep(5 * time.Millisecond) {
		all++
		at := time.Since(began)
		conn, err := net.DialTimeout("tcp6", fmt.Sprintf("[%s]:%d", lab.Somewhere6(all), lab.Port), 500*time.Millisecond)
		if err != nil {
			failed++
			b.Logf("connection %d, %v after it began: %v", all, at.Round(100*time.Microsecond), err)
			continue
		}
		_ = conn.Close()
	}
	return failed, all
}

// What befalls the address of one uplink, or its router, ends nothing over the other, and nothing leaves
// by one with the address of the other (the bench counts it).
func TestIPv6Troubles(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.routers()
	b.configure(b.dual(2, 1), normalProbe)
	b.start()
	b.untilStates6(10*time.Second, "up", "up")
	sh := func(format string, args ...any) func() {
		return func() { b.kernel(fmt.Sprintf(format, args...)) }
	}
	router := b.world.ISPs[0].Router
	advert := func(f func(*ndp.RouterAdvertisement)) func() { return func() { b.ok(router.Change(f)) } }
	own := b.address6(0)
	for _, tt := range []struct {
		name     string
		do, undo func()
		during   string // the state of the uplink some time after
		failing  int    // connections that may fail
	}{
		{"deprecated by hand", sh("ip addr change %s dev eth1 preferred_lft 0", own), func() {}, "", 0},
		// Until the kernel has told us, a connection finds no address where it is led to.
		{"taken away", sh("ip addr del %s dev eth1", own), func() {}, "", 2},
		{"flushed", sh("ip -6 addr flush dev eth1 scope global"), func() {}, "", 2},
		{"set down and up", sh("ip link set eth1 down; ip link set eth1 up"), func() {}, "", 2},
		{"MTU below IPv6's", sh("ip link set eth1 mtu 1279"), sh("ip link set eth1 mtu 1500"), "down", 2},
		{"a foreign sibling", sh("ip -6 route append default via fe80::99 dev lan0 metric 1"), func() {}, "", 2},
		{"a foreign default in our place", sh("ip -6 route replace default via fe80::1 dev eth2 metric 1"), sh("ip -6 route del default via fe80::1 dev eth2 metric 1 || true"), "", 0},
		{
			"withdrawn", advert(func(a *ndp.RouterAdvertisement) { a.RouterLifetime = 0 }),
			advert(func(a *ndp.RouterAdvertisement) { a.RouterLifetime = lab.RouterLifetime }), "down", 0,
		},
		{
			"deprecated by the router", advert(func(a *ndp.RouterAdvertisement) {
				a.Options = []ndp.Option{lab.PrefixOption(b.world.ISPs[0].Link6(), 0, lab.ValidLifetime)}
			}),
			advert(func(a *ndp.RouterAdvertisement) {
				a.Options = []ndp.Option{lab.PrefixOption(b.world.ISPs[0].Link6(), lab.PreferredLifetime, lab.ValidLifetime)}
			}), "doubtful", 0,
		},
		{"forwarding on", sh("sysctl -qw net.ipv6.conf.all.forwarding=1"), sh("sysctl -qw net.ipv6.conf.all.forwarding=0"), "up", 0},
	} {
		t.Run(name6(tt.name), func(t *testing.T) {
			began := time.Now()
			tt.do()
			failed, all := b.connects6(2 * time.Second)
			t.Logf("%d of %d connections failed", failed, all)
			if failed > tt.failing {
				t.Errorf("%d of %d connections failed, want %d at most", failed, all, tt.failing)
			}
			if all < 50 {
				t.Errorf("only %d connections in 2 s", all)
			}
			if tt.during != "" {
				b.untilStates6(3*time.Second, tt.during, "up")
			}
			tt.undo()
			b.untilStates6(20*time.Second, "up", "up")
			t.Logf("well again %v after it began", time.Since(began).Round(10*time.Millisecond))
			for _, isp := range b.world.ISPs {
				if n, err := isp.Spoofed(); err != nil || n > 0 {
					t.Errorf("ISP %d has dropped %d packets with an address that is not its own (%v)", isp.Number, n, err)
				}
			}
		})
	}
}

func name6(s string) string { return strings.ReplaceAll(s, " ", "_") }
