package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Where a program looks methods up by names that the linker cannot know, as text/template does, the linker keeps every
// method of every type: that was a fifth of the program, in each host's memory.
func TestDeadCodeIsLeftOut(t *testing.T) {
	out, err := exec.Command("go", "build", "-ldflags=-dumpdep", "-o", filepath.Join(t.TempDir(), "uplinkd"), ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %.1000s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	if len(lines) < 10_000 {
		t.Fatalf("the linker names %d dependencies: it says them otherwise now", len(lines))
	}
	for _, line := range lines {
		if strings.Contains(line, "<ReflectMethod>") {
			t.Errorf("looks methods up by name: %s", line)
		}
	}
}
