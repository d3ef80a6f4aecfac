// Package labtest is what tests need to run in the lab.
package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"uplinkd/internal/lab"
)

// Main is a package's TestMain: it runs the tests in the lab's namespaces.
// Where those are forbidden the tests run outside and each that needs the lab
// is skipped by Need, or fails when CI is set.
func Main(m *testing.M) {
	// Where Debian has ip and nft, and no ordinary user's path goes.
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	code, err := lab.Enter()
	switch {
	case err == nil && code >= 0:
		os.Exit(code)
	case errors.Is(err, lab.ErrForbidden) && lab.Inside():
		os.Exit(lab.ForbiddenCode)
	case err != nil && lab.Inside():
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	case err != nil && !errors.Is(err, lab.ErrForbidden):
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// Need skips a test that needs the lab, or the programs it looks at the kernel with,
// where there is none. With CI set it fails.
func Need(tb testing.TB) {
	tb.Helper()
	if !lab.Inside() {
		Skip(tb, "needs network namespaces: run as root, or allow user namespaces")
	}
	NeedPrograms(tb, "ip", "nft")
}

// NeedRoot skips a test that needs a program which only runs as real root.
func NeedRoot(tb testing.TB, programs ...string) {
	tb.Helper()
	Need(tb)
	if !lab.AsRoot() {
		Skip(tb, "needs root: sudo make test")
	}
	NeedPrograms(tb, programs...)
}

// NeedDevice skips a test that needs a device which this user may not open.
func NeedDevice(tb testing.TB, path string) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		Skip(tb, fmt.Sprintf("needs a device: %v", err))
		return
	}
	_ = f.Close()
}

// NeedPrograms skips a test that needs programs, which make test installs as root.
func NeedPrograms(tb testing.TB, programs ...string) {
	tb.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			Skip(tb, "needs "+p+": make test installs it as root")
		}
	}
}

// Skip skips a test that this machine cannot run, and notes it in the file that
// UPLINKD_SKIPPED names, for the list at the end of make test. With CI set it fails:
// there nobody reads the list.
func Skip(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatal("in CI this may not be skipped: " + why)
	}
	note(tb, why)
	tb.Skip(why)
}

// Bench skips a test that is part of make bench alone: it takes long, and its figure is no
// promise that a change could break unseen.
func Bench(tb testing.TB) {
	tb.Helper()
	if os.Getenv("UPLINKD_BENCH") == "" {
		Missing(tb, "part of make bench")
	}
}

// Missing skips a test for what is no part of the project, such as recordings of others,
// in CI too, and notes it for the list.
func Missing(tb testing.TB, why string) {
	tb.Helper()
	note(tb, why)
	tb.Skip(why)
}

// Measured skips a test that measures what things take, or waits long for what does not depend
// on who runs it, where UPLINKD_MEASURED says that it was run already, as another user.
func Measured(tb testing.TB) {
	tb.Helper()
	if os.Getenv("UPLINKD_MEASURED") != "" {
		Missing(tb, "it was run already as another user, and depends on nobody (UPLINKD_MEASURED)")
	}
}

func note(tb testing.TB, why string) {
	tb.Helper()
	if path := os.Getenv("UPLINKD_SKIPPED"); path != "" {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = fmt.Fprintf(f, "%s: %s\n", tb.Name(), why)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			tb.Errorf("note what is skipped: %v", err)
		}
	}
}
