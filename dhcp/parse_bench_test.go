package dhcp_test

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"uplinkd/dhcp"
)

// acknowledged is an acknowledgement as it comes from the wire.
func acknowledged(tb testing.TB) []byte {
	tb.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		tb.Fatal(err)
	}
	m := dhcp.NewMachine(func() uint32 { return 0x01020304 })
	m.Adapt(dhcp.Identity{MAC: hw}, true, dhcp.CheckNone)
	discover := m.Start(time.Unix(1_700_000_000, 0), true)[0].Message
	frame := dhcp.Wrap(ack(discover, "203.0.113.5", hour).ToBytes(), netip.MustParseAddr("203.0.113.1"))
	binary.BigEndian.PutUint16(frame[22:], 68) // the destination port: to a client
	return frame
}

// BenchmarkParse is an acknowledgement from the wire to a message: IP, UDP, and the options.
func BenchmarkParse(b *testing.B) {
	frame := acknowledged(b)
	b.ReportAllocs()
	for b.Loop() {
		payload, err := dhcp.Unwrap(frame)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := dhcpv4.FromBytes(payload); err != nil {
			b.Fatal(err)
		}
	}
}

// What is said on the wire is told apart from what is ours without a byte of memory.
func TestUnwrapAllocatesNothing(t *testing.T) {
	frame := acknowledged(t)
	if n := testing.AllocsPerRun(100, func() { _, _ = dhcp.Unwrap(frame) }); n > 0 {
		t.Errorf("%.0f allocations for a packet", n)
	}
}
