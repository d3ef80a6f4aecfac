package flows

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseTraffic(t *testing.T) {
	text := "Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n" +
		"    lo:     100       1    0    0    0     0          0         0      200       1    0    0\n" +
		"eth1.5:18446744073709551615 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n"
	got, err := parseTraffic([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Traffic{"lo": {100, 200}, "eth1.5": {18446744073709551615, 7}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := parseTraffic([]byte("eth1: many 1 0 0 0 0 0 0 7 1\n")); err == nil {
		t.Error("a word was read as a counter")
	}
}

// Whatever the kernel, or something that took its place, may say.
func FuzzFlow(f *testing.F) {
	f.Add([]byte{8, 0, 1, 128, 4, 0, 1, 0})
	f.Fuzz(func(_ *testing.T, b []byte) {
		alive(b)
		answersTo(b)
		_, _, _ = unanswered(b)
		nameOf(unix.AF_INET, b)
	})
}
