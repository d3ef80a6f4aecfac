package main

import (
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

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
)

// firstStage is the commit of the first stage of the project.
const firstStage = "c82b5ea"

// buildOf builds the program as it was at a commit.
func (b *bench) buildOf(commit string) string {
	b.Helper()
	source := filepath.Join(b.dir, commit)
	b.ok(os.Mkdir(source, 0o700))
	archive := exec.Command("sh", "-c", fmt.Sprintf("git -C ../.. archive %s | tar -x -C %s", commit, source))
	if out, err := archive.CombinedOutput(); err != nil || len(out) > 0 {
		labtest.Missing(b.T, fmt.Sprintf("the repository here does not hold commit %s: %s", commit, strings.TrimSpace(string(out))))
	}
	program := filepath.Join(b.dir, "uplinkd-"+commit)
	build := exec.Command("go", "build", "-o", program, "./cmd/uplinkd")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		labtest.Missing(b.T, fmt.Sprintf("commit %s does not build here: %s", commit, out))
	}
	return program
}

// A newer program takes over what an older one has left, in the kernel and on the disk, and
// the older one takes it back, each killed under 100 new connections a second. None fails,
// and the operator's order stands throughout.
func TestUpgradeAndBack(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 3)
	programs := []string{b.buildOf(firstStage), b.build()}
	lines := b.static(2, 1, 1)
	b.ok(b.world.ISPs[0].StartDHCP(time.Hour))
	lines[0] = fmt.Sprintf("name: isp1, interface: %s, address: dhcp, gateway: lease, weight: 2", b.world.ISPs[0].Interface)
	b.configure(lines, "")
	launch := func(n int) { b.launch(exec.Command(programs[n%2], "run", "-c", b.config)) }
	launch(0)
	b.untilStates(10*time.Second, "up", "up", "up")
	order := exec.Command(programs[0], "drain", "isp2", "-c", b.config)
	if out, err := order.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.untilStates(5*time.Second, "up", "drained", "up")
	address := b.status().Uplinks[0].Address
	load := b.world.Load()
	for n := range 4 {
		b.kill(syscall.SIGKILL)
		launch(n + 1)
		b.untilStates(10*time.Second, "up", "drained", "up")
		if now := b.status().Uplinks[0].Address; now != address {
			t.Errorf("start %d: the lease is %s, and was %s", n+1, now, address)
		}
	}
	calls := load.End()
	failed, _ := lab.Failures(calls, time.Now())
	t.Logf("there and back twice: %d of %d connections failed", failed, len(calls))
	if failed > 0 {
		t.Errorf("%d of %d connections failed", failed, len(calls))
	}
}

// A power cut may leave any file of the state directory torn at any byte, or its end zeros.
// The daemon starts over each, leads traffic, and keeps what is in the others.
func TestTornState(t *testing.T) {
	labtest.Measured(t)
	b := newBench(t, 2)
	b.configure(b.dhcp(time.Hour, 1, 1), "")
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	if out, err := b.run("weight", "isp2", "7", "-c", b.config); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b.until("the kernel has the weight", 5*time.Second, func() bool {
		return strings.Contains(b.kernel("ip route show table all"), "weight 7")
	})
	b.kill(syscall.SIGTERM)
	state := filepath.Join(b.dir, "state")
	whole := map[string][]byte{}
	entries, err := os.ReadDir(state)
	b.ok(err)
	for _, e := range entries {
		if whole[e.Name()], err = os.ReadFile(filepath.Join(state, e.Name())); err != nil || len(whole[e.Name()]) == 0 {
			delete(whole, e.Name())
		}
	}
	for _, name := range []string{"kernel.json", "orders.json", "learned.json", "lease-eth1.json"} {
		if whole[name] == nil {
			t.Fatalf("no %s in %v: the test tests nothing", name, entries)
		}
	}
	before := b.kernel(everything...)
	load := b.world.Load()
	starts := 0
	for name, text := range whole {
		for range runsOr(t, 1) {
			for file, b2 := range whole {
				b.ok(os.WriteFile(filepath.Join(state, file), b2, 0o600))
			}
			torn := append([]byte(nil), text[:rand.IntN(len(text))]...)
			if rand.IntN(2) == 1 {
				torn = append(torn, make([]byte, len(text)-len(torn))...)
			}
			b.ok(os.WriteFile(filepath.Join(state, name), torn, 0o600))
			b.start()
			b.untilStates(10*time.Second, "up", "up")
			starts++
			if weight := b.status().Uplinks[1].EffectiveWeight; weight != 7 && name != "orders.json" {
				t.Errorf("%s torn after %d bytes: the order of the other file is gone", name, len(torn))
			}
			b.kill(syscall.SIGKILL)
		}
	}
	calls := load.End()
	failed, _ := lab.Failures(calls, time.Now())
	t.Logf("%d starts over torn files: %d of %d connections failed", starts, failed, len(calls))
	if failed > 0 {
		t.Errorf("%d of %d connections failed", failed, len(calls))
	}
	for file, text := range whole {
		b.ok(os.WriteFile(filepath.Join(state, file), text, 0o600))
	}
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	if diff := cmp.Diff(before, b.kernel(everything...)); diff != "" {
		t.Errorf("the kernel is another (-before +after):\n%s", diff)
	}
}
