//go:build !emulated

package main

const patience = 1
