package dhcp_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"

	"uplinkd/dhcp"
	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// floodTo names, in the environment, whom this program is to flood instead of
// running tests: a process of its own, so that its cost does not count.
const floodTo = "UPLINKD_FLOOD_TO"

func TestMain(m *testing.M) {
	if to := os.Getenv(floodTo); to != "" {
		flood(to)
	}
	labtest.Main(m)
}

const floodRate = 50_000 // packets a second

// flood sends small UDP packets until it is killed.
func flood(to string) {
	conn, err := net.Dial("udp4", to)
	if err != nil {
		os.Exit(1)
	}
	start := time.Now()
	for sent := 0; ; {
		for due := int(time.Since(start).Seconds() * floodRate); sent < due; sent++ {
			_, _ = conn.Write([]byte("flood")) // refused, now and then
		}
		time.Sleep(time.Millisecond)
	}
}

// startFlood floods the host's port 9, which nobody holds, and returns what ends it.
func startFlood(t *testing.T, isp *lab.ISP) (stop func()) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), floodTo+"="+netip.AddrPortFrom(isp.Static.Addr(), 9).String())
	if err := isp.Namespace().Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// received returns how many packets have come in by the host's interface.
func received(t *testing.T, world *lab.World) float64 {
	t.Helper()
	text, err := world.Host().Received("eth1")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// cpu returns the processor time of this process.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Error(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// On a link with 50,000 packets a second of other traffic the client costs next
// to nothing, and hears what is meant for it all the same. Without the filter
// the same packets cost a good part of a core.
func TestBusyLinkCostsNothing(t *testing.T) {
	labtest.Need(t)
	world, err := lab.NewWorld(1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(world.Close)
	isp := world.ISPs[0]
	if err := world.Host().Address(isp.Interface, isp.Static); err != nil {
		t.Fatal(err)
	}
	if err := isp.StartDHCP(time.Hour); err != nil {
		t.Fatal(err)
	}
	link, err := net.InterfaceByName(isp.Interface)
	if err != nil {
		t.Fatal(err)
	}
	spec := dhcp.Spec{Interface: link.Name, Index: link.Index, MAC: link.HardwareAddr.String(), Carrier: true}
	measure := func(during func()) (share float64, rate float64) {
		stop := startFlood(t, isp)
		defer stop()
		time.Sleep(200 * time.Millisecond)
		begun, start, before := cpu(t), time.Now(), received(t, world)
		during()
		span := time.Since(start).Seconds()
		return 100 * (cpu(t) - begun).Seconds() / span, (received(t, world) - before) / span
	}

	conn, err := dhcp.Open(spec)
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan *dhcpv4.DHCPv4, 8)
	var reader sync.WaitGroup
	reader.Go(func() {
		buffer := make([]byte, 1500)
		for {
			n, err := conn.Receive(buffer)
			if err != nil {
				return
			}
			if m, err := dhcpv4.FromBytes(buffer[:n]); err == nil {
				heard <- m
			}
		}
	})
	answered := false
	filtered, rate := measure(func() {
		time.Sleep(time.Second)
		m, err := dhcpv4.NewDiscovery(link.HardwareAddr)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Broadcast(m.ToBytes(), netip.Addr{}); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-heard:
			answered = r.TransactionID == m.TransactionID
		case <-time.After(time.Second):
		}
		time.Sleep(time.Second)
	})
	_ = conn.Close()
	reader.Wait()

	all, err := packet.Listen(link, packet.Datagram, unix.ETH_P_IP, nil)
	if err != nil {
		t.Fatal(err)
	}
	reader.Go(func() {
		buffer := make([]byte, 1560)
		for {
			if _, _, err := all.ReadFrom(buffer); err != nil {
				return
			}
		}
	})
	unfiltered, rateAll := measure(func() { time.Sleep(2 * time.Second) })
	_ = all.Close()
	reader.Wait()

	t.Logf("beside %.0f packets a second %.2f%% of a core; without the filter, beside %.0f, %.1f%%",
		rate, filtered, rateAll, unfiltered)
	if !answered {
		t.Error("the server's answer was not heard")
	}
	if filtered > 3 || filtered > unfiltered/3 {
		t.Errorf("%.1f%% of a core with the filter, %.1f%% without", filtered, unfiltered)
	}
}
