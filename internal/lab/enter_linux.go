package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideEnv marks the process that runs in the lab's namespaces; its value says
// whether it is root outside too.
const insideEnv = "UPLINKD_LAB"

const (
	insideAsRoot   = "root"
	insideRootless = "rootless"
)

// ErrForbidden is what Enter gives where the machine allows no namespaces.
var ErrForbidden = errors.New("this machine does not allow a program to make network namespaces without root")

// ForbiddenCode is the exit code of a program that found out inside that it may
// not go on: some machines let it have the namespaces and no power over them.
const ForbiddenCode = 77

// Inside reports whether this process already runs in the lab's namespaces.
func Inside() bool { return os.Getenv(insideEnv) != "" }

// AsRoot reports whether this process runs in the lab and is root outside too.
// Some servers (dnsmasq, danted) change their user and need that.
func AsRoot() bool { return os.Getenv(insideEnv) == insideAsRoot }

// Enter runs this program once more, with the same arguments, in network and
// mount namespaces of its own, and without root in a user namespace of its own;
// it returns the exit code. In that second run it readies the namespaces and
// returns -1: go on. When this process dies, so does the one inside.
func Enter() (int, error) {
	if Inside() {
		return -1, ready()
	}
	// The death signal is bound to the thread that starts the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	mode := insideAsRoot
	if os.Geteuid() == 0 {
		// With a process namespace every server started inside ends with it.
		attr.Cloneflags |= unix.CLONE_NEWPID
	} else {
		mode = insideRootless
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	cmd.Env = append(os.Environ(), insideEnv+"="+mode)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	switch code := cmd.ProcessState.ExitCode(); {
	case code == ForbiddenCode:
		return 1, ErrForbidden
	case code >= 0:
		return code, nil
	}
	return 1, fmt.Errorf("the lab's process ended by %s", cmd.ProcessState)
}

// ready makes the new namespaces usable: loopback up, mounts private, and as
// root a /proc and a /run of their own.
func ready() error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer handle.Close()
	if err = handle.LinkSetUp(byName("lo")); err != nil {
		return fmt.Errorf("%w: set lo up: %w", ErrForbidden, err)
	}
	if err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// Without duplicate address detection link-local addresses are there at once,
	// and what ip prints does not change by itself during a test.
	err = os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !AsRoot() {
		return nil
	}
	if err = unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	return unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755")
}
