package reconcile

import (
	"maps"
	"strings"
	"sync"

	"uplinkd/internal/histogram"
	"uplinkd/routes"
)

// culpritsMost bounds how many programs repairs are told apart by: their names are strangers'.
const culpritsMost = 16

// figures are what has been counted. Any goroutine may read them.
type figures struct {
	times [routes.Kinds]histogram.Durations // of operations, by kind of object

	mu      sync.Mutex // guards what follows
	repairs map[string]uint64
}

// repaired counts a repair of what somebody has undone: "ip (pid 4711)"; "": not known.
func (f *figures) repaired(by string) {
	name, _, _ := strings.Cut(by, " (")
	if name == "" || strings.HasPrefix(name, "pid ") {
		name = "unknown"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.repairs == nil {
		f.repairs = map[string]uint64{}
	}
	if _, known := f.repairs[name]; !known && len(f.repairs) >= culpritsMost {
		name = "other"
	}
	f.repairs[name]++
}

// Times returns how long the operations on objects of each routes.Kind have taken. It may be called from any
// goroutine.
func (r *Reconciler) Times() []*histogram.Durations {
	list := make([]*histogram.Durations, len(r.figures.times))
	for kind := range list {
		list[kind] = &r.figures.times[kind]
	}
	return list
}

// RepairsBy returns how often was put back what each program had undone. It may be called from any goroutine.
func (r *Reconciler) RepairsBy() map[string]uint64 {
	r.figures.mu.Lock()
	defer r.figures.mu.Unlock()
	return maps.Clone(r.figures.repairs)
}
