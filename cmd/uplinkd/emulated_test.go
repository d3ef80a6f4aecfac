//go:build emulated

package main

// patience is how much longer than elsewhere the main path may take.
const patience = 5
