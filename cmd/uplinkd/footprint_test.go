package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// everything is what cleanup must leave as it was: rules, the routes of all
// tables, addresses, links, settings, nft.
var everything = []string{
	"ip rule", "ip -6 rule", "ip route show table all | sort", "ip -4 addr | sed 's/valid_lft.*//'",
	"find /proc/sys/net/ipv4/conf /proc/sys/net/ipv4/fib* -type f | sort | xargs grep -H .",
	"command -v nft >/dev/null && nft list ruleset || true",
}

func TestCleanupLeavesNoTrace(t *testing.T) {
	b := newBench(t, 3)
	b.ok(b.world.Host().SetLink("eth2", false)) // it is set up by us, so it is given back down
	// What others have: a rule in our range, routes in our tables and in main.
	b.kernel("ip route add 192.0.2.0/24 via 192.168.77.2", "ip route add 192.0.2.0/24 via 192.168.77.2 table 501",
		"ip rule add pref 20050 from 192.0.2.77 lookup 99", "ip addr add 192.168.99.1/24 dev eth3",
		"ip route add default via 192.168.77.2 metric 500")
	t.Cleanup(func() { b.kernel("ip rule del pref 20050") })
	time.Sleep(50 * time.Millisecond) // the carrier of eth2 takes its time
	before := b.kernel(everything...)

	lines := b.dhcp(time.Hour, 2, 1, 1)
	lines[2] = b.static(0, 0, 1)[2]
	b.configure(lines, "")
	b.start()
	b.untilStates(10*time.Second, "up", "up", "up")
	during := b.kernel(everything...)
	if during == before {
		t.Fatal("the daemon changed nothing")
	}
	if out, err := b.run("cleanup", "-c", b.config); err == nil || !strings.Contains(out, "stop it first") {
		t.Errorf("cleanup beside a running daemon: %v, %s", err, out)
	}
	b.kill(syscall.SIGTERM)
	if now := b.kernel("ip rule", "ip route"); !strings.Contains(now, "proto 201") {
		t.Errorf("nothing of ours is left after a stop: %s", now)
	}
	out, err := b.run("cleanup", "-c", b.config)
	if err != nil {
		t.Fatalf("cleanup: %v\n%s", err, out)
	}
	if diff := cmp.Diff(before, b.kernel(everything...)); diff != "" {
		t.Errorf("cleanup left traces (-before +after):\n%s", diff)
	}
	if out, err := b.run("cleanup", "-c", b.config); err != nil || out != "" {
		t.Errorf("a second cleanup: %v, %s; want nothing to do", err, out)
	}
}

// Killed, the daemon leaves traffic flowing; the next one changes nothing in
// the kernel, and judges the uplinks anew without dropping them meanwhile.
func TestKilled(t *testing.T) {
	for kind, lines := range map[string]func(b *bench) []string{
		"static": func(b *bench) []string { return b.static(2, 1, 1) },
		"dhcp":   func(b *bench) []string { return b.dhcp(time.Hour, 2, 1, 1) },
		"dhcp of dnsmasq and kea": func(b *bench) []string {
			labtest.NeedRoot(b, "dnsmasq", "kea-dhcp4")
			isps := b.world.ISPs
			b.dnsmasq(isps[0], "1h")
			b.kea(isps[1], isps[1].Gateway, `"valid-lifetime": 3600`)
			b.dnsmasq(isps[2], "1h")
			return b.dhcpLines()
		},
	} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, 3)
			lines := lines(b)
			b.configure(lines, "")
			b.start()
			b.untilStates(15*time.Second, "up", "up", "up")
			before := b.kernel(everything...)
			b.kill(syscall.SIGKILL)

			l := b.world.Load()
			time.Sleep(500 * time.Millisecond)
			changes := b.monitor()
			b.start()
			b.untilStates(10*time.Second, "up", "up", "up")
			time.Sleep(200 * time.Millisecond)
			if failed, _ := lab.Failures(l.End(), time.Now()); failed > 0 {
				t.Errorf("%d connections failed over a kill and a start, want none", failed)
			}
			if ops := b.status().Kernel.Ops; ops != 0 {
				t.Errorf("%d operations at the second start, want 0", ops)
			}
			if seen := changes(); seen != "" {
				t.Errorf("the kernel was changed:\n%s", seen)
			}
			if diff := cmp.Diff(before, b.kernel(everything...)); diff != "" {
				t.Errorf("another kernel state (-before +after):\n%s", diff)
			}
		})
	}
}

