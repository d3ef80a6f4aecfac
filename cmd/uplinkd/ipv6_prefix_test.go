package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// lanConnects6 makes a hundred connections of the LAN's host over IPv6, and returns how many failed and by
// which ISPs the others left.
func (b *bench) lanConnects6() (failed int, by map[int]int) {
	b.Helper()
	by = map[int]int{}
	b.inLAN(func() error {
		for n := range 100 {
			conn, err := net.DialTimeout("tcp6", fmt.Sprintf("[%s]:%d", lab.Somewhere6(n+1), lab.Port), 500*time.Millisecond)
			if err != nil {
				failed++
				b.Logf("connection %d: %v", n+1, err)
				continue
			}
			from, err := lab.ReadCaller(conn)
			_ = conn.Close()
			if isp := b.world.ISPOf(from); err == nil && isp != nil {
				by[isp.Number]++
			}
		}
		return nil
	})
	return failed, by
}

// What providers do with the prefix that they have delegated: it gets shorter or longer, another one or none
// comes, one is another ISP's. The LAN's hosts go out over both ISPs all the same, and nothing leaves by one
// with an address of the other (the bench counts it). With one prefix of two ISPs they did.
func TestIPv6PrefixTroubles(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.delegating(false)
	b.configure(b.dual(1, 1), "lan: [{interface: lan0, subnet: 1}]\n"+normalProbe)
	b.start()
	b.untilStates6(15*time.Second, "up", "up")
	b.untilPrefixes()
	b.lanClient()
	first, second := b.world.ISPs[0].Delegated6(), b.world.ISPs[1].Delegated6()
	lan := b.status().LAN[0].Prefix
	for _, tt := range []struct {
		name string
		isp  int
		lend netip.Prefix   // not valid: none
		want []netip.Prefix // that the uplink then has
	}{
		{"shrunk, the LAN's still in it", 0, netip.PrefixFrom(first.Addr(), 60), []netip.Prefix{netip.PrefixFrom(first.Addr(), 60)}},
		{"shrunk where it is translated to", 1, netip.PrefixFrom(second.Addr(), 60), []netip.Prefix{netip.PrefixFrom(second.Addr(), 60)}},
		{"grown again", 0, first, []netip.Prefix{first}},
		{"another where it is translated to", 1, b.world.ISPs[1].Other6(), []netip.Prefix{b.world.ISPs[1].Other6()}},
		{"that of the other ISP", 1, first, nil},
		{"none any more", 1, netip.Prefix{}, nil},
		{"back", 1, second, []netip.Prefix{second}},
	} {
		t.Run(name6(tt.name), func(t *testing.T) {
			b.world.ISPs[tt.isp].DHCP6.Seen()
			b.world.ISPs[tt.isp].DHCP6.Change(lab.Lend{Prefix: tt.lend, Preferred: lab.PreferredLifetime, Valid: lab.ValidLifetime})
			if out, err := b.run("renew", fmt.Sprint("isp", tt.isp+1), "-c", b.config); err != nil {
				t.Fatalf("renew: %v\n%s", err, out)
			}
			var have []netip.Prefix
			defer func() {
				if t.Failed() || b.Failed() {
					b.Logf("isp%d has the prefixes %v, want %v", tt.isp+1, have, tt.want)
				}
			}()
			b.until("the prefixes are known", 10*time.Second, func() bool {
				have = b.status().Uplinks[tt.isp].IPv6.Prefixes
				return len(tt.want) == 0 && len(have) == 0 || len(tt.want) > 0 && slices.Contains(have, tt.want[0])
			})
			if len(tt.want) == 0 { // which may have been so before
				b.until("the server was asked", 10*time.Second, func() bool { return len(b.world.ISPs[tt.isp].DHCP6.Seen()) > 0 })
			}
			b.until("in sync", 5*time.Second, func() bool { return b.status().Kernel.InSync })
			failed, by := b.lanConnects6()
			if failed > 0 || by[1] == 0 || by[2] == 0 {
				t.Errorf("%d of 100 connections failed, the others left by the ISPs %v", failed, by)
			}
			if now := b.status().LAN[0].Prefix; now != lan {
				t.Errorf("the LAN's network is %s, want %s as before", now, lan)
			}
			b.noneSpoofed(tt.name)
		})
	}
}
