//go:build !race && !emulated

package kernel_test

const slowFactor = 1
