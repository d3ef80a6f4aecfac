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

// Need skips a test that needs the lab where there is none. With CI set it fails.
func Need(tb testing.TB) {
	tb.Helper()
	if !lab.Inside() {
		skip(tb, "needs network namespaces: run as root, or allow user namespaces")
	}
}

// NeedRoot skips a test that needs a program which only runs as real root.
func NeedRoot(tb testing.TB, programs ...string) {
	tb.Helper()
	Need(tb)
	if !lab.AsRoot() {
		skip(tb, "needs root: sudo make test")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			skip(tb, "needs "+p+": make test installs it as root")
		}
	}
}

func skip(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatal("in CI no lab test may be skipped: " + why)
	}
	tb.Skip(why)
}
