//go:build emulated

package main

// patience is how much longer than elsewhere a condition is waited for.
const patience = 5
