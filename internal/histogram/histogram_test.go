package histogram_test

import (
	"math"
	"testing"
	"time"

	"uplinkd/internal/histogram"
)

// Every duration is in the bucket whose bounds hold it, and those beyond all bounds in the outermost.
func TestBuckets(t *testing.T) {
	for _, length := range []time.Duration{
		20 * time.Microsecond, time.Millisecond, 12345 * time.Microsecond, time.Second, 1001 * time.Millisecond, 90 * time.Second,
	} {
		var d histogram.Durations
		d.Add(length)
		r := d.Read()
		if r.Count != 1 || r.Sum != length || len(r.Buckets) != 1 {
			t.Fatalf("%v: %+v", length, r)
		}
		for i := range r.Buckets {
			low, high := math.Exp2(float64(i-1)/4), math.Exp2(float64(i)/4)
			if s := length.Seconds(); s <= low*(1-1e-12) || s > high*(1+1e-12) {
				t.Errorf("%v is in the bucket from %v to %v s", length, low, high)
			}
		}
	}
	var d histogram.Durations
	for _, length := range []time.Duration{-time.Second, 0, time.Nanosecond, time.Hour, math.MaxInt64 / 8} {
		d.Add(length)
	}
	if r := d.Read(); r.Count != 5 || len(r.Buckets) != 2 || r.Buckets[-64] != 3 || r.Buckets[32] != 2 {
		t.Errorf("%+v", r)
	}
	if r := (*histogram.Durations)(nil).Read(); r.Count != 0 {
		t.Errorf("of none: %+v", r)
	}
}

func BenchmarkAdd(b *testing.B) {
	var d histogram.Durations
	b.ReportAllocs()
	for b.Loop() {
		d.Add(12345 * time.Microsecond)
	}
}
