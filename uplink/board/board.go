// Package board remembers how the uplinks were within the last hour, in memory of a fixed size, and shows it to any
// number of watchers: each second the report is taken once, whoever looks.
package board

import (
	"context"
	"slices"
	"sync"
	"time"

	"uplinkd/internal/grid"
	"uplinkd/uplink/api"
)

// Every is how often the board looks.
const Every = time.Second

// Kept is how many looks are remembered.
const Kept = 3600

// A Point is how a path was at one look. What is not known is negative.
type Point struct {
	State   api.OperState
	RTT     float32 // milliseconds, of the target that answers fastest
	Loss    float32 // percent, of the target that loses least
	Silence float32 // milliseconds since the last answer of any target
	Rx, Tx  float32 // bits a second, of the interface
}

// A key names a path.
type key struct{ uplink, family string }

// A Board is what watchers look at. Its methods may be called from any goroutine.
type Board struct {
	report   func() api.Snapshot
	switches func() []api.Switch

	mu     sync.Mutex // guards what follows
	newest api.Snapshot
	at     time.Time // of newest; zero: there was no look yet
	looks  int       // how many there were
	points map[key]*[Kept]Point
	more   chan struct{} // closed at the next look
}

// New returns a Board of what the functions tell. They must not block.
func New(report func() api.Snapshot, switches func() []api.Switch) *Board {
	return &Board{report: report, switches: switches, points: map[key]*[Kept]Point{}, more: make(chan struct{})}
}

// Run looks each second until ctx ends, and returns nil.
func (b *Board) Run(ctx context.Context) error {
	return grid.Each(ctx, Every, func() { b.Look(time.Now()) })
}

// Look takes one report in.
func (b *Board) Look(now time.Time) {
	s := b.report()
	b.mu.Lock()
	defer b.mu.Unlock()
	slot := b.looks % Kept
	seen := make(map[key]bool, len(b.points))
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		for _, p := range u.Paths() {
			k := key{u.Name, p.Family}
			seen[k] = true
			if b.points[k] == nil {
				b.points[k] = &[Kept]Point{}
			}
			b.points[k][slot] = pointOf(u, &p)
		}
	}
	for k := range b.points {
		if !seen[k] {
			delete(b.points, k)
		}
	}
	b.newest, b.at = s, now
	b.looks++
	close(b.more)
	b.more = make(chan struct{})
}

// Newest returns the last report and when it was taken, and a channel that is closed when there is another.
func (b *Board) Newest() (api.Snapshot, time.Time, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.newest, b.at, b.more
}

// Switches returns the last switches, the newest first.
func (b *Board) Switches() []api.Switch {
	list := slices.Clone(b.switches())
	slices.Reverse(list)
	return list
}

// History returns the last points of a path, the oldest first, each made of so many looks: the worst of the states,
// the longest of the times, the mean of the traffic. Those from before the board began have no state.
func (b *Board) History(uplink, family string, points, looks int) []Point {
	list := make([]Point, points)
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.points[key{uplink, family}]
	// Points are of the same looks each time, so that a curve does not tremble.
	end := (b.looks + looks - 1) / looks * looks
	for i := range list {
		first := end - (points-i)*looks
		list[i] = unknown
		if kept == nil {
			continue
		}
		n := float32(0)
		for look := max(first, 0, b.looks-Kept); look < min(first+looks, b.looks); look++ {
			if p := &kept[look%Kept]; p.State != "" {
				list[i].add(p, n)
				n++
			}
		}
	}
	return list
}

var unknown = Point{RTT: -1, Loss: -1, Silence: -1, Rx: -1, Tx: -1}

// worst orders states by how much they deserve to be seen.
var worst = []api.OperState{"", api.Up, api.Starting, api.Disabled, api.Drained, api.Doubtful, api.Down}

// add takes another look in, after n before it.
func (p *Point) add(other *Point, n float32) {
	if slices.Index(worst, other.State) > slices.Index(worst, p.State) {
		p.State = other.State
	}
	p.RTT, p.Loss, p.Silence = max(p.RTT, other.RTT), max(p.Loss, other.Loss), max(p.Silence, other.Silence)
	p.Rx, p.Tx = mean(p.Rx, other.Rx, n), mean(p.Tx, other.Tx, n)
}

func mean(before, next, n float32) float32 {
	if before < 0 || next < 0 {
		return max(before, next)
	}
	return (before*n + next) / (n + 1)
}
