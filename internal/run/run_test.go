package run_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uplinkd/internal/lab/labtest"
	"uplinkd/internal/run"
)

func shell(script string) run.Program {
	return run.Program{Args: []string{"/bin/sh", "-c", script}, Env: []string{"COLOUR=red"}, OutputMost: 100}
}

func TestRun(t *testing.T) {
	for name, tt := range map[string]struct {
		script, output string
		fails          bool
	}{
		"output and environment": {"echo $COLOUR $LC_ALL; echo also >&2", "red C\nalso\n", false},
		"nothing is inherited":   {"echo $HOME$UPLINKD_SECRET; pwd", "\n/\n", false},
		"status":                 {"echo bad; exit 3", "bad\n", true},
		"a long output":          {"head -c 1000 /dev/zero | tr '\\0' x", strings.Repeat("x", 100), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("UPLINKD_SECRET", "secret")
			output, err := shell(tt.script).Run(t.Context())
			if string(output) != tt.output || (err != nil) != tt.fails {
				t.Errorf("said %q, %v", output, err)
			}
		})
	}
	if _, err := (run.Program{Args: []string{"/nowhere/at/all"}}).Run(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing program: %v", err)
	}
}

func TestTimeLimit(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := shell("sleep 30 & sleep 30").Run(ctx); !errors.Is(err, run.ErrTimeLimit) {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// A program that leaves a child on its output and ends with status 0 has
// succeeded, and is not waited for. From an attack: it counted as no answer, and
// its removal delayed another uplink's switch by a second.
func TestLeavesAChild(t *testing.T) {
	if _, err := exec.LookPath("setsid"); err != nil {
		labtest.Skip(t, "setsid is not installed")
	}
	began := time.Now()
	output, err := shell("setsid sleep 3 & echo fine").Run(t.Context())
	if err != nil || string(output) != "fine\n" {
		t.Errorf("said %q, %v", output, err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

// Capabilities that this process hands on to all it starts do not reach the program.
func TestAmbientCapabilitiesAreDropped(t *testing.T) {
	const ambient = "UPLINKD_TEST_AMBIENT"
	if os.Getenv(ambient) == "" {
		if os.Geteuid() != 0 {
			labtest.Skip(t, "needs root, to become a user with an ambient capability")
		}
		if _, err := exec.LookPath("setpriv"); err != nil {
			labtest.Skip(t, "setpriv is not installed")
		}
		cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=+net_raw",
			"--ambient-caps=+net_raw", "/proc/self/exe", "-test.run=^TestAmbientCapabilitiesAreDropped$", "-test.v")
		// The test binary may lie where another user may not go.
		program, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.CreateTemp("/tmp", "uplinkd-run-test")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(f.Name())
		if _, err = f.Write(program); err != nil {
			t.Fatal(err)
		}
		if err = errors.Join(f.Chmod(0o755), f.Close()); err != nil {
			t.Fatal(err)
		}
		cmd.Args[6] = f.Name()
		cmd.Dir, cmd.Env = "/", append(os.Environ(), ambient+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if set, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, unix.CAP_NET_RAW, 0, 0); err != nil || set != 1 {
		t.Fatalf("this process has no ambient capability to begin with: %d, %v", set, err)
	}
	output, err := shell("grep -E 'CapEff|CapAmb' /proc/self/status").Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) != 2 || strings.Trim(fields[1], "0") != "" {
			t.Errorf("the program has %s", line)
		}
	}
}
