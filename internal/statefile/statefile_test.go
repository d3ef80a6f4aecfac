package statefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uplinkd/internal/statefile"
)

func TestReplaceAndRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "state.json")
	if _, err := statefile.Read(path, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	for _, d := range []statefile.Durability{statefile.Process, statefile.Power} {
		for _, text := range []string{"first", "2nd"} {
			if err := statefile.Replace(path, []byte(text), d); err != nil {
				t.Fatal(err)
			}
			if b, err := statefile.Read(path, 5); err != nil || string(b) != text {
				t.Errorf("read %q, %v, want %q", b, err, text)
			}
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if list, _ := os.ReadDir(filepath.Dir(path)); len(list) != 1 {
		t.Errorf("%d files are left, want one", len(list))
	}
}

func TestReadIsBounded(t *testing.T) {
	dir := t.TempDir()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, []byte(strings.Repeat("x", 11)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := statefile.Read(large, 10); err == nil {
		t.Error("a file over the bound was read")
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := statefile.Read(fifo, 10); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a FIFO: %v", err)
	}
	if _, err := statefile.Read(dir, 10); err == nil {
		t.Error("a directory was read")
	}
}

// A write that fails leaves the old content.
func TestReplaceFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := statefile.Replace(path, []byte("old"), statefile.Process); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := statefile.Replace(path, []byte("new"), statefile.Process); err == nil {
		t.Error("no error where the new file cannot be written")
	}
	if b, err := statefile.Read(path, 10); err != nil || string(b) != "old" {
		t.Errorf("read %q, %v", b, err)
	}
}
