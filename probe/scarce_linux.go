package probe

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// scarcities are errors of a host that lacks descriptors, memory, processes or local ports
// (errno(3), bind(2), fork(2)). ENOBUFS is not among them: a modem that hangs fills the
// queue of its interface, and then the kernel gives that, too.
var scarcities = []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.EADDRINUSE}

// scarce reports whether an error is this host's own lack, and so says nothing of the link.
func scarce(err error) bool {
	// To bind, it means that the address is gone; to connect, that no port is left (ip(7)).
	var call *os.SyscallError
	if errors.Is(err, unix.EADDRNOTAVAIL) && errors.As(err, &call) && call.Syscall == "connect" {
		return true
	}
	return slices.ContainsFunc(scarcities, func(e unix.Errno) bool { return errors.Is(err, e) })
}
