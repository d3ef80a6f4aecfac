package lab

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Spawn starts a program that is killed when this process dies, and returns
// the function that waits for its end. The kernel sends that death signal when
// the THREAD that started the child ends (prctl(2), PR_SET_PDEATHSIG), so one
// thread is kept for it.
func Spawn(cmd *exec.Cmd) (wait func() error, err error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		ended <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return func() error { return <-ended }, nil
}
