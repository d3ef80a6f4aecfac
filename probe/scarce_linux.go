package probe

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"

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
	if errors.Is(err, errTrackingFull) || errors.Is(err, unix.EPERM) && trackingFull() {
		return true
	}
	return slices.ContainsFunc(scarcities, func(e unix.Errno) bool { return errors.Is(err, e) })
}

var errTrackingFull = errors.New("connection tracking is full: raise net.netfilter.nf_conntrack_max")

// trackingFull reports whether connection tracking has no room for a new connection, within a hundredth. The kernel
// then drops what begins one (nf_conntrack_in in net/netfilter/nf_conntrack_core.c), by whatever uplink it is to
// leave: who sends it is told EPERM, as where a rule drops it, and who waits for TCP is told nothing. What runs goes
// on.
func trackingFull() bool {
	count, ok := trackingNumber("count")
	most, known := trackingNumber("max")
	return ok && known && noRoom(count, most)
}

// noRoom reports whether so many connections are as many as there may be; at most 0 there is no bound.
func noRoom(count, most int) bool { return most > 0 && count >= most-most/100 }

func trackingNumber(name string) (n int, ok bool) {
	b, err := os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_" + name)
	if err != nil {
		return 0, false
	}
	n, err = strconv.Atoi(strings.TrimSpace(string(b)))
	return n, err == nil
}

// lackOf returns what a scarce error is to be told as.
func lackOf(err error) string {
	if errors.Is(err, unix.EPERM) {
		err = errTrackingFull
	}
	return err.Error()
}
