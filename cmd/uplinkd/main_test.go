package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"uplinkd/internal/lab/labtest"
)

// asProgram makes the test binary behave as uplinkd itself: tests so start the
// real program, built with the race detector, and send it real signals.
const asProgram = "UPLINKD_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(execute(ctx, os.Args[1:], stdio{out: os.Stdout, err: os.Stderr})) //nolint:gocritic // stop has nothing left to do
	}
	labtest.Main(m)
}
