//go:build race

package main

// raceFactor is how much more a test may cost with the race detector.
const raceFactor = 5
