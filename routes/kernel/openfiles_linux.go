package kernel

import (
	"bytes"
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openShare is the part of the descriptors that this process may have which are kept here at most.
const openShare = 4

// openFiles keeps settings open that are read again and again: of what it takes to open, read and close one, the
// reading is a tenth. A file of an interface that has gone gives an error (proc_sys_call_handler in
// fs/proc/proc_sysctl.c), and is opened anew.
type openFiles struct {
	fds    map[string]int
	buffer [256]byte
}

// read returns the value of a setting, which is good until the next call.
func (o *openFiles) read(name string) ([]byte, error) {
	fd, kept := o.fds[name]
	if kept {
		if n, err := unix.Pread(fd, o.buffer[:], 0); err == nil {
			return bytes.TrimSpace(o.buffer[:n]), nil
		}
		o.close(name)
	}
	fd, err := unix.Open(filepath.Join(procSys, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		o.keep(func(string) bool { return false }) // others need them more
	}
	if err != nil {
		return nil, err
	}
	if o.fds == nil {
		o.fds = map[string]int{}
	}
	o.fds[name] = fd
	n, err := unix.Pread(fd, o.buffer[:], 0)
	if err != nil || len(o.fds) > o.most() {
		o.close(name)
	}
	return bytes.TrimSpace(o.buffer[:max(n, 0)]), err
}

// most returns how many are kept.
func (o *openFiles) most() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int(min(limit.Cur/openShare, 1000))
}

func (o *openFiles) close(name string) {
	_ = unix.Close(o.fds[name])
	delete(o.fds, name)
}

// keep closes those that are not wanted any more.
func (o *openFiles) keep(wanted func(name string) bool) {
	for name := range o.fds {
		if !wanted(name) {
			o.close(name)
		}
	}
}
