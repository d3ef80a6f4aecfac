//go:build race || emulated

package probe_test

// slowFactor is how much more a test may cost with the race detector, or on an emulated machine.
const slowFactor = 8
