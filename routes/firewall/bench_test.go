package firewall

import (
	"fmt"
	"net/netip"
	"testing"
)

// busy is a table of three uplinks and so many policies, of four kinds.
func busy(policies int) Table {
	t := Table{Name: "uplinkd", Mask: 0xff, Marks: true, Policies: mixed(policies)}
	for n := range 3 {
		t.Uplinks = append(t.Uplinks, Uplink{
			Name: fmt.Sprint("isp", n), Interface: fmt.Sprint("eth", n), Mark: uint32(n + 1), Masquerade: true,
		})
	}
	return t
}

// mixed returns policies by ports, prefixes, interfaces and Ethernet addresses.
func mixed(n int) []Policy {
	var list []Policy
	for n := range n {
		p := Policy{Name: fmt.Sprint("p", n), Mark: 1}
		switch n % 4 {
		case 0:
			p.Match.DPort = []PortRange{{First: uint16(10_000 + 10*n), Last: uint16(10_005 + 10*n)}}
		case 1:
			p.Match.To = NewPrefixes([]netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), 32)})
		case 2:
			p.Match.In = []string{fmt.Sprint("vlan", n)}
		case 3:
			p.Match.MAC = append(p.Match.MAC, []byte{2, 0, 0, 0, 0, byte(n)})
		}
		list = append(list, p)
	}
	return list
}

// BenchmarkText is the table as text, by which it is known whether the kernel's is the one that is wanted.
func BenchmarkText(b *testing.B) {
	for _, n := range []int{0, 10, 200} {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			t := busy(n)
			b.ReportAllocs()
			for b.Loop() {
				_ = t.Version()
			}
		})
	}
}
