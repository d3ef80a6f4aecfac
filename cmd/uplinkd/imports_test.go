package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Who may import what of ours. A package that is not named may import nothing.
var mayImport = map[string][]string{
	"cmd/uplinkd":          {"*"},
	"uplink":               {"configs", "dhcp", "probe", "routes", "uplink/status"},
	"uplink/control":       {"uplink/status"},
	"uplink/orders":        {"uplink/status", "internal/statefile"},
	"uplink/hooks":         {"uplink/status", "internal/latest", "internal/run"},
	"uplink/preflight":     {"configs", "routes"},
	"dhcp":                 {"internal/latest", "internal/sock", "internal/statefile"},
	"probe":                {"internal/latest", "internal/run", "internal/sock"},
	"routes/kernel":        {"routes", "internal/statefile"},
	"routes/routestest":    {"routes"},
	"internal/lab/labtest": {"internal/lab"},
	"internal/lab/demo":    {"internal/lab", "uplink/control", "uplink/status"},
}

// Who alone may import what of others, and who must not.
var (
	onlyIn = map[string][]string{
		"github.com/vishvananda/netlink": {"routes/kernel", "internal/lab"},
		"github.com/google/nftables":     {"routes/kernel", "internal/lab"},
		"go.yaml.in/yaml":                {"configs"},
		"github.com/insomniacslk/dhcp":   {"dhcp", "internal/lab"},
		"github.com/coreos/go-systemd":   {"systemd"},
		"github.com/spf13/cobra":         {"cmd/uplinkd"},
		"testing":                        {"routes/routestest", "internal/lab/labtest"},
	}
	never = map[string][]string{
		"uplink": {"os", "os/exec", "net/http", "golang.org/x/sys"},
		"routes": {"os", "os/exec", "net/http", "golang.org/x/sys"},
	}
)

// TestImports holds the map of packages of docs/architecture.md: it parses the
// sources, so that no cache can answer for them.
func TestImports(t *testing.T) {
	root := os.DirFS("../..")
	files := 0
	err := fs.WalkDir(root, ".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (strings.HasPrefix(e.Name(), ".") && path != "." || path == "tools" || path == "bin"):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		files++
		checkFile(t, path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Fatalf("only %d files found: is this the top of the module?", files)
	}
}

func checkFile(t *testing.T, path string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../..", path), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	for _, spec := range file.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if ours, ok := strings.CutPrefix(name, "uplinkd/"); ok {
			allowed := mayImport[dir]
			if !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("%s imports %s: %s may import %v", path, ours, dir, allowed)
			}
		}
		for library, users := range onlyIn {
			if within(name, library) && !slices.Contains(users, dir) {
				t.Errorf("%s imports %s: only %v may", path, name, users)
			}
		}
		for _, library := range never[dir] {
			if within(name, library) {
				t.Errorf("%s imports %s: %s does no I/O of its own", path, name, dir)
			}
		}
	}
}

func within(name, library string) bool {
	return name == library || strings.HasPrefix(name, library+"/")
}

// Every test that the documentation names is there.
func TestDocsNameRealTests(t *testing.T) {
	have := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	docs, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range docs {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testName.FindAllStringSubmatch(string(text), -1) {
			named++
			if !have[m[1]] {
				t.Errorf("%s names %s, which there is not", doc, m[1])
			}
		}
	}
	if named < 40 {
		t.Errorf("found only %d names of tests: is the pattern wrong?", named)
	}
}

var (
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	testName = regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w+)`")
)