// Killed at random instants of its start, again and again under load: no connection fails,
// and the kernel is left as it was. UPLINKD_RUNS says how often.
func TestKilledAtRandom(t *testing.T) {
	b := newBench(t, 3)
	b.configure(b.static(2, 1, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up", "up")
	before := b.kernel(everything...)
	b.kill(syscall.SIGKILL)
	l := b.world.Load()
	runs := runsOr(t, 5)
	for range runs {
		b.cmd = b.program("run", "-c", b.config)
		b.cmd.Stderr = b.log
		wait, err := lab.Spawn(b.cmd)
		b.ok(err)
		b.wait = wait
		time.Sleep(time.Duration(rand.Int64N(int64(700 * time.Millisecond))))
		b.kill(syscall.SIGKILL)
	}
	b.start()
	b.untilStates(10*time.Second, "up", "up", "up")
	calls := l.End()
	failed, _ := lab.Failures(calls, time.Now())
	t.Logf("killed %d times: %d of %d connections failed", runs, failed, len(calls))
	if failed > 0 {
		t.Errorf("%d of %d connections failed", failed, len(calls))
	}
	if diff := cmp.Diff(before, b.kernel(everything...)); diff != "" {
		t.Errorf("another kernel state (-before +after):\n%s", diff)
	}
}

// monitor listens for changes of routes, rules and addresses until the function
// it returns is called, which returns them.
func (b *bench) monitor() func() string {
	b.Helper()
	var seen syncBuffer
	cmd := exec.Command("ip", "monitor", "route", "rule", "address")
	cmd.Stdout = &seen
	b.ok(cmd.Start())
	time.Sleep(50 * time.Millisecond)
	return func() string {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		var lines []string
		for line := range strings.Lines(seen.String()) {
			// IPv6 is not ours, and link-local addresses become ready by themselves.
			if !strings.Contains(line, "fe80") && !strings.Contains(line, "ff00") && !strings.Contains(line, "inet6") &&
				!strings.Contains(line, "_lft") {
				lines = append(lines, line)
			}
		}
		return strings.Join(lines, "")
	}
}

// build builds the program as users get it, without the race detector. Where there is no
// Go, as on the machines of make test-kernels, the tests themselves are that program.
func (b *bench) build() string {
	b.Helper()
	program := filepath.Join(b.dir, "uplinkd")
	if _, err := exec.LookPath("go"); err != nil {
		self, err := os.Executable()
		b.ok(err)
		b.ok(os.WriteFile(program, []byte("#!/bin/sh\n"+asProgram+"=1 exec "+self+` "$@"`+"\n"), 0o700))
		return program
	}
	out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// Two daemons on one host would fight, and a cleanup beside one would take its
// routes away, whatever their configurations say of socket and state. From the
// second review.
func TestOnlyOneLooksAfterATag(t *testing.T) {
	b := newBench(t, 1)
	b.configure(b.static(1), "")
	b.start()
	b.untilStates(5*time.Second, "up")
	before := b.kernel(everything...)
	other := filepath.Join(b.dir, "other.yaml")
	text, err := os.ReadFile(b.config)
	b.ok(err)
	elsewhere := strings.NewReplacer("/sock", "/sock2", "/state", "/state2").Replace(string(text))
	b.ok(os.WriteFile(other, []byte(elsewhere), 0o600))
	for _, command := range []string{"run", "cleanup"} {
		out, err := b.run(command, "-c", other)
		if err == nil || !strings.Contains(out, fmt.Sprintf("another uplinkd (pid %d)", b.cmd.Process.Pid)) {
			t.Errorf("%s beside a daemon: %v\n%s", command, err, out)
		}
	}
	// Nor does another tag help: settings belong to none. From the third review.
	b.ok(os.WriteFile(other, []byte(strings.ReplaceAll(string(text), "/sock", "/sock2")+"routes: {protocol: 99}\n"), 0o600))
	if out, err := b.run("cleanup", "-c", other); err == nil || !strings.Contains(out, "another uplinkd (pid") {
		t.Errorf("cleanup under another tag beside a daemon: %v\n%s", err, out)
	}
	if diff := cmp.Diff(before, b.kernel(everything...)); diff != "" {
		t.Errorf("the kernel was changed (-before +after):\n%s", diff)
	}
}

// Anybody can take the lock's name; nobody can keep the daemon from its work so.
// From the third review.
func TestLockTakenByNobody(t *testing.T) {
	b := newBench(t, 1)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	b.ok(err)
	b.Cleanup(func() { _ = unix.Close(fd) })
	b.ok(unix.Bind(fd, &unix.SockaddrUnix{Name: "@uplinkd-201-20000"})) // and does not listen
	b.configure(b.static(1), "")
	b.start()
	b.untilStates(5*time.Second, "up")
}

// Anybody can fill the queue of the lock's socket, and a second daemon ran beside the
// first (attack on the first stage).
func TestLockBehindFullQueue(t *testing.T) {
	b := newBench(t, 1)
	b.configure(b.static(1), "")
	b.start()
	b.untilStates(5*time.Second, "up")
	b.ok(b.world.Host().Do(func() error { return fillQueue(b.T, "@uplinkd-201-20000") }))
	out, err := b.run("cleanup", "-c", b.config)
	if err == nil || !strings.Contains(out, "stop it first") {
		t.Errorf("%v, %q: want that the other is named", err, out)
	}
}

// fillQueue connects to an abstract socket until no more waits there.
func fillQueue(t *testing.T, name string) error {
	t.Helper()
	for range 1 << 14 {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Connect(fd, &unix.SockaddrUnix{Name: name}); err == unix.EAGAIN {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errors.New("the queue has no end")
}

// Down by hand is somebody's will even across a crash. From the second review.
func TestAdminDownOutlivesACrash(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), "")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	b.ok(b.world.Host().SetLink("eth1", false))
	b.untilStates(2*time.Second, "down", "up")
	if out, err := b.run("plan", "-c", b.config); err != nil || out != "" {
		t.Errorf("plan would undo it: %v\n%s", err, out)
	}
	b.kill(syscall.SIGKILL)
	b.start()
	b.untilStates(5*time.Second, "down", "up")
	if s := b.status(); s.Uplinks[0].Reason != "eth1 is administratively down: ip link set eth1 up" {
		t.Errorf("reason %q", s.Uplinks[0].Reason)
	}
}

// cleanup under another tag than was used still finds what there is; with an
// unreadable record it gives back what it can, and says that something is left.
// From the second review.
func TestCleanupAfterChanges(t *testing.T) {
	b := newBench(t, 1)
	before := b.kernel(everything...)
	b.configure(b.static(1), "")
	b.start()
	b.untilStates(5*time.Second, "up")
	b.kill(syscall.SIGTERM)
	b.configure(b.static(1), "routes: {protocol: 99, rule_priority: 5000}\n")
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Errorf("cleanup: %v\n%s", err, out)
	}
	if diff := cmp.Diff(before, b.kernel(everything...)); diff != "" {
		t.Errorf("cleanup left traces (-before +after):\n%s", diff)
	}

	b.configure(b.static(1), "")
	b.start()
	b.untilStates(5*time.Second, "up")
	b.kill(syscall.SIGTERM)
	record := filepath.Join(b.dir, "state", "kernel.json")
	b.ok(os.WriteFile(record, []byte("{torn"), 0o600))
	if out, err := b.run("plan", "-c", b.config); err != nil {
		t.Errorf("plan: %v\n%s", err, out)
	}
	if _, err := os.Stat(record); err != nil {
		t.Errorf("plan, which changes nothing, took the record away: %v", err)
	}
	out, err := b.run("cleanup", "-c", b.config)
	if err == nil || !strings.Contains(out, record) {
		t.Errorf("cleanup with an unreadable record: %v\n%s; want it named", err, out)
	}
	if left := b.kernel("ip rule", "ip route show table all"); strings.Contains(left, "proto 201") {
		t.Errorf("cleanup left:\n%s", left)
	}
	b.ok(os.Remove(record))

	// A record of another boot is void. In a container, where the boot's identity is not
	// what it was, settings stayed without a word.
	b.ok(os.WriteFile(record, []byte(`{"boot": "another", "sysctls": [{"name": "net/ipv4/conf/eth1/rp_filter", "was": "1", "set": "2"}]}`), 0o600))
	out, err = b.run("cleanup", "-c", b.config)
	if err != nil || !strings.Contains(out, "of another boot") || !strings.Contains(out, "net/ipv4/conf/eth1/rp_filter=1") {
		t.Errorf("cleanup with a record of another boot: %v\n%s; want it to say what it does not follow", err, out)
	}
}

// An interface that comes and goes, as a USB modem's does, each time with another index:
// each time it is used again, and nothing grows. UPLINKD_RUNS says how often.
func TestModemComesAndGoes(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.launch(exec.Command(b.build(), "run", "-c", b.config))
	b.untilStates(5*time.Second, "up", "up")
	descriptors := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", b.cmd.Process.Pid))
		b.ok(err)
		return len(fds)
	}
	time.Sleep(3 * time.Second) // by then the settings that are watched stay open
	begun, resident, lines := descriptors(), residentKB(t, b.cmd.Process.Pid), strings.Count(b.log.String(), "\n")
	runs, worst := runsOr(t, 4), time.Duration(0)
	for range runs {
		b.ok(b.world.ISPs[0].Detach())
		b.untilStates(3*time.Second, "down", "up")
		came := time.Now()
		b.ok(b.world.ISPs[0].Attach())
		b.untilStates(5*time.Second, "up", "up")
		worst = max(worst, time.Since(came))
	}
	after, said := residentKB(t, b.cmd.Process.Pid), strings.Count(b.log.String(), "\n")-lines
	t.Logf("%d times: up again after %v at the worst; %d descriptors of %d before, %.1f MB of %.1f, %d lines",
		runs, worst.Round(time.Millisecond), descriptors(), begun, float64(after)/1024, float64(resident)/1024, said)
	if now := descriptors(); now > begun+3 {
		t.Errorf("%d descriptors, %d before", now, begun)
	}
	if after > resident+8<<10 {
		t.Errorf("%d kB resident, %d before", after, resident)
	}
	if said > 8*runs {
		t.Errorf("%d lines in the journal of %d times", said, runs)
	}
}
