// Package statefile reads and replaces the small files that outlive a process.
package statefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Durability says what a file must survive.
type Durability uint8

const (
	// Process is for what must survive the end of this process, however it ends:
	// the kernel has it when Replace returns, the disk at some later time.
	Process Durability = iota
	// Power is for what must survive a power cut too: it is on the disk when Replace
	// returns, which may take that disk's time.
	Power
)

// Open opens a regular file to read. It never waits for a writer, as opening a FIFO
// would. The error of a missing file is fs.ErrNotExist.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Read returns what is in a regular file of most bytes at the most, opened by Open.
func Read(path string, most int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, nil
}

// Replace puts b into the place of a file, in one step: who reads it meanwhile,
// or after a crash, finds the old content or the new. The directory is made when
// it is missing. Only the owner may read the file.
func Replace(path string, b []byte, d Durability) error { return replace(path, b, 0o600, d) }

// Public is the mode of a file that everybody may read.
const Public = 0o644

// ReplacePublic does what Replace does, as durable as Process, with a file that everybody may
// read.
func ReplacePublic(path string, b []byte) error { return replace(path, b, Public, Process) }

func replace(path string, b []byte, mode os.FileMode, d Durability) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fresh := path + ".new"
	if err := write(fresh, b, d); err != nil {
		return err
	}
	if err := os.Chmod(fresh, mode); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	if d == Process {
		return nil
	}
	return flush(dir)
}

// Remove removes a file for good, over a power cut too. One that is not there is no error.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// One that is not there may have been removed a moment ago, and not on the disk.
	if err := flush(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Flush has a file and its name on the disk when it returns, whoever has written it.
func Flush(path string) error {
	return errors.Join(flush(path), flush(filepath.Dir(path)))
}

// ReplaceLike puts b into the place of a file as Replace does, durable over a power cut, and
// gives the new file the mode and the owner of another.
func ReplaceLike(path string, b []byte, like os.FileInfo) error {
	fresh := path + ".new"
	if err := write(fresh, b, Process); err != nil {
		return err
	}
	if owner, ok := like.Sys().(*syscall.Stat_t); ok {
		if err := os.Chown(fresh, int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	if err := os.Chmod(fresh, like.Mode().Perm()); err != nil {
		return err
	}
	if err := flush(fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return err
	}
	return flush(filepath.Dir(path))
}

func write(path string, b []byte, d Durability) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, Adopt(f))
	if d == Power {
		err = errors.Join(err, f.Sync())
	}
	return errors.Join(err, f.Close())
}

// Adopt gives a file of root's to the owner of its directory: what root writes by hand there
// must not be out of reach for a daemon that is not root.
func Adopt(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// flush writes a file or a directory to the disk: a rename is in the directory, not in the
// file (fsync(2)).
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// BootID names this boot of the machine (random(4)); where it cannot be read all
// boots look the same.
func BootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
