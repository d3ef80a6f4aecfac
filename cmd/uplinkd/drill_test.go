package main

import (
	"encoding/json"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/uplink/api"
)

// A drill of an uplink that works, in both families: what it tells is what happened. When it is killed the
// silence ends all the same. The daemon's own connections, and those of others, live.
func TestDrill(t *testing.T) {
	labtest.Measured(t)
	b := newBench6(t, 2)
	b.routers()
	b.configure(b.dual(1, 1), normalProbe)
	b.start()
	b.untilStates(10*time.Second, "up", "up")
	b.untilStates6(10*time.Second, "up", "up")
	flows4, by4 := b.openHere(20, b.dialTCPHere)
	flows6, _ := b.openHere(20, b.dialTCP6)

	out, err := b.program("drill", "isp1", "--for", "3s", "--json", "-c", b.config).Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var results []drillResult
	b.ok(json.Unmarshal(out, &results))
	if len(results) != 2 || results[0].Family != "ipv4" || results[1].Family != familyIPv6 {
		t.Fatalf("results: %s", out)
	}
	for _, r := range results {
		t.Logf("%s: doubt after %s, down after %s, back %s after the silence; %s failed, %s of %s ended",
			r.Family, drillTime(r.Doubt), drillTime(r.Down), drillTime(r.Back), r.Failed, r.Ended, r.Had)
		if r.Doubt == nil || r.Down == nil || r.Back == nil || *r.Down < *r.Doubt || time.Duration(*r.Down) > 2*time.Second || r.Reason == "" {
			t.Errorf("%+v", r)
		}
		if !r.Had.Known || !r.Ended.Known || !r.Failed.Known || r.Had.N == 0 || r.Ended.N > r.Had.N {
			t.Errorf("%s: connections before %v, ended %v, failed %v", r.Family, r.Had, r.Ended, r.Failed)
		}
	}
	if results[0].Had.N != by4[1] {
		t.Errorf("it had %d connections of IPv4, want %d", results[0].Had.N, by4[1])
	}
	status := b.status()
	for i, state := range []api.OperState{status.Uplinks[0].State, status.Uplinks[0].IPv6.State} {
		if state != api.Up {
			t.Errorf("family %d is %s after the drill", i, state)
		}
	}
	for name, flows := range map[string][]*flow{"IPv4": flows4, "IPv6": flows6} {
		if broken := b.broken(flows, 1); len(broken) > 0 {
			t.Errorf("%s: connections by the other uplink broke: %v", name, broken)
		}
	}
	if text := b.kernel("nft list tables"); strings.Contains(text, "uplinkd_drill") {
		t.Errorf("left in the kernel: %s", text)
	}

	all, err := b.program("drill", "--all", "--for", "2s", "-c", b.config).Output()
	if err != nil || strings.Count(string(all), "\n") != 5 || strings.Count(string(all), "isp2") != 2 {
		t.Errorf("a drill of all: %v\n%s", err, all)
	}
	t.Logf("all:\n%s", all)

	killed := b.program("drill", "isp2", "--for", "3s", "-c", b.config)
	b.ok(killed.Start())
	b.untilStates(5*time.Second, "up", "down")
	if out, err := b.run("drill", "isp1", "--for", "3s", "-c", b.config); err == nil || !strings.Contains(out, "no other uplink works in ipv4") {
		t.Errorf("a drill of the only uplink: %v\n%s", err, out)
	}
	if out, err := b.run("drill", "isp1", "--for", "3s", "--force", "-c", b.config); err == nil || !strings.Contains(out, "kept silent already") {
		t.Errorf("a second drill: %v\n%s", err, out)
	}
	b.ok(killed.Process.Signal(syscall.SIGKILL))
	_ = killed.Wait()
	b.untilStates(10*time.Second, "up", "up")
	b.untilStates6(10*time.Second, "up", "up")
	b.kernel("nft list table inet uplinkd_drill") // what is left of it is empty
	b.kill(syscall.SIGTERM)
	if out, err := b.run("cleanup", "-c", b.config); err != nil {
		t.Fatalf("cleanup: %v\n%s", err, out)
	}
	if err := exec.Command("nft", "list", "table", "inet", "uplinkd_drill").Run(); err == nil {
		t.Error("cleanup leaves the table of a drill that was killed")
	}
}

// What must not be made silent unless told.
func TestDrillRefuses(t *testing.T) {
	six := func(state api.OperState) *api.IPv6 {
		return &api.IPv6{State: state, Addresses: []netip.Prefix{netip.MustParsePrefix("2001:db8::5/64")}}
	}
	one := api.Uplink{Name: "a", Family: "ipv4", State: api.Up, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.5/24")}, IPv6: six(api.Up)}
	other := api.Uplink{Name: "b", Family: "ipv4", State: api.Up, IPv6: six(api.Up)}
	down, no6, only6 := other, other, api.Uplink{Name: "c", Family: familyIPv6, State: api.Up, IPv6: six(api.Up)}
	down.State, no6.IPv6 = api.Down, six(api.Down)
	at := func(own string) *api.Login { return &api.Login{Local: netip.MustParseAddrPort(own)} }
	for name, tt := range map[string]struct {
		uplinks []api.Uplink
		login   *api.Login
		force   bool
		want    string
	}{
		"fine":                       {[]api.Uplink{one, other}, at("10.0.0.1:22"), false, ""},
		"the only one":               {[]api.Uplink{one}, nil, false, "no other uplink works in ipv4"},
		"the only one in IPv4":       {[]api.Uplink{one, down}, nil, false, "no other uplink works in ipv4"},
		"another of IPv6 alone":      {[]api.Uplink{one, only6}, nil, false, "no other uplink works in ipv4"},
		"the only one in IPv6":       {[]api.Uplink{one, no6}, nil, false, "no other uplink works in ipv6"},
		"the only one, told":         {[]api.Uplink{one}, nil, true, ""},
		"a login comes by it":        {[]api.Uplink{one, other}, at("192.0.2.5:22"), false, "this login"},
		"a login over IPv6 by it":    {[]api.Uplink{one, other}, at("[2001:db8::5]:22"), false, "this login"},
		"a login comes by it, told":  {[]api.Uplink{one, other}, at("192.0.2.5:22"), true, ""},
		"down already in one family": {[]api.Uplink{{Name: "a", Family: "ipv4", State: api.Down, IPv6: six(api.Up)}, other}, nil, false, ""},
		"down already in both, told": {[]api.Uplink{{Name: "a", Family: "ipv4", State: api.Down}, other}, nil, true, "it is down"},
	} {
		d := drill{force: tt.force}
		got := d.refuses(&api.Snapshot{Uplinks: tt.uplinks}, &tt.uplinks[0], tt.login)
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
