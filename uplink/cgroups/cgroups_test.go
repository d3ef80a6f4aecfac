package cgroups_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"uplinkd/uplink/cgroups"
)

// Groups are found when they come, not when they have gone, and with another number when they have come again:
// within a fraction of a second, though the whole path to them comes and goes.
func TestFollower(t *testing.T) {
	root := t.TempDir()
	where := map[string]string{"a.service": "system.slice/a.service"}
	f := cgroups.New(root, func(_ context.Context, unit string) (string, error) {
		if at, ok := where[unit]; ok {
			return at, nil
		}
		return "", errors.New("unknown")
	})
	found := make(chan map[cgroups.Name]cgroups.Group, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx, func(g map[cgroups.Name]cgroups.Group) { found <- g }) }()
	next := func(what string) map[cgroups.Name]cgroups.Group {
		t.Helper()
		select {
		case g := <-found:
			return g
		case <-time.After(2 * time.Second):
			t.Fatalf("%s: not heard", what)
			return nil
		}
	}
	unit, path, guessed := cgroups.Name{Unit: "a.service"}, cgroups.Name{Path: "user.slice/one"},
		cgroups.Name{Unit: "b@1.service"}
	f.Set([]cgroups.Name{unit, path, guessed})
	make1 := func(dir string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// until takes what is found until it is as wanted: directories come one after the other.
	until := func(what string, met func(map[cgroups.Name]cgroups.Group) bool) map[cgroups.Name]cgroups.Group {
		t.Helper()
		for {
			if g := next(what); met(g) {
				return g
			}
		}
	}
	make1("system.slice/a.service")
	g := until("the unit", func(g map[cgroups.Name]cgroups.Group) bool { return g[unit].ID != 0 })
	first := g[unit]
	if first.Level != 2 || first.Path != "system.slice/a.service" || g[path].ID != 0 {
		t.Errorf("found %+v", g)
	}
	if err := os.RemoveAll(filepath.Join(root, "system.slice")); err != nil {
		t.Fatal(err)
	}
	until("that it has gone", func(g map[cgroups.Name]cgroups.Group) bool { return len(g) == 0 })
	make1("occupied") // so that the number is not given again
	make1("system.slice/a.service")
	make1("user.slice/one")
	make1("system.slice/system-b.slice/b@1.service")
	until("all", func(g map[cgroups.Name]cgroups.Group) bool { return len(g) == 3 })
	f.Set([]cgroups.Name{path})
	if g := next("another choice"); len(g) != 1 || g[path].Level != 2 {
		t.Errorf("found %+v, want the path alone", g)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestSlicePath(t *testing.T) {
	for slice, want := range map[string]string{
		"-.slice": "", "user.slice": "user.slice", "user-1000.slice": "user.slice/user-1000.slice",
		"a-b-c.slice": "a.slice/a-b.slice/a-b-c.slice",
	} {
		if got := cgroups.SlicePath(slice); got != want {
			t.Errorf("%s: %q, want %q", slice, got, want)
		}
	}
}
