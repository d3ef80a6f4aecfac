package bubble_test

import (
	"runtime"
	"sync"
	"testing"
	"time"

	"uplinkd/internal/bubble"
)

// A run of CI ended with "ThreadSanitizer: CHECK failed" in the tests of uplink/engine, and
// so does this one without the package: a timer that nobody waits for runs in the goroutine
// that asks for it, and those of the other goroutines' sleep in the bubble's, at the same instant.
func TestTimersOfTwoThreads(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	for range 100 {
		bubble.Test(t, func(*testing.T) {
			var others sync.WaitGroup
			for range 16 {
				others.Go(func() {
					for range 200 {
						nobodyWaits := time.NewTimer(time.Millisecond)
						time.Sleep(time.Millisecond)
						<-nobodyWaits.C
					}
				})
			}
			others.Wait()
		})
	}
	if now := runtime.GOMAXPROCS(0); now != before {
		t.Errorf("%d processors afterwards, %d before", now, before)
	}
}
