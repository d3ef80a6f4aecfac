// Package cgroups follows control groups of version 2 (cgroups(7)): where they are, and when they come, go
// and come again.
package cgroups

import (
	"context"
	"errors"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/latest"
)

// A Name is what a control group is asked for by: a unit of systemd, or a path below the root.
type Name struct{ Unit, Path string }

// A Group is a control group that there is.
type Group struct {
	Path  string // below the root
	Level int    // how far below
	ID    uint64 // which the kernel gives to no other after it: its directory's inode
}

// A Follower follows the groups that it is told of.
type Follower struct {
	root   string
	locate func(ctx context.Context, unit string) (string, error)
	wanted *latest.Box[[]Name]
}

const (
	// lookEvery is how often is looked though nothing was heard: inotify may have no watch left.
	lookEvery = 5 * time.Second

	// locateEvery is at every how many looks it is asked anew where a unit would be that is not there.
	locateEvery = 12

	// locateLimit is how long that may take: other units come and go meanwhile.
	locateLimit = time.Second
)

// Root returns where the hierarchy of version 2 is mounted: of its own, or beside those of version 1; ""
// when it is not.
func Root() string {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1]
		}
	}
	return ""
}

// New returns a Follower of the hierarchy that is mounted at root. Locate returns the path of a unit, where it
// is or would be; nil: that of systemd.
func New(root string, locate func(ctx context.Context, unit string) (string, error)) *Follower {
	if locate == nil {
		locate = askSystemd
	}
	return &Follower{root: root, locate: locate, wanted: latest.New[[]Name]()}
}

// Set says which groups to follow from now on. It does not block.
func (f *Follower) Set(names []Name) { f.wanted.Put(names) }

// Run calls found with the groups that there are, of those that are followed, whenever that has changed, until
// ctx ends; it then returns nil. It blocks.
func (f *Follower) Run(ctx context.Context, found func(map[Name]Group)) error {
	var names []Name
	var last map[Name]Group
	ears := &ears{stirred: latest.NewWake()}
	defer ears.close()
	at := map[Name]string{} // where each is, or would be
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for n, told := 1, true; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-f.wanted.Ready():
			next, ok := f.wanted.Take()
			if !ok {
				continue
			}
			names, told = next, false
			clear(at)
			ears.renew(len(names) > 0)
		case <-ears.stirred:
		case <-look.C:
			for _, name := range names {
				if _, there := last[name]; !there && n%locateEvery == 0 {
					delete(at, name) // perhaps it is elsewhere by now
				}
			}
		}
		now := f.look(ctx, names, at, ears)
		if !told || !maps.Equal(now, last) {
			told, last = true, now
			found(now)
		}
	}
}

// look returns the groups that there are. What comes or goes afterwards is heard.
func (f *Follower) look(ctx context.Context, names []Name, at map[Name]string, ears *ears) map[Name]Group {
	groups := map[Name]Group{}
	if f.root == "" {
		return groups
	}
	for _, name := range names {
		where, known := at[name]
		if !known {
			where = name.Path
			if name.Unit != "" {
				var err error
				asking, cancel := context.WithTimeout(ctx, locateLimit)
				if where, err = f.locate(asking, name.Unit); err != nil {
					where = guess(name.Unit)
				}
				cancel()
			}
			at[name] = where
		}
		// Who looks before he listens may miss what happens between.
		ears.listen(f.root, where)
		info, err := os.Stat(filepath.Join(f.root, where))
		if err != nil || !info.IsDir() {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			groups[name] = Group{Path: where, Level: strings.Count(where, "/") + 1, ID: stat.Ino}
		}
	}
	return groups
}

// guess returns where systemd puts a unit that nothing else is said of.
func guess(unit string) string {
	if strings.HasSuffix(unit, ".slice") {
		return SlicePath(unit)
	}
	if template, _, ok := strings.Cut(unit, "@"); ok {
		return path.Join(SlicePath("system-"+strings.ReplaceAll(template, "-", `\x2d`)+".slice"), unit)
	}
	return path.Join("system.slice", unit)
}

// SlicePath returns the path of a slice: each is below that of its name's beginning (systemd.slice(5)).
func SlicePath(slice string) string {
	name := strings.TrimSuffix(slice, ".slice")
	if name == "-" || name == "" {
		return ""
	}
	parts := strings.Split(name, "-")
	list := make([]string, len(parts))
	for i := range parts {
		list[i] = strings.Join(parts[:i+1], "-") + ".slice"
	}
	return path.Join(list...)
}

// ears hear what comes and goes in directories, by inotify(7).
type ears struct {
	stirred latest.Wake
	file    *os.File
	ended   chan struct{}
}

// renew forgets all directories.
func (e *ears) renew(needed bool) {
	e.close()
	if !needed {
		return
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return // then it is looked at every lookEvery
	}
	e.file, e.ended = os.NewFile(uintptr(fd), "inotify"), make(chan struct{})
	go func(file *os.File, ended chan<- struct{}) {
		defer close(ended)
		buffer := make([]byte, 4096)
		for {
			if _, err := file.Read(buffer); err != nil && !errors.Is(err, unix.EINTR) {
				return // closed
			}
			e.stirred.Set()
		}
	}(e.file, e.ended)
}

func (e *ears) close() {
	if e.file != nil {
		_ = e.file.Close()
		<-e.ended
		e.file = nil
	}
}

// listen hears every directory that leads to a place, as far as they are there.
func (e *ears) listen(root, where string) {
	if e.file == nil {
		return
	}
	conn, err := e.file.SyscallConn()
	if err != nil {
		return
	}
	parts := strings.Split(where, "/")
	_ = conn.Control(func(fd uintptr) {
		// From the root down: what is made below one that is listened to is heard.
		for n := range len(parts) {
			dir := filepath.Join(root, path.Join(parts[:n]...))
			const changes = unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVE | unix.IN_ONLYDIR
			_, _ = unix.InotifyAddWatch(int(fd), dir, changes) // it may not be there, or none may be left
		}
	})
}
