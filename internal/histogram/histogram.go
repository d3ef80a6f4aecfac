// Package histogram counts durations in buckets that grow by a constant factor: memory of a fixed size, no
// allocation, and readers that nobody waits for.
package histogram

import (
	"math"
	"sync/atomic"
	"time"
)

// Schema is the resolution: each bound is 2^(2^-Schema) times the one before, as native histograms of
// Prometheus have it.
const Schema = 2

const (
	perOctave = 1 << Schema
	lowest    = -16 * perOctave // index of the first bucket: up to 15 µs, and all that is less
	highest   = 8 * perOctave   // of the last: up to 256 s, and all that is more
)

// A Durations counts durations. Its zero value is empty. One goroutine may add at a time; any may read.
type Durations struct {
	sum     atomic.Int64 // nanoseconds
	buckets [highest - lowest + 1]atomic.Uint64
}

// Add counts a duration.
func (d *Durations) Add(length time.Duration) {
	d.sum.Add(int64(length))
	d.buckets[index(length)-lowest].Add(1)
}

// index returns the index of a duration's bucket, whose bounds are 2^((index-1)/4) and 2^(index/4) seconds,
// the upper one included.
func index(length time.Duration) int {
	if length <= 0 {
		return lowest
	}
	return min(max(int(math.Ceil(math.Log2(length.Seconds())*perOctave)), lowest), highest)
}

// A Reading is what a Durations held at a moment.
type Reading struct {
	Count   uint64
	Sum     time.Duration
	Buckets map[int]int64 // by index, those that are not empty
}

// Read returns what has been counted; nothing of a nil Durations. It allocates.
func (d *Durations) Read() Reading {
	r := Reading{Buckets: map[int]int64{}}
	if d == nil {
		return r
	}
	r.Sum = time.Duration(d.sum.Load())
	for i := range d.buckets {
		if n := d.buckets[i].Load(); n > 0 {
			r.Buckets[i+lowest] = int64(n)
			r.Count += n
		}
	}
	return r
}
