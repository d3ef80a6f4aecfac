package flows

import (
	"testing"

	"golang.org/x/sys/unix"
)

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
