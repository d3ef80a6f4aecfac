package sock_test

import (
	"testing"

	"uplinkd/internal/sock"
)

// The example of RFC 1071 section 3, whole, split, and with an odd byte.
func TestSum(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := sock.Sum(b, 0); got != 0xddf2 {
		t.Errorf("sum %#x, want 0xddf2", got)
	}
	if got := sock.Sum(b[4:], uint32(sock.Sum(b[:4], 0))); got != 0xddf2 {
		t.Errorf("sum in two parts %#x, want 0xddf2", got)
	}
	if got, want := sock.Sum(b[:7], 0), sock.Sum([]byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0x00}, 0); got != want {
		t.Errorf("sum of seven bytes %#x, want %#x", got, want)
	}
}
