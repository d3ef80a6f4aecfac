package probe_test

import (
	"net/netip"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/probe"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// room returns a lab with static addresses on the host's uplinks, and the spec
// of a probe of the first ISP's gateway.
func room(tb testing.TB) (*lab.World, probe.Spec) {
	tb.Helper()
	labtest.Need(tb)
	world, err := lab.NewWorld(2)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(world.Close)
	for _, isp := range world.ISPs {
		if err := world.Host().Address(isp.Interface, isp.Static); err != nil {
			tb.Fatal(err)
		}
	}
	index, err := world.Host().Index("eth1")
	if err != nil {
		tb.Fatal(err)
	}
	isp := world.ISPs[0]
	return world, probe.Spec{
		Interface: "eth1", Index: index, Source: isp.Static.Addr(), Mark: 1,
		Targets: []probe.Target{{Name: "gateway", IP: isp.Gateway}}, Pace: fast,
	}
}

// ask sends one probe and returns whether an answer came in time.
func ask(t *testing.T, conn probe.Conn, seq uint16) (probe.Answer, bool) {
	t.Helper()
	if err := conn.Send(0, seq); err != nil {
		t.Fatal(err)
	}
	answers := make(chan probe.Answer, 1)
	go func() {
		if a, err := conn.Receive(); err == nil {
			answers <- a
		}
	}()
	select {
	case a := <-answers:
		return a, true
	case <-time.After(200 * time.Millisecond):
		return probe.Answer{}, false
	}
}

func TestICMPAnswer(t *testing.T) {
	_, spec := room(t)
	conn, err := probe.OpenICMP(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a, ok := ask(t, conn, 65535)
	if !ok || a.Seq != 65535 || a.Target != 0 || a.RTT <= 0 || a.RTT > 100*time.Millisecond {
		t.Errorf("got %+v, %v; want the answer to 65535", a, ok)
	}
}

// A reply that comes in by another uplink is no proof for this one: here the
// request leaves by eth1 and the reply is sent back over eth2.
func TestReplyByAnotherUplinkDoesNotCount(t *testing.T) {
	world, spec := room(t)
	// The probe asks the internet through ISP 1, and that answers through ISP 2,
	// which has a route to the host's address.
	far := lab.Somewhere(53)
	spec.Targets = []probe.Target{{Name: far.String(), IP: far}}
	isp1, isp2 := world.ISPs[0], world.ISPs[1]
	host := netip.PrefixFrom(isp1.Static.Addr(), 32)
	for _, err := range []error{
		world.Host().Sysctl("net/ipv4/conf/eth2/rp_filter", "0"), world.Host().Sysctl("net/ipv4/conf/all/rp_filter", "0"),
		world.Host().Route(netip.PrefixFrom(far, 32), isp1.Gateway, "eth1"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	conn, err := probe.OpenICMP(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, ok := ask(t, conn, 1); !ok {
		t.Fatal("no answer on the straight path: the test would prove nothing")
	}
	if err := world.Internet.Route(host, netip.AddrFrom4([4]byte{172, 31, 2, 1}), "isp2"); err != nil {
		t.Fatal(err)
	}
	if err := isp2.Namespace().Route(host, isp2.Static.Addr(), "cust"); err != nil {
		t.Fatal(err)
	}
	before := received(t)
	if _, ok := ask(t, conn, 2); ok {
		t.Error("a reply that came in by eth2 counted for eth1")
	}
	if after := received(t); after == before {
		t.Error("nothing came in by eth2: the test proves nothing")
	}
}

// received returns how many packets have come in by the second uplink.
func received(t *testing.T) string {
	t.Helper()
	host, err := lab.Host()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	n, err := host.Received("eth2")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The interface goes: Receive ends, or sending fails; nothing hangs.
func TestInterfaceGoes(t *testing.T) {
	world, spec := room(t)
	conn, err := probe.OpenICMP(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := world.ISPs[0].Detach(); err != nil {
		t.Fatal(err)
	}
	if err := conn.Send(0, 1); err == nil {
		t.Error("sent by an interface that is gone")
	}
	if _, err := probe.OpenICMP(spec); err == nil {
		t.Error("opened on an interface that is gone")
	}
}

// What arrives costs nothing it need not: no allocation a probe.
func TestICMPDoesNotAllocate(t *testing.T) {
	_, spec := room(t)
	conn, err := probe.OpenICMP(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seq := uint16(0)
	if n := testing.AllocsPerRun(500, func() {
		seq++
		if err := conn.Send(0, seq); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Receive(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a probe, want 0", n)
	}
}

func BenchmarkICMPProbe(b *testing.B) {
	_, spec := room(b)
	conn, err := probe.OpenICMP(spec)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.ReportAllocs()
	for seq := uint16(0); b.Loop(); seq++ {
		if err := conn.Send(0, seq); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Receive(); err != nil {
			b.Fatal(err)
		}
	}
}
