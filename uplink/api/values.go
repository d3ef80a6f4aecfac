package api

import (
	"encoding/json"
	"fmt"
	"time"
)

// When is a time that may be none; none is null in JSON.
type When struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (w When) MarshalJSON() ([]byte, error) {
	if w.IsZero() {
		return []byte("null"), nil
	}
	return w.Time.MarshalJSON()
}

// UnmarshalJSON implements json.Unmarshaler.
func (w *When) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		w.Time = time.Time{}
		return nil
	}
	return w.Time.UnmarshalJSON(b)
}

// Millis is a duration that is milliseconds in JSON.
type Millis time.Duration

// MarshalJSON implements json.Marshaler.
func (m Millis) MarshalJSON() ([]byte, error) {
	return json.Marshal(float64(time.Duration(m).Microseconds()) / 1000)
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Millis) UnmarshalJSON(b []byte) error {
	var f float64
	err := json.Unmarshal(b, &f)
	*m = Millis(f * float64(time.Millisecond))
	return err
}

// A Figure is a number that may be unknown: null in JSON, ? for people. Its zero
// value is unknown.
type Figure[T int | uint64] struct {
	N     T // 0 when it is not known
	Known bool
}

// Known returns a Figure that is known.
func Known[T int | uint64](n T) Figure[T] { return Figure[T]{N: n, Known: true} }

// Plus returns the sum of two figures, unknown when one of them is.
func (f Figure[T]) Plus(other Figure[T]) Figure[T] {
	if !f.Known || !other.Known {
		return Figure[T]{}
	}
	return Known(f.N + other.N)
}

// String returns the number, or a question mark.
func (f Figure[T]) String() string {
	if !f.Known {
		return "?"
	}
	return fmt.Sprint(f.N)
}

// MarshalJSON implements json.Marshaler.
func (f Figure[T]) MarshalJSON() ([]byte, error) {
	if !f.Known {
		return []byte("null"), nil
	}
	return json.Marshal(f.N)
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *Figure[T]) UnmarshalJSON(b []byte) error {
	*f = Figure[T]{}
	if string(b) == "null" {
		return nil
	}
	f.Known = true
	return json.Unmarshal(b, &f.N)
}
