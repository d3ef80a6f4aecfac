package kernel

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// message is a netlink message about a neighbour.
func message(kind, state uint16, index uint32, address netip.Addr) []byte {
	b := native.AppendUint32(nil, 16+neighbourHeader+4+4)
	b = native.AppendUint16(b, kind)
	b = append(b, make([]byte, 10)...)
	b = append(b, unix.AF_INET, 0, 0, 0)
	b = native.AppendUint32(b, index)
	b = native.AppendUint16(b, state)
	b = append(b, 0, 0)
	b = native.AppendUint16(b, 8)
	b = native.AppendUint16(b, neighbourDst)
	a := address.As4()
	return append(b, a[:]...)
}

// One that fails is noted; one that is deleted right after, or answers again, is not.
func TestSift(t *testing.T) {
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")
	var all []byte
	for _, m := range [][]byte{
		message(unix.RTM_NEWNEIGH, unix.NUD_FAILED, 2, a), message(unix.RTM_NEWNEIGH, unix.NUD_FAILED, 2, b),
		message(unix.RTM_DELNEIGH, unix.NUD_FAILED, 2, b), message(unix.RTM_NEWNEIGH, unix.NUD_REACHABLE, 2, c),
		message(unix.RTM_NEWNEIGH, unix.NUD_FAILED, 3, c), message(unix.RTM_NEWNEIGH, unix.NUD_REACHABLE, 3, c),
	} {
		all = append(all, m...)
	}
	gone := map[neighbour]bool{}
	sift(all, gone)
	if len(gone) != 1 || !gone[neighbour{2, a}] {
		t.Errorf("noted %v, want %s on 2 alone", gone, a)
	}
}

func FuzzSift(f *testing.F) {
	f.Add(message(unix.RTM_NEWNEIGH, unix.NUD_FAILED, 2, netip.MustParseAddr("192.0.2.1")))
	f.Fuzz(func(_ *testing.T, b []byte) {
		sift(b, map[neighbour]bool{})
	})
}
