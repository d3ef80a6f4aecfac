package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The daemon is not root: what root alone may read would keep it from starting (review).
func TestOpenTo(t *testing.T) {
	dir := t.TempDir()
	for _, above := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(above, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "sub", "f")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := uint32(os.Geteuid() + 1)
	for _, tt := range []struct {
		file, dir os.FileMode
		at        string
	}{
		{0o644, 0o755, ""}, {0o600, 0o755, file}, {0o640, 0o755, file}, {0o644, 0o700, filepath.Dir(file)},
	} {
		for path, mode := range map[string]os.FileMode{file: tt.file, filepath.Dir(file): tt.dir} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		if at, ok := openTo(file, stranger, []uint32{1 << 30}); at != tt.at || ok != (tt.at == "") {
			t.Errorf("file %o in %o: %v because of %q, want %q", tt.file, tt.dir, ok, at, tt.at)
		}
	}
	if !permits(0o640, 0, 7, 996, []uint32{7}, 4) || permits(0o600, 0, 7, 996, []uint32{7}, 4) || !permits(0, 0, 0, 0, nil, 4) {
		t.Error("group and root are not told apart")
	}
}
