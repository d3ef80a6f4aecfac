package probe

import (
	"testing"
	"time"
)

// One answer that is unlike the others does not make the average: the first was a third of it after ten (found by a
// failing TestPolicySLA).
func TestOneAnswerIsOdd(t *testing.T) {
	const usual, odd = 20 * time.Millisecond, 500 * time.Millisecond
	for at := range 10 {
		var r rtt
		for n := range 10 {
			sample := usual
			if n == at {
				sample = odd
			}
			if r.add(sample); n == 0 && r.smoothed != sample {
				t.Errorf("after one answer of %s the average is %s", sample, r.smoothed)
			}
		}
		most := usual + (odd-usual)/8
		if at < 2 { // ARP, or a modem that sleeps
			most = usual
		}
		if r.smoothed > most {
			t.Errorf("answer %d is unlike the others: an average of %s, want %s at most", at+1, r.smoothed, most)
		}
	}
}

// How much answers vary is never taken for granted; how late they may be is, from the first on.
func TestJitterIsMeasured(t *testing.T) {
	var r rtt
	for n := range 6 {
		r.add(90 * time.Millisecond)
		if r.variation == 0 {
			t.Errorf("after %d answers the next may not be late at all", n+1)
		}
	}
	if r.jitter != 0 {
		t.Errorf("of answers that do not vary: a jitter of %s", r.jitter)
	}
	for n := range 40 {
		r.add(time.Duration(90+n%2*20) * time.Millisecond)
	}
	if r.jitter < 9*time.Millisecond || r.jitter > 12*time.Millisecond {
		t.Errorf("of answers that are 90 and 110 ms in turn: a jitter of %s, want 10", r.jitter)
	}
}
