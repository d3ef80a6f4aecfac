// Package run runs a program that the administrator has named: a hook, or a check
// of an uplink.
package run

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killWait is how long what a program has left behind may hold its output open
// after the program itself has ended.
const killWait = 100 * time.Millisecond

// ErrTimeLimit is what a program gives whose time was up.
var ErrTimeLimit = errors.New("ended by its time limit")

// A Program is a program to be run once: no shell, its arguments and its
// environment as given, beside a PATH and LC_ALL=C.
type Program struct {
	Args       []string // the absolute path, then the arguments
	Env        []string // name=value
	OutputMost int      // how many bytes of its output are kept
}

// Run runs the program and returns the beginning of what it said, stdout and
// stderr together. It blocks until the program has ended. When ctx ends first,
// the program and all it has started in its process group are killed; the error
// is ErrTimeLimit when that was by a deadline. A program that ends with status 0
// has succeeded, whatever it leaves running. It does not inherit the capabilities
// of a daemon that is not root (ambient ones, capabilities(7)).
func (p Program) Run(ctx context.Context) (output []byte, err error) {
	cmd := exec.CommandContext(ctx, p.Args[0], p.Args[1:]...)
	cmd.Dir = "/"
	cmd.Env = append([]string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
	}, p.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	said := &head{most: p.OutputMost}
	cmd.Stdout, cmd.Stderr = said, said
	if err = start(cmd); err == nil {
		err = cmd.Wait()
	}
	switch {
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it ended with status 0; what it started holds the output open
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		err = ErrTimeLimit
	}
	return said.b, err
}

// start starts a program without ambient capabilities. A child has those of the
// thread that starts it; that this thread then lacks them changes nothing for the
// daemon, which uses its effective ones.
func start(cmd *exec.Cmd) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// A kernel without ambient capabilities (before Linux 4.3) has none to hand on.
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	return cmd.Start()
}

// A head keeps the beginning of what is written to it.
type head struct {
	b    []byte
	most int
}

// Write implements io.Writer. It takes everything.
func (h *head) Write(p []byte) (int, error) {
	h.b = append(h.b, p[:min(len(p), h.most-len(h.b))]...)
	return len(p), nil
}
