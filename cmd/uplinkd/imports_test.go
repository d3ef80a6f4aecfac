package main

import (
	"go/ast"
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
	"cmd/uplinkd": {"*"},

	"uplink": {"configs", "dhcp", "dhcp/dhcp6", "dhcp/ra", "probe", "routes", "routes/firewall", "uplink/api", "uplink/cgroups"},
	"uplink/engine": {
		"configs", "dhcp", "dhcp/dhcp6", "dhcp/ra", "internal/grid", "internal/histogram", "internal/latest", "probe", "routes",
		"routes/firewall", "routes/flows",
		"routes/reconcile", "uplink", "uplink/api", "uplink/cgroups",
	},
	"uplink/replay": {"configs", "internal/plain", "probe", "routes", "uplink", "uplink/api"},
	"uplink/daemon": {
		"configs", "internal/grid", "internal/latest", "internal/statefile", "probe", "routes", "uplink", "uplink/api", "uplink/control", "uplink/engine",
		"uplink/hooks", "uplink/orders",
	},
	"uplink/control":    {"internal/statefile", "uplink/api", "uplink/metrics"},
	"uplink/board":      {"internal/grid", "uplink/api"},
	"uplink/web":        {"internal/plain", "uplink/api", "uplink/board"},
	"uplink/metrics":    {"internal/histogram", "uplink/api"},
	"uplink/api":        {"internal/histogram"},
	"uplink/orders":     {"internal/statefile", "uplink/api"},
	"configs":           {"internal/plain"},
	"configs/imports":   {"internal/plain"},
	"configs/reference": {},
	"configs/draft":     {"configs/reference"},
	"uplink/hooks":      {"internal/latest", "internal/run", "uplink/api"},
	"uplink/preflight":  {"configs", "routes"},
	"uplink/resolver":   {"configs", "internal/statefile", "uplink"},
	"uplink/cgroups":    {"internal/latest"},

	"dhcp/dhcp6": {"dhcp", "internal/converse", "internal/latest", "internal/sock"},
	"dhcp/ra":    {"internal/converse", "internal/latest", "internal/sock"},
	"dhcp":       {"internal/converse", "internal/latest", "internal/sock", "internal/statefile"},
	"probe":      {"internal/grid", "internal/histogram", "internal/latest", "internal/plain", "internal/run", "internal/sock"},

	"routes":            {"routes/firewall"},
	"routes/reconcile":  {"internal/histogram", "internal/latest", "routes"},
	"routes/kernel":     {"internal/grid", "internal/latest", "internal/nlmsg", "internal/plain", "internal/statefile", "routes", "routes/firewall"},
	"routes/flows":      {"internal/nlmsg"},
	"routes/routestest": {"routes"},

	"internal/converse":        {"internal/latest"},
	"internal/figures/page":    {"internal/figures"},
	"internal/figures/compare": {"internal/figures"},
	"internal/lab":             {"internal/nlmsg"},
	"internal/lab/labtest":     {"internal/lab"},
	"internal/lab/demo":        {"internal/lab", "uplink/api", "uplink/control"},
}

// Who alone may import what of others, and who must not.
var (
	onlyIn = map[string][]string{
		"github.com/vishvananda/netlink":  {"routes/kernel", "internal/lab"},
		"github.com/google/nftables":      {"routes/kernel", "routes/flows", "internal/lab"},
		"go.yaml.in/yaml":                 {"configs", "configs/imports"},
		"github.com/insomniacslk/dhcp":    {"dhcp", "dhcp/dhcp6", "internal/lab"},
		"github.com/mdlayher/ndp":         {"dhcp/ra", "internal/lab"},
		"github.com/coreos/go-systemd":    {"systemd"},
		"github.com/godbus/dbus":          {"uplink/resolver", "uplink/cgroups"},
		"github.com/spf13/cobra":          {"cmd/uplinkd"},
		"github.com/jedib0t/go-pretty/v6": {"cmd/uplinkd"},
		"charm.land/bubbletea":            {"cmd/uplinkd"},
		"testing":                         {"routes/routestest", "internal/lab/labtest", "internal/bubble"},
	}

	noIO  = []string{"os", "os/exec", "net/http", "golang.org/x/sys", "log", "log/slog"}
	never = map[string][]string{
		"uplink":          append([]string{"context", "sync"}, noIO...),
		"uplink/api":      append([]string{"context", "sync"}, noIO...),
		"routes":          append([]string{"sync"}, noIO...),
		"routes/firewall": append([]string{"context", "sync", "time"}, noIO...),
	}

	// clocks are what a pure package must not call: it is told the time.
	clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"}
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
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, filepath.Join("../..", path), nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	checkSizes(t, path, set, file)
	if never[dir] != nil {
		checkClocks(t, path, set, file)
	}
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
				t.Errorf("%s imports %s: %s is pure", path, name, dir)
			}
		}
	}
}

// checkClocks wants a package to be told the time.
func checkClocks(t *testing.T, path string, set *token.FileSet, file *ast.File) {
	t.Helper()
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if of, ok := selector.X.(*ast.Ident); ok && of.Name == "time" && slices.Contains(clocks, selector.Sel.Name) {
			t.Errorf("%s:%d: time.%s: the time comes from outside", path, set.Position(n.Pos()).Line, selector.Sel.Name)
		}
		return true
	})
}

const (
	functionMost = 60  // lines
	fileMost     = 350 // lines; a file beyond says why in the comment above its package clause
)

// checkSizes wants functions that fit a screen, and files that hold one thing.
func checkSizes(t *testing.T, path string, set *token.FileSet, file *ast.File) {
	t.Helper()
	lines := set.Position(file.FileEnd).Line
	if lines > fileMost && (file.Doc == nil || !strings.Contains(file.Doc.Text(), "One file")) {
		t.Errorf("%s has %d lines: split it, or say above `package` why it is \"One file\"", path, lines)
	}
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > functionMost {
				t.Errorf("%s: %s has %d lines: it does more than one thing", path, f.Name.Name, n)
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
