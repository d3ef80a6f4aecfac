//go:build race

package engine_test

// The race detector of Go 1.26 crashes now and then after some hundred bubbles (SIGSEGV in
// its own code): it sees a few lists, and the run without it all of them.
const fewLists = 10
