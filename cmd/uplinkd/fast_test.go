//go:build !race && !emulated

package main

const slowFactor = 1
