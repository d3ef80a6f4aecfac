// Command uplinkd keeps the routing of a host with several Internet uplinks.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"uplinkd/internal/plain"
	"uplinkd/systemd"
	"uplinkd/uplink/control"
)

// Exit codes, promised to users.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitInPart = 3 // done in part, and said which
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], stdio{out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, io stdio) int {
	io.terminal, _ = io.out.(*os.File)
	io.out, io.err = plain.NewWriter(io.out), plain.NewWriter(io.err)
	root := newRoot(io)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	var quiet errQuiet
	if !errors.As(err, &quiet) {
		fmt.Fprintln(io.err, systemd.ErrorText(fmt.Sprintf("uplinkd: %v", err)))
	}
	if errors.As(err, &usageError{}) {
		return exitUsage
	}
	if errors.Is(err, control.ErrInPart) {
		return exitInPart
	}
	return exitFailed
}
