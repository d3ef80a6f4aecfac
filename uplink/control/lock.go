package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Held is what Lock returns when another process of ours has the lock.
type Held struct{ PID int }

func (h Held) Error() string {
	return fmt.Sprintf("another uplinkd (pid %d) looks after the same routes and rules: stop it first", h.PID)
}

// Lock makes this process the only one in this network namespace that looks
// after what carries a tag. It does not wait: it returns Held when another has
// it. The lock ends with the process, however that ends.
//
// It is an abstract unix socket, which belongs to the namespace as the routes
// do. Anybody may take such a name, so a holder that is neither root, nor the
// same user, nor the one that stateDir belongs to, or does not answer, is passed over:
// nobody is to keep the host from being routed. A daemon that is not root owns its
// state directory, and so root's cleanup knows it.
func Lock(ctx context.Context, protocol uint8, rulePriority uint32, stateDir string) (io.Closer, error) {
	name := fmt.Sprintf("@uplinkd-%d-%d", protocol, rulePriority)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err == nil {
		return listener, nil
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("take the lock %s: %w", name, err)
	}
	holder, err := holderOf(ctx, name)
	if err != nil || holder.Uid != 0 && int(holder.Uid) != os.Geteuid() && !owns(holder.Uid, stateDir) {
		return io.NopCloser(nil), nil // whoever it is, it is none of us: we would answer
	}
	return nil, Held{PID: int(holder.Pid)}
}

// owns reports whether a directory is there and belongs to a user.
func owns(uid uint32, dir string) bool {
	var info unix.Stat_t
	return unix.Stat(dir, &info) == nil && info.Uid == uid
}

// holderOf asks the kernel who listens.
func holderOf(ctx context.Context, name string) (*unix.Ucred, error) {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "unix", name)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing was said
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var holder *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		holder, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	return holder, errors.Join(err, failed)
}
