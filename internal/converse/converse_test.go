package converse_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"uplinkd/internal/bubble"
	"uplinkd/internal/converse"
	"uplinkd/internal/latest"
)

// A wish opens a connection, what its reader hands on comes to the owner, a timer wakes it, and when the context ends
// the reader has ended before Run returns.
func TestRun(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var seen []string
		conn, isOpen, ended := make(chan string), false, false
		var wake time.Time
		client := converse.Client[string, string]{
			Wanted:  latest.New[string](),
			Adopt:   func(w string) { seen = append(seen, "wish "+w) },
			Receive: func(r string) { seen = append(seen, "heard "+r); wake = time.Now().Add(time.Minute) },
			Tick:    func() { seen = append(seen, "tick"); wake = time.Time{} },
			Open: func() bool {
				opened := !isOpen && len(seen) > 1
				isOpen = isOpen || opened
				return opened
			},
			Readers: []converse.Reader[string]{func() func() (string, bool, bool) {
				return func() (string, bool, bool) {
					text, more := <-conn
					ended = !more
					return text, text != "noise" && more, more
				}
			}},
			Settled: func() {},
			Wake:    func() time.Time { return wake },
			Close:   func() { close(conn) },
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- client.Run(ctx) }()
		synctest.Wait()
		client.Wanted.Put("one")
		synctest.Wait()
		conn <- "noise"
		conn <- "word"
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		if err := <-done; err != nil || !ended {
			t.Errorf("Run returned %v, its reader has ended: %v", err, ended)
		}
		if want := []string{"tick", "wish one", "heard word", "tick"}; !slices.Equal(seen, want) {
			t.Errorf("it has seen %q, want %q", seen, want)
		}
	})
}

// What is read when the context has ended is not waited for.
func TestReaderEndsWithContext(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		opened, closed := false, make(chan struct{})
		client := converse.Client[int, int]{
			Wanted: latest.New[int](), Adopt: func(int) {}, Tick: func() {}, Settled: func() {},
			Receive: func(int) { time.Sleep(time.Second) }, // an owner that is behind
			Open:    func() bool { was := opened; opened = true; return !was },
			Readers: []converse.Reader[int]{func() func() (int, bool, bool) {
				return func() (int, bool, bool) {
					select {
					case <-closed:
						return 0, true, false
					default:
						return 1, true, true
					}
				}
			}},
			Wake:  func() time.Time { return time.Time{} },
			Close: func() { close(closed) },
		}
		ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		if err := client.Run(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestSooner(t *testing.T) {
	early := time.Unix(1, 0)
	late := early.Add(time.Second)
	for _, tt := range [][3]time.Time{
		{early, late, early},
		{late, early, early},
		{{}, late, late},
		{late, {}, late},
		{{}, {}, {}},
	} {
		if got := converse.Sooner(tt[0], tt[1]); !got.Equal(tt[2]) {
			t.Errorf("of %v and %v: %v", tt[0], tt[1], got)
		}
	}
}
