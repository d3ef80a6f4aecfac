package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/uplink/api"
)

// echo sends so many bytes from the LAN by a connection to the n-th address of the internet, and takes them back.
func (b *bench) echo(n int, bytes int) {
	b.Helper()
	flows, _ := b.open(1, n, func(n int) (*flow, error) {
		return b.dialTCP(n, (&net.Dialer{Timeout: 2 * time.Second}).Dial)
	})
	conn := flows[0].conn
	chunk := make([]byte, 16<<10)
	for sent := 0; sent < bytes; sent += len(chunk) {
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write(chunk); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, chunk); err != nil {
			b.Fatal(err)
		}
	}
	_ = conn.Close()
}

func (b *bench) quota(name string) api.Quota {
	for _, u := range b.status().Uplinks {
		if u.Name == name && u.Quota != nil {
			return *u.Quota
		}
	}
	return api.Quota{}
}

// Quotas: what is counted, over a crash and a flushed ruleset; the warnings; what an uplink is whose quota is used up,
// spare or out; what somebody sets; hooks and metrics.
func TestPolicyQuota(t *testing.T) {
	b := newBench(t, 3)
	told := filepath.Join(b.dir, "told")
	hook := filepath.Join(b.dir, "hook")
	b.ok(os.WriteFile(hook, []byte("#!/bin/sh\necho $UPLINKD_UPLINK $UPLINKD_FROM $UPLINKD_TO >> "+told+"\n"), 0o700))
	const quota = `quota: {bytes: 4MB, on: 15, then: %s, warn: [50, 90]}, tier: %d`
	b.gateway([]int{1, 1, 1}, []string{fmt.Sprintf(quota, "spare", 1), "tier: 2", fmt.Sprintf(quota, "out, direction: tx", 3)},
		normalProbe+fmt.Sprintf(`hooks: [{run: %s, on: quota}]
policies:
  - {name: metered, to: 198.18.1.0/24, via: isp3, when_down: prohibit}
`, hook))
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	b.only("the first tier", at256(9), 4, 1)
	b.until("something is counted", 6*time.Second, func() bool { return b.quota("isp1").Used > 0 })
	before := b.quota("isp1").Used
	b.echo(at256(9), 1<<20) // 1 MiB there and back, and their headers
	b.until("it is counted", 3*time.Second, func() bool { return b.quota("isp1").Used-before > 2<<20 })
	if more := b.quota("isp1").Used - before; more > 2<<20+2<<20/10 {
		t.Errorf("2 MiB of payload count as %d bytes", more)
	}
	b.until("half of it is told", 2*time.Second, func() bool {
		text,
			_ := os.ReadFile(told)
		return strings.Contains(string(text), "isp1 0% 50%")
	})

	// A crash loses nothing: the kernel counts on.
	known := b.quota("isp1").Used
	b.kill(syscall.SIGKILL)
	used := b.counted()
	b.echo(at256(9), 256<<10)
	more := b.counted() - used
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	b.until("what the kernel counted meanwhile is counted", 3*time.Second,
		func() bool { return b.quota("isp1").Used >= known+more })
	t.Logf("%d bytes went while nobody looked; used now %d, the kernel's counters show %d", more,
		b.quota("isp1").Used, b.counted())

	// A flush takes the counters away, and with them what came since the last look.
	was := b.quota("isp1").Used
	if out, err := exec.Command("nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("the table is back", 2*time.Second, func() bool { return b.counted() > 0 && b.status().Kernel.InSync })
	b.until("it is counted on", 3*time.Second, func() bool { return b.quota("isp1").Used >= was })

	// All of it is used: the uplink is spare, and no longer when somebody says otherwise.
	b.echo(at256(9), 1200<<10)
	b.until("it is used up", 3*time.Second, func() bool { return b.quota("isp1").Spent && b.status().Kernel.InSync })
	b.only("the next tier", at256(9), 6, 2)
	b.until("all of it is told", 2*time.Second, func() bool {
		text,
			_ := os.ReadFile(told)
		return strings.Contains(string(text), "% 100%")
	})
	if reason := b.status().Uplinks[0].Reason; !strings.Contains(reason, "its quota of 4MB is used up") {
		t.Errorf("the reason says %q", reason)
	}
	b.ok(b.world.ISPs[1].Silence(true))
	b.ok(b.world.ISPs[2].Silence(true))
	b.untilStates(3*time.Second, "up", "down", "down")
	b.only("no other is up", at256(9), 4, 1)
	b.ok(b.world.ISPs[1].Silence(false))
	b.ok(b.world.ISPs[2].Silence(false))
	b.untilStates(5*time.Second, "up", "up", "up")
	if out, err := b.run("quota", "isp1", "1MB", "--socket", filepath.Join(b.dir, "sock")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("it is in force", 2*time.Second, func() bool { return !b.quota("isp1").Spent && b.status().Kernel.InSync })
	b.only("the first tier again", at256(9), 4, 1)

	// Out: nothing more goes by it, neither by a policy nor by what runs.
	b.only("by its policy", at256(1), 2, 3)
	sent := b.quota("isp3").Used
	b.echo(at256(1), 256<<10) // and as much back, which does not count
	b.until("what goes out is counted", 3*time.Second, func() bool { return b.quota("isp3").Used-sent > 256<<10 })
	if more := b.quota("isp3").Used - sent; more > 320<<10 {
		t.Errorf("256 KiB out count as %d bytes", more)
	}
	b.open(1, at256(1), func(n int) (*flow, error) {
		return b.dialTCP(n,
			(&net.Dialer{Timeout: 2 * time.Second}).Dial)
	})
	if out, err := b.run("quota", "isp3", "4MB", "--socket", filepath.Join(b.dir, "sock")); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b.until("it is out", 2*time.Second, func() bool { return b.quota("isp3").Spent && b.status().Kernel.InSync })
	b.only("its policy refuses", at256(1), 2, 0)
	b.until("its flows are forgotten", 3*time.Second, func() bool { return b.marked(0x03000000) == 0 })
	b.untilStates(time.Second, "up", "up", "up") // the probes go on
	b.ok(b.world.ISPs[0].Silence(true))
	b.ok(b.world.ISPs[1].Silence(true))
	b.untilStates(10*time.Second, "down", "down", "up")
	if got := b.leftBy(at256(9), 2); got[3] > 0 {
		t.Errorf("none else is up, and what is out carries: %v", got)
	}
	b.ok(b.world.ISPs[0].Silence(false))
	b.ok(b.world.ISPs[1].Silence(false))
	b.untilStates(5*time.Second, "up", "up", "up")

	// What is known at the end is known after a restart; who has set it has it on the disk.
	b.kill(syscall.SIGTERM)
	b.start()
	b.untilStates(5*time.Second, "up", "up", "up")
	if !b.quota("isp3").Spent {
		t.Errorf("after a restart: %+v", b.quota("isp3"))
	}
	if _, err := b.run("quota", "isp2", "4MB", "--socket", filepath.Join(b.dir, "sock")); err == nil {
		t.Error("an uplink without a quota is said to have used some of it")
	}
}

// counted is what the kernel's counters of the first uplink's quota show, both directions.
func (b *bench) counted() uint64 {
	sum := uint64(0)
	for _, direction := range []string{"rx", "tx"} {
		out, _ := exec.Command("nft", "list", "counter", "inet", "uplinkd", direction+"_isp1").Output()
		var bytes uint64
		if _, after, ok := strings.Cut(string(out), " bytes "); ok {
			_, _ = fmt.Sscan(after, &bytes)
		}
		sum += bytes
	}
	return sum
}
