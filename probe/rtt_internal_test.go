package probe

import (
	"testing"
	"time"
)

// The first answer counts while it is the only one, and each of the next as much as the others: the first was a third
// of the average after ten (found by a failing TestPolicySLA).
func TestFirstAnswer(t *testing.T) {
	const usual, odd = 20 * time.Millisecond, 500 * time.Millisecond
	for at := range 9 {
		var r rtt
		for n := range 9 {
			sample := usual
			if n == at {
				sample = odd
			}
			if r.add(sample); n == 0 && r.smoothed != sample {
				t.Errorf("after one answer of %s the average is %s", sample, r.smoothed)
			}
		}
		want := usual + (odd-usual)/8
		if at == 0 {
			want = usual
		}
		if (r.smoothed - want).Abs() > time.Microsecond {
			t.Errorf("answer %d is unlike the others: an average of %s, want %s", at+1, r.smoothed, want)
		}
	}
}

// How much answers vary is known when enough of them were compared, and never taken for granted; how late they may be
// is, from the first on.
func TestJitterIsMeasured(t *testing.T) {
	var r rtt
	for n := range 6 {
		if r.steady() {
			t.Errorf("the jitter is known of %d answers", n)
		}
		r.add(90 * time.Millisecond)
		if r.variation == 0 {
			t.Errorf("after %d answers the next may not be late at all", n+1)
		}
	}
	if !r.steady() || r.jitter != 0 {
		t.Errorf("of answers that do not vary: a jitter of %s, known: %v; want 0, true", r.jitter, r.steady())
	}
	for n := range 40 {
		r.add(time.Duration(90+n%2*20) * time.Millisecond)
	}
	if r.jitter < 9*time.Millisecond || r.jitter > 12*time.Millisecond {
		t.Errorf("of answers that are 90 and 110 ms in turn: a jitter of %s, want 10", r.jitter)
	}
}
