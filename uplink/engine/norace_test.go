//go:build !race

package engine_test

const fewLists = 250
