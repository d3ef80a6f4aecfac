// Package bubble runs tests in the fake time of testing/synctest, where the race detector survives it.
package bubble

import (
	"runtime"
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test]. Under the race detector the whole program has one processor
// while f runs, and what it had before once f has ended: all timers of a bubble share one
// context of the detector, and two threads that run two of them at the same instant break
// it (https://go.dev/issue/78156, Go 1.26: "CHECK failed: slot_locked" or SIGSEGV).
//
// Test must not be called by two tests at the same time.
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceDetector {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	synctest.Test(t, f)
}
