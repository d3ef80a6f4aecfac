package flows_test

import (
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/routes/flows"
)

// What an interface says of itself: its carrier at once, and its counters.
func TestLinks(t *testing.T) {
	labtest.Need(t)
	host, err := lab.Host()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	if err := host.Wire("w0", host, "w1"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.DeleteLink("w0") })
	links, err := flows.OpenLinks()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(links.Close)
	w0, err := net.InterfaceByName("w0")
	if err != nil {
		t.Fatal(err)
	}
	// Whether IPv6 has sent anything on it by now is a matter of luck.
	sendFrame(t, w0.Index)
	before, err := links.Read(w0.Index, true)
	if err != nil || !before.Carrier {
		t.Fatalf("%+v, %v; want a carrier", before, err)
	}
	if err := host.SetLink("w1", false); err != nil {
		t.Fatal(err)
	}
	after, err := links.Read(w0.Index, true)
	if err != nil || after.Carrier || after.TxPackets < before.TxPackets {
		t.Errorf("%+v, %v; want none once the other end is down", after, err)
	}
	if _, err := links.Read(99999, true); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of an interface that is not there: %v", err)
	}
	if _, err := links.Read(99999, false); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of the counters of an interface that is not there: %v", err)
	}
	alone, err := links.Read(w0.Index, false)
	if err != nil || alone.Carrier || alone.TxPackets < after.TxPackets || alone.RxPackets < after.RxPackets || alone.TxPackets == 0 {
		t.Errorf("%+v, %v; want the counters alone, which were %+v", alone, err, after)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = links.Read(w0.Index, false) }); n > 3 {
		t.Errorf("%v allocations a reading", n)
	}
}

// sendFrame sends an Ethernet frame that nobody takes.
func sendFrame(t *testing.T, index int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	frame := make([]byte, 60)
	frame[12], frame[13] = 0x88, 0xb5 // for experiments (RFC 9542, section 3)
	if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkLinks(b *testing.B) {
	links, err := flows.OpenLinks()
	if err != nil {
		b.Fatal(err)
	}
	defer links.Close()
	for b.Loop() {
		if _, err := links.Read(1, true); err != nil {
			b.Fatal(err)
		}
	}
}
