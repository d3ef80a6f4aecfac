//go:build race

package probe_test

// raceFactor is how much more a test may cost with the race detector.
const raceFactor = 8
