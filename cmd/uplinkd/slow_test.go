//go:build race || emulated

package main

// slowFactor is how much more a test may cost with the race detector, or on an emulated machine.
const slowFactor = 5
