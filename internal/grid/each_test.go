package grid_test

import (
	"context"
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/internal/grid"
)

// Each keeps to the grid, whatever the calls take, and ends with its context.
func TestEach(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer cancel()
		time.Sleep(300 * time.Millisecond)
		var times []int64
		if err := grid.Each(ctx, time.Second, func() {
			times = append(times, time.Now().UnixMilli()%1000)
			time.Sleep(400 * time.Millisecond)
		}); err != nil {
			t.Error(err)
		}
		if len(times) != 4 {
			t.Errorf("called at %v past the second, want four calls", times)
		}
		for _, at := range times {
			if at != 0 {
				t.Errorf("called %d ms past the second", at)
			}
		}
	})
}
