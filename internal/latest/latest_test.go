package latest_test

import (
	"sync"
	"testing"

	"uplinkd/internal/latest"
)

func TestBoxKeepsTheNewest(t *testing.T) {
	box := latest.New[int]()
	if _, full := box.Take(); full {
		t.Error("a new box is full")
	}
	box.Put(1)
	box.Put(2)
	<-box.Ready()
	if value, full := box.Take(); value != 2 || !full {
		t.Errorf("took %d, %v, want the newest", value, full)
	}
	select {
	case <-box.Ready():
		t.Error("two puts woke up twice though nobody had looked between them")
	default:
	}
	if _, full := box.Take(); full {
		t.Error("a value was taken twice")
	}
}

// No Put is lost: after the last one its value is what is taken last.
func TestBoxUnderLoad(t *testing.T) {
	const last = 10_000
	box := latest.New[int]()
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; n <= last; n++ {
			box.Put(n)
		}
	})
	for seen := 0; seen != last; {
		<-box.Ready()
		value, full := box.Take()
		if full && value <= seen {
			t.Fatalf("%d after %d", value, seen)
		}
		if full {
			seen = value
		}
	}
	writer.Wait()
}

func TestWakeIsOne(t *testing.T) {
	wake := latest.NewWake()
	for range 10 {
		wake.Set()
	}
	<-wake
	select {
	case <-wake:
		t.Error("ten wake-ups were two")
	default:
	}
}
