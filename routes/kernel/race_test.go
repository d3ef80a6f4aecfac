//go:build race

package kernel_test

// raceFactor is how much more a test may cost with the race detector.
const raceFactor = 5
