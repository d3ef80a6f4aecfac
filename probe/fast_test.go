//go:build !race && !emulated

package probe_test

const slowFactor = 1
