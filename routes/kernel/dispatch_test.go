package kernel_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
	"uplinkd/routes/firewall"
)

// dispatching is a Firewall with policies that tables tell apart, by each key.
func dispatching() firewall.Table {
	f := everything()
	f.Policies = nil
	for n, m := range []firewall.Match{
		{In: []string{"tun22*"}},
		{In: []string{"tun3"}},
		{In: []string{"a", "b", "cc*"}},
		{In: []string{"a", "d"}},
		{MAC: []net.HardwareAddr{{2, 0, 0, 0, 0, 1}}},
		{MAC: []net.HardwareAddr{{2, 0, 0, 0, 0, 2}, {2, 0, 0, 0, 0, 3}}},
		{DPort: []firewall.PortRange{{First: 25, Last: 25}, {First: 65000, Last: 65535}}},
		{DPort: []firewall.PortRange{{First: 26, Last: 30}}, Protocol: []uint8{17}},
		{DPort: []firewall.PortRange{{First: 28, Last: 4100}}},
		{DPort: []firewall.PortRange{{First: 65100, Last: 65535}}},
		{To: prefixes("192.0.2.0/24", "255.0.0.0/8")},
		{To: prefixes("192.0.2.128/25")},
		{From: prefixes("198.51.100.0/24")},
		{From: prefixes("198.51.100.0/25")},
		{From: prefixes("198.51.101.0/25")},
		{In: []string{"tun2*"}},
		{In: []string{"tun2"}}, // which lie within each other
	} {
		f.Policies = append(f.Policies, firewall.Policy{Name: fmt.Sprint("p", n), Mark: 0x97, Match: m})
	}
	return f
}

// Many policies are asked by tables, and nft lists these as they are.
func TestDispatch(t *testing.T) {
	labtest.Need(t)
	labtest.NeedRoot(t, "nft")
	k := openKernel(t)
	t.Cleanup(func() { do(t, k, []routes.Op{routes.DeleteFirewall{Table: "uplinkd"}}) })
	f := dispatching()
	putFirewall(t, k, f)
	text := strings.Join(strings.Fields(nft(t, "-n", "list", "table", "inet", "uplinkd")), " ")
	for _, want := range []string{
		`jump dispatch.p0`, `th dport vmap {`, `ether saddr`, `"tun22*" : goto`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s", want)
		}
	}
}

// The kernel comes to the same: packets of this host to itself are counted by the first policy of many that they are
// meant by.
func TestDispatchInTheKernel(t *testing.T) {
	labtest.Need(t)
	labtest.NeedRoot(t, "nft")
	k := openKernel(t)
	t.Cleanup(func() { do(t, k, []routes.Op{routes.DeleteFirewall{Table: "uplinkd"}}) })
	nft(t, "list", "tables")
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	draw := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		return netip.AddrFrom4([4]byte{127, byte(draw.IntN(3)), byte(draw.IntN(3)), byte(1 + draw.IntN(3))})
	}
	f := everything()
	f.Policies = nil
	var texts [][2]netip.Prefix
	for n := range 90 {
		to := netip.PrefixFrom(address(), 14+draw.IntN(19)).Masked()
		from := netip.PrefixFrom(address(), 14+draw.IntN(19)).Masked()
		var m firewall.Match
		first := uint16(20_000 + draw.IntN(40))
		switch draw.IntN(5) {
		case 0:
			m.From, to = prefixes(from.String()), netip.Prefix{}
		case 1:
			m.To, from = prefixes(to.String()), netip.Prefix{}
		case 2:
			m.To, m.From = prefixes(to.String()), prefixes(from.String())
		default:
			m.DPort = []firewall.PortRange{{First: first, Last: first + uint16(draw.IntN(3))}}
			from, to = netip.Prefix{}, netip.Prefix{}
		}
		texts = append(texts, [2]netip.Prefix{from, to})
		f.Policies = append(f.Policies, firewall.Policy{Name: fmt.Sprint("p", n), Mark: 0x97, Match: m})
	}
	putFirewall(t, k, f)
	want := map[string]int{}
	for range 2000 {
		from, to, port := address(), address(), uint16(19_990+draw.IntN(60))
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: from.AsSlice()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.WriteToUDPAddrPort([]byte{1}, netip.AddrPortFrom(to, port)); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		for n, p := range f.Policies {
			in := func(prefix netip.Prefix, a netip.Addr) bool { return !prefix.IsValid() || prefix.Contains(a) }
			ports := p.Match.DPort
			if in(texts[n][0], from) && in(texts[n][1], to) && (len(ports) == 0 || ports[0].First <= port && port <= ports[0].Last) {
				want[p.Name]++
				break
			}
		}
	}
	counted := 0
	for _, p := range f.Policies {
		text := nft(t, "list", "counter", "inet", "uplinkd", p.Counter())
		var got int
		_, after, _ := strings.Cut(text, "packets ")
		_, _ = fmt.Sscan(after, &got)
		// Each is asked when it is sent, and when it comes in.
		if got != 2*want[p.Name] {
			t.Errorf("%s %v counts %d packets, want %d", p.Name, p.Match, got, 2*want[p.Name])
		}
		counted += got
	}
	if counted < 2000 {
		t.Errorf("%d packets were counted: this says little", counted)
	}
}
