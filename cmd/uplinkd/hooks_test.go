package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Hooks run by another process than the daemon, as under systemd: what was told is not
// told again when that process is restarted, what a new daemon tells is, and a reload
// brings other hooks.
func TestHooksApart(t *testing.T) {
	b := newBench(t, 1)
	told := filepath.Join(b.dir, "told")
	configure := func(word string) {
		b.configure(b.static(1), fastProbe+fmt.Sprintf("hooks: [{run: [/bin/sh, -c, 'echo %s $UPLINKD_EVENT >>%s'], on: [up, down]}]\n", word, told))
	}
	lines := func() string {
		text, _ := os.ReadFile(told) // not there yet: nothing was told
		return strings.ReplaceAll(strings.TrimSpace(string(text)), "\n", ", ")
	}
	untilTold := func(want string) {
		t.Helper()
		b.until(want, 5*time.Second, func() bool { return lines() == want })
	}
	configure("first")
	var kill func()
	hooks := func() {
		cmd := b.program("hooks", "-c", b.config)
		cmd.Env = append(cmd.Env, "RUNTIME_DIRECTORY="+b.dir)
		cmd.Stderr = b.log
		b.ok(cmd.Start())
		kill = func() { _ = cmd.Process.Signal(syscall.SIGKILL); _ = cmd.Wait() }
	}
	hooks()
	t.Cleanup(func() { kill() })
	b.launch(b.program("run", "--no-hooks", "-c", b.config))
	b.untilStates(5*time.Second, "up")
	untilTold("first up")
	b.until("what was told is noted", 5*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(b.dir, "told.json"))
		return err == nil
	})
	time.Sleep(200 * time.Millisecond)

	kill()
	b.ok(b.world.ISPs[0].Carrier(false))
	b.untilStates(2*time.Second, "down")
	hooks()
	untilTold("first up, first down")
	b.ok(b.world.ISPs[0].Carrier(true))
	untilTold("first up, first down, first up")

	b.kill(syscall.SIGKILL)
	b.launch(b.program("run", "--no-hooks", "-c", b.config))
	untilTold("first up, first down, first up, first up")
	configure("second")
	_, err := b.run("reload", "-c", b.config)
	b.ok(err)
	time.Sleep(6 * time.Second) // it looks when it is told something, or every 3 s
	b.ok(b.world.ISPs[0].Carrier(false))
	untilTold("first up, first down, first up, first up, second down")
}
