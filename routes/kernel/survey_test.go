package kernel_test

import (
	"context"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
	"uplinkd/routes/kernel"
)

// ip runs ip(8).
func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
}

func dsts(list []routes.Route) (all []string) {
	for _, r := range list {
		all = append(all, r.Dst.String())
	}
	slices.Sort(all)
	return all
}

// What is ours is found wherever it is: in tables that no configuration names any more,
// and beside the default route of main.
func TestOursIsFoundInEveryTable(t *testing.T) {
	labtest.Need(t)
	wires(t)
	ip(t, "route add 10.50.0.0/16 dev wan1 proto 201")
	ip(t, "route add prohibit default table 777 proto 201")
	ip(t, "route add 10.51.0.0/16 dev wan1 table 70001 proto 201")
	ip(t, "route add 10.52.0.0/16 dev wan1 table 777 proto 4")
	k := openKernel(t)
	have, err := k.Read(t.Context(), routes.Scope{Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	if got := dsts(have.Routes); strings.Join(got, " ") != "0.0.0.0/0 10.50.0.0/16 10.51.0.0/16" {
		t.Errorf("found %v", got)
	}
	do(t, k, routes.Cleanup(owner, have).Ops)
	if have, err = k.Read(t.Context(), routes.Scope{Owner: owner}); err != nil || len(have.Routes) != 0 {
		t.Errorf("left after cleanup: %v, error %v", dsts(have.Routes), err)
	}
}

// The default routes of main are found among many others, whoever added them last.
func TestDefaultsAmongMany(t *testing.T) {
	labtest.Need(t)
	wires(t)
	ip(t, "address add 192.0.2.5/24 dev wan1")
	for i := range 200 { // more than one message of the kernel's holds
		ip(t, "route add "+netip.AddrFrom4([4]byte{1, byte(i), 0, 0}).String()+"/16 via 192.0.2.1 proto bird")
	}
	ip(t, "route add 0.0.0.0/1 via 192.0.2.1 proto bird")
	ip(t, "route add default via 192.0.2.1 metric 7 proto static")
	ip(t, "route add default via 192.0.2.2 proto 201")
	have, err := openKernel(t).Read(t.Context(), routes.Scope{Owner: owner, Shared: []uint32{routes.TableMain}})
	if err != nil {
		t.Fatal(err)
	}
	if len(have.Routes) != 2 || have.Routes[0].Protocol != 201 || have.Routes[1].Metric != 7 {
		t.Errorf("found %v, want ours and the one of metric 7", have.Routes)
	}
}

// From events it follows what is read again: nothing when a routing daemon changes the
// routes of the Internet.
func TestWhatWakes(t *testing.T) {
	labtest.Need(t)
	wires(t)
	ip(t, "address add 192.0.2.5/24 dev wan1")
	k := openKernel(t)
	w, err := kernel.NewWatcher(k)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	woken := make(chan struct{}, 100)
	done := make(chan error)
	go func() { done <- w.Watch(ctx, func() { woken <- struct{}{} }) }()
	scope := routes.Scope{Owner: owner, Tables: []uint32{501}, Shared: []uint32{routes.TableMain}}
	state := func() routes.State {
		have, err := k.Read(t.Context(), scope)
		if err != nil {
			t.Fatal(err)
		}
		return have
	}
	state()
	// The address's survey, and the pause after it; on a busy machine the links take their time
	// to come up, which wakes too.
	for quiet := false; !quiet; {
		select {
		case <-woken:
		case <-time.After(1200 * time.Millisecond):
			quiet = true
		}
	}
	for _, tt := range []struct {
		args  string
		wakes bool
		shows func(routes.State) bool
	}{
		{"route add 8.8.0.0/16 via 192.0.2.1 proto bird", false, nil},
		{"route add default via 192.0.2.1 table 900", false, nil},
		{"route add 9.9.0.0/16 via 192.0.2.1 table 501", false, nil},
		{"route add default via 192.0.2.1 metric 9", true, func(s routes.State) bool { return len(s.Routes) == 1 }},
		{"route add default via 192.0.2.1 table 501", true, func(s routes.State) bool { return len(s.Routes) == 2 }},
		{"route add 9.8.0.0/16 via 192.0.2.1 table 501 proto 201", true, func(s routes.State) bool { return len(s.Routes) == 3 }},
		{"route add 10.7.0.0/16 via 192.0.2.1", true, func(s routes.State) bool {
			return slices.Contains(s.Site, netip.MustParsePrefix("10.7.0.0/16"))
		}},
		{"route add 8.7.0.0/16 via 192.0.2.1 proto 201", true, func(s routes.State) bool {
			return slices.Contains(dsts(s.Routes), "8.7.0.0/16")
		}},
		{"route add 8.6.0.0/16 via 192.0.2.1 table 901 proto 201", true, func(s routes.State) bool {
			return slices.Contains(dsts(s.Routes), "8.6.0.0/16")
		}},
		{"route del 10.7.0.0/16", true, func(s routes.State) bool { return len(s.Site) == 0 }},
	} {
		ip(t, tt.args)
		wait := 3 * time.Second
		if !tt.wakes {
			wait = 100 * time.Millisecond
		}
		select {
		case <-woken:
			if !tt.wakes {
				t.Errorf("woken by ip %s", tt.args)
			}
		case <-time.After(wait):
			if tt.wakes {
				t.Errorf("not woken by ip %s", tt.args)
			}
		}
		if have := state(); tt.shows != nil && !tt.shows(have) {
			t.Errorf("ip %s does not show: routes %v, site %v", tt.args, have.Routes, have.Site)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
