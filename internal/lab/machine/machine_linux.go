// Package machine starts Debian with a real systemd as its first process, in namespaces of its own and in the network
// of the lab, so that the lab's providers are what its interfaces lead to. It needs root.
package machine

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

//go:embed boot
var bootScript string

// A Machine is a Debian that runs, or has run and can start again.
type Machine struct {
	tree, state string
	cgroup      string
	outer       *exec.Cmd // what holds the namespaces; nil: it does not run
	first       int       // the number of systemd, as this process sees it
}

// New returns a machine that starts from a tree, and keeps what it writes in memory until Close. It does not run yet.
func New(tree string) (*Machine, error) {
	state, err := os.MkdirTemp("", "machine")
	if err != nil {
		return nil, err
	}
	sweep()
	m := &Machine{tree: tree, state: state}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "mode=0755"); err != nil {
		return nil, fmt.Errorf("memory for what the machine writes: %w", err)
	}
	return m, nil
}

// sweep removes the groups of machines that were killed with their test: those without a process.
func sweep() {
	left, _ := filepath.Glob("/sys/fs/cgroup/*/uplinkd-machine*") // the pattern is right
	more, _ := filepath.Glob("/sys/fs/cgroup/uplinkd-machine*")
	for _, dir := range append(left, more...) {
		// One that has just been made has none yet.
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		if events, err := os.ReadFile(filepath.Join(dir, "cgroup.events")); err == nil && bytes.Contains(events,
			[]byte("populated 0")) {
			removeGroups(dir)
		}
	}
}

// bootLimit is how long a start may take.
const bootLimit = 30 * time.Second

// Start has the machine begin, and returns when systemd takes orders and has started what it starts.
func (m *Machine) Start() error {
	if err := m.ownCgroup(); err != nil {
		return err
	}
	console, err := os.Create(filepath.Join(m.state, "console"))
	if err != nil {
		return err
	}
	defer console.Close() //nolint:errcheck // systemd has it
	// The shell is in the group before there is a namespace of groups, whose root it then is.
	m.outer = exec.Command("sh", "-c",
		`set -e; echo $$ >"$1/cgroup.procs"
exec unshare --mount --uts --ipc --cgroup --pid --fork --kill-child sh -c "$2" boot "$3" "$4"`,
		"sh", m.cgroup, bootScript, m.tree, m.state)
	m.outer.Stdout, m.outer.Stderr = console, console
	m.outer.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := m.outer.Start(); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < bootLimit; time.Sleep(20 * time.Millisecond) {
		if m.first = m.child(); m.first == 0 {
			continue
		}
		out, _ := m.Do("systemctl", "is-system-running")
		switch strings.TrimSpace(out) {
		case "running", "degraded":
			return nil
		}
	}
	text, _ := os.ReadFile(console.Name())
	return fmt.Errorf("systemd has not started within %s:\n%s", bootLimit, text)
}

// ownCgroup makes a group of processes for the machine, in the unified hierarchy.
func (m *Machine) ownCgroup() error {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return err
	}
	at := ""
	for line := range strings.SplitSeq(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			at = f[1]
		}
	}
	if at == "" {
		return errors.New("this machine has no cgroup2: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
	}
	m.cgroup = filepath.Join(at, "uplinkd-"+filepath.Base(m.state))
	return os.MkdirAll(m.cgroup, 0o755)
}

// child returns the first process inside, 0 when it is not systemd yet.
func (m *Machine) child() int {
	pid := m.outer.Process.Pid
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(list), " ")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", n)); err != nil || string(name) != "systemd\n" {
		return 0
	}
	return n
}

// Command returns a command that runs inside, without a terminal, and in the network of the lab.
func (m *Machine) Command(args ...string) *exec.Cmd {
	enter := []string{
		"--target", strconv.Itoa(m.first), "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd",
		"/usr/bin/env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
		"LANG=C.UTF-8",
		"TERM=dumb", "SYSTEMD_PAGER=cat", "SYSTEMD_COLORS=0", "DEBIAN_FRONTEND=noninteractive",
	}
	return exec.Command("nsenter", append(enter, args...)...)
}

// doLimit is how long a command may take.
const doLimit = 2 * time.Minute

// Do runs a command inside and returns what it has printed. It blocks until it has ended, for two minutes at most.
func (m *Machine) Do(args ...string) (string, error) {
	cmd := m.Command(args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second // what it leaves behind may keep its output open
	if err := cmd.Start(); err != nil {
		return "", err
	}
	end := time.AfterFunc(doLimit, func() { _ = cmd.Process.Kill() })
	defer end.Stop()
	err := cmd.Wait()
	return out.String(), err
}

// Put writes a file inside.
func (m *Machine) Put(path string, text []byte, mode os.FileMode) error {
	cmd := m.Command("sh", "-c", fmt.Sprintf(`mkdir -p "$(dirname %[1]q)" && cat >%[1]q && chmod %[2]o %[1]q`,
		path, mode))
	cmd.Stdin = bytes.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s: %w: %s", path, err, out)
	}
	return nil
}

// Stop has it power off in good order, and Kill takes the power away. What it has written stays.
func (m *Machine) Stop() error { return m.end(syscall.Signal(34 + 4)) } // systemd(1): poweroff.target

// Kill takes the power away.
func (m *Machine) Kill() error { return m.end(syscall.SIGKILL) }

func (m *Machine) end(with syscall.Signal) error {
	if m.outer == nil {
		return nil
	}
	if m.first > 0 {
		_ = syscall.Kill(m.first, with) // it may have ended
	}
	ended := make(chan struct{})
	go func() { _ = m.outer.Wait(); close(ended) }()
	var err error
	select {
	case <-ended:
	case <-time.After(bootLimit):
		err = errors.New("the machine has not powered off: its power is cut")
		_ = m.outer.Process.Kill() // --kill-child takes the first process along
		<-ended
	}
	m.outer, m.first = nil, 0
	return err
}

// Close takes the power away, and all that the machine has written.
func (m *Machine) Close() {
	_ = m.Kill()
	// Groups below go first.
	removeGroups(m.cgroup)
	_ = unix.Unmount(m.state, unix.MNT_DETACH)
	_ = os.RemoveAll(m.state)
}

// removeGroups removes a group with those below it; a process that ends right now keeps one for a moment.
func removeGroups(dir string) {
	for range 50 {
		var groups []string
		_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				groups = append(groups, path)
			}
			return nil
		})
		for i := len(groups) - 1; i >= 0; i-- {
			_ = os.Remove(groups[i])
		}
		if _, err := os.Stat(dir); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
