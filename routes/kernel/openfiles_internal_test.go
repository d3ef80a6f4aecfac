package kernel

import (
	"os/exec"
	"testing"

	"uplinkd/internal/lab/labtest"
)

// A setting is read from a file that stays open, whatever it becomes meanwhile; one of an interface that has gone gives
// an error, and one that has come again under its name is the new one's.
func TestOpenFiles(t *testing.T) {
	labtest.Need(t)
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	add := func() { ip("link", "add", "kept0", "type", "veth", "peer", "name", "kept1") }
	add()
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", "kept0").Run() })
	const name = "net/ipv4/conf/kept0/rp_filter"
	var files openFiles
	defer files.keep(func(string) bool { return false })
	read := func() string {
		value, err := files.read(name)
		if err != nil {
			return err.Error()
		}
		return string(value)
	}
	set := func(value string) {
		t.Helper()
		if out, err := exec.Command("sh", "-c", "echo "+value+" >/proc/sys/"+name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	for _, value := range []string{"2", "0", "1"} {
		set(value)
		for range 2 {
			if got := read(); got != value {
				t.Errorf("%s is %s", value, got)
			}
		}
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = files.read(name) }); n > 0 {
		t.Errorf("%.0f allocations for each reading", n)
	}
	ip("link", "del", "kept0")
	if got := read(); got != "no such file or directory" || len(files.fds) != 0 {
		t.Errorf("of an interface that has gone: %s, %d files open", got, len(files.fds))
	}
	add()
	if set("2"); read() != "2" {
		t.Errorf("of one that has come again: %s", read())
	}
	files.keep(func(string) bool { return false })
	if len(files.fds) != 0 {
		t.Errorf("%d files are open at the end", len(files.fds))
	}
}
