//go:build !race

package probe_test

const raceFactor = 1
