package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// asProgram makes the test binary behave as uplinkd itself: tests so start the
// real program, built with the race detector, and send it real signals.
const asProgram = "UPLINKD_TEST_AS_PROGRAM"

// callTo names, in the environment, whom this program is to call instead of running
// tests: as another user it may not build a lab.
const callTo = "UPLINKD_CALL_TO"

// call tells the address from which the internet sees this program.
func call(to string) {
	conn, err := net.DialTimeout("tcp4", to, time.Second)
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		os.Exit(1)
	}
	caller, err := lab.ReadCaller(conn)
	fmt.Fprintln(os.Stdout, "caller", caller, err)
	os.Exit(0)
}

func TestMain(m *testing.M) {
	if to := os.Getenv(callTo); to != "" {
		call(to)
	}
	if os.Getenv(asProgram) != "" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		os.Exit(execute(ctx, os.Args[1:], stdio{out: os.Stdout, err: os.Stderr})) //nolint:gocritic // stop has nothing left to do
	}
	labtest.Main(m)
}
