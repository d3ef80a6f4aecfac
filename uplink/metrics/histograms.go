package metrics

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"uplinkd/internal/histogram"
)

// zeroThreshold is below what a native histogram takes an observation for zero, in seconds. None of ours is.
const zeroThreshold = 1e-128

// native hands on a histogram with all the resolution it has. Who scrapes must ask for that (in Prometheus,
// native histograms); others see its count and sum alone.
func (w writer) native(d *prometheus.Desc, of *histogram.Durations, created time.Time, labels ...string) {
	r := of.Read()
	if r.Count == 0 {
		return
	}
	w <- prometheus.MustNewConstNativeHistogram(d, r.Count, r.Sum.Seconds(), r.Buckets, nil, 0,
		histogram.Schema, zeroThreshold, created, labels...)
}

// bounds are those of the buckets that everybody can read, in seconds. Each is one of a Durations too.
var bounds = func() (list []float64) {
	for power := -13; power <= 5; power++ { // from 0.12 ms to 32 s
		list = append(list, math.Exp2(float64(power)))
	}
	return list
}()

// classic hands on a histogram with a bucket for each factor of two.
func (w writer) classic(d *prometheus.Desc, of *histogram.Durations, labels ...string) {
	r := of.Read()
	buckets := make(map[float64]uint64, len(bounds))
	for i, n := range r.Buckets {
		upper := math.Exp2(float64(i) / (1 << histogram.Schema))
		for _, bound := range bounds {
			if upper <= bound {
				buckets[bound] += uint64(n)
			}
		}
	}
	for _, bound := range bounds {
		buckets[bound] += 0 // also those that are empty
	}
	w <- prometheus.MustNewConstHistogram(d, r.Count, r.Sum.Seconds(), buckets, labels...)
}
