package main

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What people do to an interface while it is an uplink's. Each time the other uplink goes
// on without a failed connection of its own, and in the end the kernel holds what it held.
func TestChurn(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.static(1, 1), fastProbe)
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	before := ofIPv4(b.kernel(everything...))
	for _, tt := range []struct {
		name string
		do   []string
		down bool // it is of no use until undo
		undo []string
	}{
		{name: "its addresses are flushed", do: []string{"ip addr flush dev eth1"}},
		{name: "another MAC address", do: []string{
			"ip link set eth1 down", "ip link set eth1 address 02:00:00:00:00:77", "ip link set eth1 up",
		}},
		{name: "another MTU", do: []string{"ip link set eth1 mtu 1280"}, undo: []string{"ip link set eth1 mtu 1500"}},
		{
			name: "another name", do: []string{"ip link set eth1 down", "ip link set eth1 name away1", "ip link set away1 up"}, down: true,
			undo: []string{"ip link set away1 down", "ip link set away1 name eth1", "ip link set eth1 up"},
		},
		{
			name: "into a bridge", do: []string{"ip link add br9 type bridge", "ip link set br9 up", "ip link set eth1 master br9"}, down: true,
			undo: []string{"ip link set eth1 nomaster", "ip link del br9"},
		},
		{
			name: "administratively down", do: []string{"ip link set eth1 down"}, down: true,
			undo: []string{"ip link set eth1 up"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.churn(t, before, tt.down, func() { b.kernel(tt.do...) }, func() {
				if tt.undo != nil {
					b.kernel(tt.undo...)
				}
			})
		})
	}
	t.Run("another namespace", func(t *testing.T) {
		elsewhere := exec.Command("unshare", "--net", "sleep", "60")
		b.ok(elsewhere.Start())
		t.Cleanup(func() { _ = elsewhere.Process.Kill(); _ = elsewhere.Wait() })
		pid := elsewhere.Process.Pid
		b.until("it is in a namespace of its own", time.Second, func() bool {
			return b.kernel("readlink /proc/self/ns/net") != strings.Replace(b.kernel(fmt.Sprintf("readlink /proc/%d/ns/net", pid)), fmt.Sprint(pid), "self", 1)
		})
		b.churn(t, before, true, func() { b.kernel(fmt.Sprintf("ip link set eth1 netns %d", pid)) }, func() {
			b.kernel(fmt.Sprintf("nsenter --net=/proc/%d/ns/net ip link set eth1 netns $$", pid), "ip link set eth1 up")
		})
	})
}

// ofIPv4 leaves out what is of IPv6: it is not ours, and its link-local addresses become
// ready by themselves.
func ofIPv4(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.Contains(line, "fe80:") && !strings.Contains(line, "ff00:") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// churn does something to the first uplink, undoes it, and looks after the other one
// meanwhile. In the end the kernel is to hold what it held before.
func (b *bench) churn(t *testing.T, before string, down bool, do, undo func()) {
	t.Helper()
	here := *b
	b, here.T = &here, t // what fails, fails here
	f, err := b.connectionBy(2)
	b.ok(err)
	defer f.conn.Close()
	do()
	if down {
		b.untilStates(5*time.Second, "down", "up")
		if failed := b.failing(10); failed > 0 {
			t.Errorf("%d of 10 connections fail beside it", failed)
		}
	}
	undo()
	diff := "not looked at"
	for deadline := time.Now().Add(5 * time.Second); diff != "" && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		diff = cmp.Diff(before, ofIPv4(b.kernel(everything...)))
	}
	if diff != "" {
		t.Errorf("the kernel is another (-before +after):\n%s", diff)
	}
	b.untilStates(5*time.Second, "up", "up")
	if failed := b.failing(20); failed > 0 {
		t.Errorf("%d of 20 connections fail afterwards", failed)
	}
	if err := b.works(f); err != nil {
		t.Errorf("a connection of the other uplink: %v", err)
	}
}

// connectionBy opens connections until one leaves by an uplink.
func (b *bench) connectionBy(isp int) (*flow, error) {
	for n := range 50 {
		f, err := b.dialTCP(40_000+n, net.Dial)
		if err != nil {
			return nil, err
		}
		if f.isp == isp {
			return f, nil
		}
		_ = f.conn.Close()
	}
	return nil, fmt.Errorf("none of 50 connections left by ISP %d", isp)
}

// Two uplinks by DHCP that change their names, as two USB modems may between two boots:
// each finds itself at the other's provider, with a lease of that one, and works.
func TestNamesSwapped(t *testing.T) {
	b := newBench(t, 2)
	b.configure(b.dhcp(time.Hour, 1, 1), fastProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	swap := func() {
		b.kernel("ip link set eth1 down", "ip link set eth2 down",
			"ip link set eth1 name swap0", "ip link set eth2 name eth1", "ip link set swap0 name eth2",
			"ip link set eth1 up", "ip link set eth2 up")
	}
	for _, want := range []string{"100.64.2. 100.64.1.", "100.64.1. 100.64.2."} {
		swap()
		began := time.Now()
		b.until("each has the other's lease", 20*time.Second, func() bool {
			s := b.status()
			return s.Uplinks[0].Address != "" && s.Uplinks[1].Address != "" && s.Uplinks[0].Address[:9]+" "+s.Uplinks[1].Address[:9] == want
		})
		b.untilStates(10*time.Second, "up", "up")
		t.Logf("swapped: both up after %v", time.Since(began).Round(time.Millisecond))
		if failed := b.failing(20); failed > 0 {
			t.Errorf("%d of 20 connections fail", failed)
		}
	}
	if n := bytes.Count([]byte(b.kernel("ip -4 addr show dev eth1")), []byte("inet ")); n != 1 {
		t.Errorf("%d addresses on eth1, want the lease's alone", n)
	}
}
