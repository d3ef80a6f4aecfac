package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
)

// A happening is one of the soak's actions, with the numbers it is to draw.
type happening struct {
	action int
	seed   uint64
}

// What TestPromises of the engine says, by the real program on the real kernel: lists of up
// to eight things that happen, one right behind the other. Afterwards all is as it was, and
// nothing is left to do; the default route was never away for longer than its bound; what
// is foreign stays; an address has its lease's end; and cleanup leaves what was there before. A
// list that breaks one is made shorter as long as it still does, and printed.
// Every second list is about both families. UPLINKD_SEQUENCES says how many lists, UPLINKD_SEED with
// which number they begin.
func TestPromisesInTheKernel(t *testing.T) {
	labtest.NeedRoot(t, "dnsmasq")
	number := func(name string, or int) int {
		text := os.Getenv(name)
		if text == "" {
			return or
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	first, count := number("UPLINKD_SEED", 0), number("UPLINKD_SEQUENCES", 2)
	steps := 0
	for seed := first; seed < first+count; seed++ {
		random := rand.New(rand.NewPCG(uint64(seed), 1))
		list := make([]happening, 2+random.IntN(7))
		for i := range list {
			list[i] = happening{random.IntN(100), random.Uint64()}
		}
		six := seed%2 == 1
		steps += len(list)
		if t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { playInKernel(t, list, six) }) {
			continue
		}
		for i := 0; i < len(list); {
			fewer := slices.Delete(slices.Clone(list), i, i+1)
			if t.Run("shorter", func(t *testing.T) { playInKernel(t, fewer, six) }) {
				i++
			} else {
				list = fewer
			}
		}
		t.Errorf("UPLINKD_SEED=%d UPLINKD_SEQUENCES=1, and these are enough: %v", seed, list)
		return
	}
	t.Logf("%d lists of %d happenings: all promises held", count, steps)
}

// playInKernel lets things happen to a daemon of their own.
func playInKernel(t *testing.T, list []happening, six bool) {
	t.Helper()
	s := newSoak(t, nil, six)
	s.begin()
	longest, longest6 := watchAway(s.bench, false), watchAway(s.bench, true)
	var names []string
	for _, h := range list {
		s.random = rand.New(rand.NewPCG(h.seed, 2))
		actions := s.actions()
		a := actions[h.action%len(actions)]
		names = append(names, a.name)
		a.do()
	}
	s.calm(strings.Join(names, ", "))
	if away, limit := max(longest(), longest6()), 1500*time.Millisecond*slowFactor; away > limit {
		t.Errorf("no default route for %v, want %v at the most, after %v", away, limit, names)
	}
	s.end()
}
