package grid_test

import (
	"testing"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/internal/grid"
)

func TestUntil(t *testing.T) {
	for at, want := range map[time.Duration]time.Duration{
		0: time.Second, time.Nanosecond: time.Second - 1, 999 * time.Millisecond: time.Millisecond, -time.Millisecond: time.Millisecond,
	} {
		if got := grid.Until(time.Unix(0, int64(at)), time.Second); got != want {
			t.Errorf("at %v: %v, want %v", at, got, want)
		}
	}
}

// Tickers that begin at different times fire at the same ones.
func TestTickersFallTogether(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a := grid.NewTicker(500 * time.Millisecond)
		time.Sleep(130 * time.Millisecond)
		b := grid.NewTicker(time.Second)
		<-a.C
		a.Again()
		first := <-b.C
		if at := <-a.C; !at.Equal(first) {
			t.Errorf("one fires at %v, the other at %v", at, first)
		}
	})
}
