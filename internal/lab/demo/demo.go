// Package demo shows the real daemon at work in the lab, and fails when it does
// not keep a promise.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"uplinkd/internal/lab"
	"uplinkd/uplink/api"
	"uplinkd/uplink/control"
)

// ErrBroken is what Run returns when a promise was not kept.
var ErrBroken = errors.New("a promise was not kept")

// The promises that are shown.
const (
	spreadSlack  = 5.0 // percentage points, of 1000 connections
	firstShare   = 50.0
	lastFailure  = 1200 * time.Millisecond // after the fault
	returnWithin = 2 * time.Second
	connections  = 1000
	leaseTime    = time.Hour
	readyWithin  = 15 * time.Second
)

// A show is one run of the demo.
type show struct {
	out     io.Writer
	printer Printer
	begun   time.Time
	world   *lab.World
	dir     string
	config  string
	client  *control.Client
	daemon  *exec.Cmd
	wait    func() error
	broken  []string
	program string
}

// A Printer writes a snapshot as `uplinkd status` does.
type Printer func(io.Writer, api.Snapshot) error

// Run builds a lab of three ISPs, runs program (uplinkd) in it and tells what
// happens as it happens. It must run inside lab.Enter. It blocks for about 15
// seconds and leaves nothing behind.
func Run(ctx context.Context, program string, out io.Writer, printer Printer) error {
	s := &show{out: out, printer: printer, begun: time.Now(), program: program}
	defer s.end()
	for _, act := range []func(context.Context) error{s.build, s.start, s.spread, s.silence, s.comeBack, s.stop} {
		if err := act(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if len(s.broken) > 0 {
		for _, b := range s.broken {
			s.say("BROKEN: %s", b)
		}
		return ErrBroken
	}
	s.say("Every promise was kept.")
	return nil
}

// say prints one line with the time since the beginning.
func (s *show) say(format string, args ...any) {
	fmt.Fprintf(s.out, "%5.1fs  %s\n", time.Since(s.begun).Seconds(), fmt.Sprintf(format, args...))
}

// promise notes a promise that was not kept.
func (s *show) promise(kept bool, format string, args ...any) {
	if !kept {
		s.broken = append(s.broken, fmt.Sprintf(format, args...))
	}
}

func (s *show) build(context.Context) (err error) {
	s.say("Building three ISPs, an internet and a LAN in network namespaces of our own.")
	if s.world, err = lab.NewWorld(3); err != nil {
		return err
	}
	for _, isp := range s.world.ISPs {
		if err = isp.StartDHCP(leaseTime); err != nil {
			return err
		}
	}
	if s.dir, err = os.MkdirTemp("", "uplinkd"); err != nil {
		return err
	}
	s.config = filepath.Join(s.dir, "uplinkd.yaml")
	s.client = control.NewClient(filepath.Join(s.dir, "sock"))
	text := fmt.Sprintf(`uplinks:
  - {name: fiber, interface: eth1, address: dhcp, gateway: lease, weight: 2}
  - {name: cable, interface: eth2, address: dhcp, gateway: lease, weight: 1}
  - {name: radio, interface: eth3, address: dhcp, gateway: lease, weight: 1}
control: {socket: %s/sock}
state_dir: %s
`, s.dir, s.dir)
	return os.WriteFile(s.config, []byte(text), 0o600)
}

func (s *show) start(ctx context.Context) error {
	s.say("Starting uplinkd: fiber, cable and radio by DHCP, weights 2:1:1, default probes.")
	s.daemon = exec.Command(s.program, "run", "-c", s.config)
	s.daemon.Stderr = indented{s.out}
	wait, err := lab.Spawn(s.daemon)
	if err != nil {
		return err
	}
	s.wait = wait
	took, err := s.until(ctx, readyWithin, allUp)
	if err != nil {
		return err
	}
	s.say("All three are up and share the default route, %d ms after the start.", took.Milliseconds())
	return s.table(ctx)
}

// indented sets the daemon's own log off from the story.
type indented struct{ out io.Writer }

func (i indented) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		// The story has a clock of its own.
		if first, rest, ok := strings.Cut(line, " "); ok && strings.HasPrefix(first, "time=") {
			line = rest
		}
		if _, err := fmt.Fprintf(i.out, "        | %s", line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func (s *show) table(ctx context.Context) error {
	now, err := s.client.Status(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	if err := s.printer(s.out, now); err != nil {
		return err
	}
	fmt.Fprintln(s.out)
	return nil
}

func allUp(now api.Snapshot) bool {
	for _, u := range now.Uplinks {
		if u.State != "up" {
			return false
		}
	}
	return len(now.Uplinks) > 0 && len(now.DefaultRoute.NextHops) == len(now.Uplinks)
}

// until waits for a condition and returns how long that took.
func (s *show) until(ctx context.Context, limit time.Duration, met func(api.Snapshot) bool) (time.Duration, error) {
	begun := time.Now()
	for {
		now, err := s.client.Status(ctx)
		switch {
		case err == nil && met(now):
			return time.Since(begun), nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case time.Since(begun) > limit && err != nil:
			return 0, fmt.Errorf("the daemon did not answer within %v: %w", limit, err)
		case time.Since(begun) > limit:
			return 0, fmt.Errorf("not within %v; the last state was %+v", limit, now.Uplinks)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *show) spread(context.Context) error {
	count := map[int]int{}
	for n := range connections {
		if isp, err := s.world.Dial(n, lab.CallTimeout); err == nil {
			count[isp.Number]++
		} else {
			count[0]++
		}
	}
	first := 100 * float64(count[1]) / connections
	s.say("%d new connections: fiber %d, cable %d, radio %d, failed %d.",
		connections, count[1], count[2], count[3], count[0])
	s.promise(count[0] == 0, "%d of %d connections failed with every uplink up", count[0], connections)
	s.promise(first > firstShare-spreadSlack && first < firstShare+spreadSlack,
		"fiber got %.1f%% of the connections, want %.0f%%", first, firstShare)
	return nil
}

func (s *show) silence(ctx context.Context) error {
	l := s.world.Load()
	time.Sleep(time.Second)
	s.say("Fiber's gateway falls silent, its carrier stays, under 100 new connections a second ...")
	fault := time.Now()
	if err := s.world.ISPs[0].Silence(true); err != nil {
		l.End()
		return err
	}
	took, err := s.until(ctx, 5*time.Second, func(now api.Snapshot) bool {
		return now.Uplinks[0].State != "up" && len(now.DefaultRoute.NextHops) == 2
	})
	moved := time.Now()
	time.Sleep(500 * time.Millisecond)
	calls := l.End()
	if err != nil {
		return err
	}
	failed, last := lab.Failures(calls, fault)
	after := 0
	for _, c := range calls {
		if c.Began.After(moved) {
			after++
			s.promise(c.ISP != 0 && c.ISP != 1, "a connection after the switch did not leave by a live uplink")
		}
	}
	s.say("Traffic moved to cable and radio after %d ms: %d of %d connections failed, "+
		"the last began %d ms after the fault.",
		took.Milliseconds(), failed, len(calls), last.Milliseconds())
	s.say("Since then %d connections, none failed.", after)
	s.promise(last <= lastFailure,
		"the last failed connection began %v after the fault, want at most %v", last, lastFailure)
	return s.table(ctx)
}

func (s *show) comeBack(ctx context.Context) error {
	s.say("Fiber's gateway answers again ...")
	if err := s.world.ISPs[0].Silence(false); err != nil {
		return err
	}
	took, err := s.until(ctx, 10*time.Second, allUp)
	if err != nil {
		return err
	}
	s.say("Fiber has proved itself and is back in the default route after %d ms.", took.Milliseconds())
	s.promise(took <= returnWithin, "fiber came back after %v, want at most %v", took, returnWithin)
	return s.spread(ctx)
}

// stop kills the daemon the hard way and shows that traffic goes on, and that
// cleanup gives everything back.
func (s *show) stop(context.Context) error {
	s.say("The daemon is killed (SIGKILL) ...")
	s.kill()
	failed := 0
	for n := range 100 {
		if _, err := s.world.Dial(n, lab.CallTimeout); err != nil {
			failed++
		}
	}
	s.say("100 connections without it: %d failed.", failed)
	s.promise(failed == 0, "%d of 100 connections failed after the daemon was killed", failed)
	out, err := exec.Command(s.program, "cleanup", "-c", s.config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cleanup: %w: %s", err, out)
	}
	left, err := exec.Command(s.program, "cleanup", "-c", s.config).CombinedOutput()
	if err != nil {
		return fmt.Errorf("second cleanup: %w: %s", err, left)
	}
	s.promise(len(left) == 0, "cleanup left something behind: %s", left)
	s.say("uplinkd cleanup has given back every route, rule, address and setting.")
	return nil
}

func (s *show) kill() {
	if s.daemon != nil {
		_ = s.daemon.Process.Signal(syscall.SIGKILL)
		_ = s.wait()
		s.daemon = nil
	}
}

func (s *show) end() {
	s.kill()
	if s.world != nil {
		s.world.Close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}
