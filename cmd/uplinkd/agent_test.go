package main

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"uplinkd/internal/lab"
)

// An agent on the internet says, in a line, how much it wants: a share of the weight, none,
// all again. No connection that runs is ended by it, and nobody's word takes the last uplink.
func TestAgent(t *testing.T) {
	b := newBench(t, 2)
	at := netip.AddrPortFrom(lab.Somewhere(7), 7777)
	var line atomic.Value
	line.Store("up")
	b.serveAt(b.world.Internet, at.String(), func(conn net.Conn) { _, _ = fmt.Fprintln(conn, line.Load()) })
	lines := b.static(2, 2)
	lines[0] += fmt.Sprintf(", probe: {targets: [gateway, 'agent://%s']}", at)
	b.configure(lines, fastProbe+"routes: {balance_interval: 1s}\npolicies: [{name: p, to: 203.0.113.0/24, via: [isp1, isp2]}]\n")
	b.start()
	b.untilStates(5*time.Second, "up", "up")
	long := b.longConnections(20)
	weights := func(want string) {
		t.Helper()
		var list []string
		defer func() {
			if t.Failed() {
				t.Logf("the weights were %q", list)
			}
		}()
		b.until("weights "+want+" after "+line.Load().(string), 5*time.Second, func() bool {
			list = nil
			for _, hop := range b.status().DefaultRoute.NextHops {
				list = append(list, fmt.Sprintf("%s %d", hop.Uplink, hop.Weight))
			}
			return strings.Join(list, ", ") == want
		})
	}
	says := func(text, want string) {
		t.Helper()
		line.Store(text)
		weights(want)
	}
	weights("isp1 2, isp2 2")
	says("up 50%", "isp1 1, isp2 2")
	if u := b.status().Uplinks[0]; u.AgentPercent.N != 50 || !strings.Contains(u.Reason, "its agent wants 50 % of its weight") {
		t.Errorf("status: %+v, %s", u.AgentPercent, u.Reason)
	}
	says("75", "isp1 3, isp2 4")
	says("drain", "isp2 2")
	if u := b.status().Uplinks[0]; u.State != "up" || !strings.Contains(u.Reason, "its agent wants no new connections") {
		t.Errorf("a drained uplink is %s: %s", u.State, u.Reason)
	}
	if leads := b.status().Policies[0].Leads; leads != "isp2" {
		t.Errorf("a policy leads to %s while the first of its uplinks is drained by its agent", leads)
	}
	if _, err := b.run("drain", "isp2", "-c", b.config); err != nil {
		t.Fatal(err)
	}
	weights("isp1 1") // better than nowhere
	if _, err := b.run("enable", "isp2", "-c", b.config); err != nil {
		t.Fatal(err)
	}
	says("down", "isp2 2")
	says("ready 100%", "isp1 2, isp2 2")
	out, err := b.run("probe", "--socket="+b.dir+"/sock", "agent://"+at.String(), "--via", "isp1")
	if err != nil || !strings.Contains(out, "and wants 100 % of its weight") {
		t.Errorf("probe: %v, %s", err, out)
	}
	if aborted, ended := long(); aborted+ended > 0 {
		t.Errorf("of 20 connections %d were aborted, %d ended", aborted, ended)
	}
}
