package control_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/control"
)

// holdLock makes this test binary hold the lock until its input ends.
const holdLock = "UPLINKD_TEST_HOLD_LOCK"

const (
	testProtocol = 211
	testPriority = 21000
	somebody     = 54321 // a user that is neither root nor this process's
)

// A daemon of another user is known by its state directory: root's cleanup stops
// beside it, and passes over who merely has taken the name. From the review: the lock
// was passed over when its holder was neither root nor the same user.
func TestLockOfAnotherUser(t *testing.T) {
	if os.Getenv(holdLock) != "" {
		lock, err := control.Lock(t.Context(), testProtocol, testPriority, os.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer lock.Close()
		fmt.Fprintln(os.Stdout, "held")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	if os.Geteuid() != 0 {
		labtest.Skip(t, "needs root, to be two users")
	}
	holder := exec.Command("/proc/self/exe", "-test.run=^TestLockOfAnotherUser$", "-test.v")
	holder.Env = append(os.Environ(), holdLock+"=1")
	holder.Dir = "/"
	holder.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: somebody, Gid: somebody}}
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = holder.Wait() }()
	for b, said := make([]byte, 1), ""; len(said) < 4 || said[len(said)-4:] != "held"; said += string(b) {
		if _, err := out.Read(b); err != nil {
			t.Fatalf("the holder said %q, %v", said, err)
		}
	}
	dir := t.TempDir()
	lock, err := control.Lock(t.Context(), testProtocol, testPriority, dir)
	if err != nil {
		t.Fatalf("held by somebody to whom nothing here belongs: %v", err)
	}
	_ = lock.Close()
	if err := os.Chown(dir, somebody, somebody); err != nil {
		t.Fatal(err)
	}
	var held control.Held
	if _, err := control.Lock(t.Context(), testProtocol, testPriority, dir); !errors.As(err, &held) || held.PID != holder.Process.Pid {
		t.Errorf("held by who owns the state directory: %v, want that pid %d has it", err, holder.Process.Pid)
	}
}
