package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// A bench is a lab with the real program to run in it.
type bench struct {
	*testing.T
	world  *lab.World
	dir    string
	config string
	client *control.Client
	log    *syncBuffer
	cmd    *exec.Cmd
	wait   func() error

	excused map[int]uint64 // packets that have left by an ISP with an address not its own, and might
}

// A syncBuffer is a buffer that a process writes and a test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newBench builds a lab with n ISPs. The daemon's log is shown when the test fails.
func newBench(t *testing.T, isps int) *bench {
	t.Helper()
	labtest.Need(t)
	world, err := lab.NewWorld(isps)
	if err != nil {
		t.Fatal(err)
	}
	return newBenchIn(t, world)
}

func newBenchOf(t *testing.T, build func() (*lab.World, error)) *bench {
	t.Helper()
	labtest.Need(t)
	world, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return newBenchIn(t, world)
}

func newBenchIn(t *testing.T, world *lab.World) *bench {
	t.Helper()
	t.Cleanup(world.Close)
	// The tests of a process share the host's namespace: what one has left would be another's connections.
	if err := lab.ForgetFlows(); err != nil {
		t.Log(err) // a kernel that tracks none has none
	}
	// Not TempDir: a socket's path must be short.
	dir, err := os.MkdirTemp("", "uplinkd") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b := &bench{
		T: t, world: world, dir: dir, config: filepath.Join(dir, "uplinkd.yaml"), log: &syncBuffer{},
		client: control.NewClient(filepath.Join(dir, "sock")),
	}
	t.Cleanup(func() {
		b.kill(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the daemon's log:\n%s", b.log)
		}
		if _, err := os.Stat(b.config); errors.Is(err, fs.ErrNotExist) {
			return // skipped before there was one
		}
		if out, err := b.run("cleanup", "-c", b.config); err != nil {
			t.Errorf("cleanup: %v\n%s", err, out)
		}
	})
	return b
}

// ok fails the test on an error.
func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// configure writes the configuration: uplinks as given, plus where this test
// keeps its socket and state. extra is appended.
func (b *bench) configure(uplinks []string, extra string) {
	b.Helper()
	text := "uplinks:\n"
	for _, u := range uplinks {
		text += "  - {" + u + "}\n"
	}
	text += fmt.Sprintf("control: {socket: %s}\nstate_dir: %s\n%s", filepath.Join(b.dir, "sock"), filepath.Join(b.dir, "state"), extra)
	b.ok(os.WriteFile(b.config, []byte(text), 0o600))
}

// static returns the lines of uplinks with fixed addresses and those weights.
func (b *bench) static(weights ...int) []string {
	var lines []string
	for i, isp := range b.world.ISPs {
		lines = append(lines, fmt.Sprintf("name: isp%d, interface: %s, address: %s, gateway: %s, weight: %d",
			isp.Number, isp.Interface, isp.Static, isp.Gateway, weights[i]))
	}
	return lines
}

// dhcp returns the lines of uplinks by DHCP, and starts the servers.
func (b *bench) dhcp(lease time.Duration, weights ...int) []string {
	b.Helper()
	var lines []string
	for i, isp := range b.world.ISPs {
		b.ok(isp.StartDHCP(lease))
		lines = append(lines, fmt.Sprintf("name: isp%d, interface: %s, address: dhcp, gateway: lease, weight: %d",
			isp.Number, isp.Interface, weights[i]))
	}
	return lines
}

func (b *bench) program(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	// The race detector would sleep a second at each exit.
	cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// run runs a command to its end and returns what it printed.
func (b *bench) run(args ...string) (string, error) {
	out, err := b.program(args...).CombinedOutput()
	return string(out), err
}

// start starts the daemon. It is up once its socket answers.
func (b *bench) start() {
	b.Helper()
	b.launch(b.program("run", "-c", b.config))
}

// launch starts a program as the daemon.
func (b *bench) launch(cmd *exec.Cmd) {
	b.Helper()
	b.cmd = cmd
	b.cmd.Stderr = b.log
	wait, err := lab.Spawn(b.cmd)
	b.ok(err)
	b.wait = wait
	b.until("the daemon answers", 5*time.Second, func() bool {
		_, err := b.client.Status(context.Background())
		return err == nil
	})
}

// kill ends the daemon with a signal and waits for it.
func (b *bench) kill(sig syscall.Signal) {
	if b.cmd != nil {
		_ = b.cmd.Process.Signal(sig)
		_ = b.wait()
		b.cmd = nil
	}
}

func (b *bench) status() api.Snapshot {
	b.Helper()
	s, err := b.client.Status(context.Background())
	if err != nil {
		_ = b.cmd.Process.Signal(syscall.SIGQUIT) // its goroutines go to the log
		time.Sleep(time.Second)
		b.Fatal(err)
	}
	return s
}

// until waits for a condition, at most that long; on an emulated machine for longer.
func (b *bench) until(what string, limit time.Duration, met func() bool) {
	b.Helper()
	deadline := time.Now().Add(limit * patience)
	for !met() {
		if time.Now().After(deadline) {
			b.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// untilStates waits for the uplinks' states, and for the kernel to follow.
func (b *bench) untilStates(limit time.Duration, want ...string) {
	b.Helper()
	var got []string
	defer func() {
		if b.Failed() {
			b.Logf("the states were %v, want %v", got, want)
		}
	}()
	b.until(fmt.Sprintf("states %v", want), limit, func() bool {
		s := b.status()
		got = nil
		carrying := 0
		for _, u := range s.Uplinks {
			got = append(got, string(u.State))
			if u.Active {
				carrying++
			}
		}
		return strings.Join(got, " ") == strings.Join(want, " ") && s.Kernel.InSync && len(s.DefaultRoute.NextHops) == carrying
	})
}

// kernel returns the routing state as people know it, from ip itself.
func (b *bench) kernel(commands ...string) string {
	b.Helper()
	var text strings.Builder
	for _, c := range commands {
		out, err := exec.Command("sh", "-c", c).CombinedOutput()
		if err != nil {
			b.Fatalf("%s: %v\n%s", c, err, out)
		}
		fmt.Fprintf(&text, "# %s\n%s", c, out)
	}
	return text.String()
}

// serveAt serves each connection to an address in a namespace, until the test ends, and closes it when that is done.
func (b *bench) serveAt(ns *lab.Namespace, address string, serve func(net.Conn)) {
	b.Helper()
	var listener net.Listener
	b.ok(ns.Do(func() (err error) { listener, err = net.Listen("tcp4", address); return err }))
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(conn)
				_ = conn.Close()
			}()
		}
	}()
}
