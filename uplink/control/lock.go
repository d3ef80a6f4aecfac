package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"uplinkd/internal/statefile"

	"golang.org/x/sys/unix"
)

// A Held is what Lock returns when another process of ours has the lock.
type Held struct {
	PID      int    // 0: not known
	StateDir string // "": the same tag is what is held
}

func (h Held) Error() string {
	if h.StateDir != "" {
		return fmt.Sprintf("another uplinkd uses the state directory %s: stop it first, or set state_dir", h.StateDir)
	}
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
// state directory, and so root's cleanup knows it. Beside that a file in stateDir is
// locked: a stranger can fill the queue of the socket, and not reach the file.
func Lock(ctx context.Context, protocol uint8, rulePriority uint32, stateDir string) (io.Closer, error) {
	name := fmt.Sprintf("@uplinkd-%d-%d", protocol, rulePriority)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("take the lock %s: %w", name, err)
	}
	if err != nil {
		holder, err := holderOf(ctx, name)
		if err == nil && (holder.Uid == 0 || int(holder.Uid) == os.Geteuid() || owns(holder.Uid, stateDir)) {
			return nil, Held{PID: int(holder.Pid)}
		}
		// Whoever it is, it is none of us, for we would answer; unless somebody keeps us
		// from it. The file is out of a stranger's reach.
	}
	file, held := lockFile(stateDir, fmt.Sprintf("lock-%d-%d", protocol, rulePriority))
	if held {
		if listener != nil {
			_ = listener.Close()
		}
		return nil, Held{StateDir: stateDir}
	}
	return &lock{listener, file}, nil
}

// A lock is what is held while it is: both end with the process.
type lock struct {
	listener *net.UnixListener // nil: a stranger has the name
	file     *os.File          // nil: there is no directory to have it in
}

// Close implements io.Closer.
func (l *lock) Close() error {
	var err error
	if l.listener != nil {
		err = l.listener.Close()
	}
	if l.file != nil {
		err = errors.Join(err, l.file.Close())
	}
	return err
}

// lockFile locks a file in the state directory, and reports whether another process has
// locked it. Where there can be no such file, there is no lock to be had (flock(2)).
func lockFile(dir, name string) (file *os.File, held bool) {
	_ = os.MkdirAll(dir, 0o755) // what cannot be made cannot be opened either
	file, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, false
	}
	_ = statefile.Adopt(file) // that it cannot be given away keeps nobody from locking it
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		_ = file.Close()
		return nil, true
	}
	return file, false
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
