// Package latest hands the newest value of a kind from one goroutine to another,
// and wake-ups without content.
package latest

import "sync"

// A Wake wakes one goroutine up: ten wake-ups that nobody has taken are one. Its
// owner receives from it.
type Wake chan struct{}

// NewWake returns a Wake that nobody has set.
func NewWake() Wake { return make(Wake, 1) }

// Set wakes the owner up. It does not block and may be called from any goroutine.
func (w Wake) Set() {
	select {
	case w <- struct{}{}:
	default:
	}
}

// A Box holds the newest value that was put into it and not yet taken. Its
// methods do not block and may be called from any goroutine.
type Box[T any] struct {
	wake Wake

	mu    sync.Mutex // guards what follows
	value T
	full  bool
}

// New returns an empty Box.
func New[T any]() *Box[T] { return &Box[T]{wake: NewWake()} }

// Put replaces what is in the box.
func (b *Box[T]) Put(value T) {
	b.mu.Lock()
	b.value, b.full = value, true
	b.mu.Unlock()
	b.wake.Set()
}

// Ready receives after a Put. Take may find the box empty all the same: another
// goroutine may have been quicker.
func (b *Box[T]) Ready() <-chan struct{} { return b.wake }

// Take empties the box, and reports whether anything was in it.
func (b *Box[T]) Take() (T, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	value, full := b.value, b.full
	b.value, b.full = *new(T), false
	return value, full
}
