//go:build !race

package kernel_test

const raceFactor = 1
