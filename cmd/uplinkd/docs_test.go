package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"uplinkd/configs"
	"uplinkd/internal/lab/labtest"
)

// pages are all that a person reads, by their path from here.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(found) < 20 {
		t.Fatal(found, err)
	}
	texts := map[string]string{}
	for _, file := range append(found, "../../README.md", "../../CONTRIBUTING.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	return texts
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// What stands as YAML in the docs is right: a whole configuration as it is, a part of one beside uplinks. Only that
// it may name uplinks and users that the part does not have.
func TestDocsConfigurations(t *testing.T) {
	count := 0
	for file, text := range pages(t) {
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			if block[1] != "yaml" {
				continue
			}
			count++
			whole := block[2]
			if !regexp.MustCompile(`(?m)^uplinks:`).MatchString(whole) {
				whole += "\nuplinks:\n  - {name: a, interface: eth7, address: dhcp, gateway: lease, ipv6: auto}\n"
			}
			_, err := configs.Parse(strings.NewReader(whole), configs.Options{
				File: filepath.Base(file), Users: func(string) (uint32, bool) { return 1, true },
			})
			var problems configs.Problems
			if errors.As(err, &problems) {
				problems = slices.DeleteFunc(problems, func(p configs.Problem) bool {
					return strings.Contains(p.Text, "no such uplink") || strings.Contains(p.Text,
						"no uplink of that name")
				})
			}
			if len(problems) > 0 {
				t.Errorf("%v\n%s", problems, block[2])
			}
		}
	}
	if count < 12 {
		t.Errorf("only %d blocks: this test sees little", count)
	}
}

// Every command of ours in the docs is one that there is, with flags that it has; every target of make is in the
// Makefile; and what stands as shell is shell.
func TestDocsCommands(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	targets := strings.Fields(string(regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindSubmatch(makefile)[1]))
	count := 0
	for file, text := range pages(t) {
		for _, line := range commandLines(text) {
			count++
			if why := wrongCommand(line, targets); why != "" {
				t.Errorf("%s: %s: %s", filepath.Base(file), line, why)
			}
		}
		for _, block := range fence.FindAllStringSubmatch(text, -1) {
			if block[1] != "sh" {
				continue
			}
			check := exec.Command("sh", "-n")
			check.Stdin = strings.NewReader(block[2])
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s\n%s", filepath.Base(file), err, out, block[2])
			}
		}
	}
	t.Logf("%d command lines", count)
	if count < 100 {
		t.Errorf("only %d command lines: this test sees little", count)
	}
}

var inlineCode = regexp.MustCompile("`([^`\n]+)`")

// commandLines returns what is typed in a page: lines of blocks of shell, indented lines, the terminal's after "# ",
// and code within the text.
func commandLines(text string) (list []string) {
	ours := regexp.MustCompile(`^(sudo )?(uplinkd|make) [a-z]`)
	add := func(line string) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "  #")
		for part := range strings.SplitSeq(line, " && ") {
			part, _, _ = strings.Cut(part, " | ")
			if part = strings.TrimSpace(part); ours.MatchString(part) {
				list = append(list, strings.TrimPrefix(part, "sudo "))
			}
		}
	}
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		for line := range strings.SplitSeq(block[2], "\n") {
			switch block[1] {
			case "sh":
				add(line)
			case "text":
				add(strings.TrimPrefix(line, "# "))
			}
		}
	}
	outside := fence.ReplaceAllString(text, "")
	for line := range strings.SplitSeq(outside, "\n") {
		if strings.HasPrefix(line, "    ") {
			add(line)
		}
	}
	for _, code := range inlineCode.FindAllStringSubmatch(outside, -1) {
		add(code[1])
	}
	return list
}

// wrongCommand says what is wrong with a command line, "" when nothing is.
func wrongCommand(line string, targets []string) string {
	words := strings.Fields(regexp.MustCompile(`[<>].*|[…].*|\[.*`).ReplaceAllString(line, ""))
	if len(words) < 2 {
		return ""
	}
	if words[0] == "make" {
		if !slices.Contains(targets, words[1]) && !strings.Contains(words[1], "=") {
			return "no such target"
		}
		return ""
	}
	root := newRoot(stdio{out: new(bytes.Buffer), err: new(bytes.Buffer)})
	cmd, rest, err := root.Find(words[1:])
	if err != nil || cmd == root {
		return "no such command"
	}
	if err := cmd.ParseFlags(rest); err != nil {
		if strings.Contains(err.Error(), "needs an argument") {
			return "" // it is named, and not typed
		}
		return err.Error()
	}
	return ""
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Every link of the docs leads to a file that there is, and to a heading that it has.
func TestDocsLinks(t *testing.T) {
	texts := pages(t)
	for file, text := range texts {
		for _, found := range link.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s: %s leads nowhere", filepath.Base(file), found[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(texts[path]), anchor) {
				t.Errorf("%s: %s: no such heading, there are %v", filepath.Base(file), found[1], anchors(texts[path]))
			}
		}
	}
}

// anchors returns the names that headings have on a page.
func anchors(text string) (list []string) {
	for line := range strings.SplitSeq(text, "\n") {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			name := strings.ToLower(strings.ReplaceAll(title, " ", "-"))
			list = append(list, regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(name, ""))
		}
	}
	return list
}

// Every path of ours in the docs is one that the package puts in place, or that the daemon or its user makes.
func TestDocsPaths(t *testing.T) {
	list, err := os.ReadFile("../../tools/package/nfpm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	made := []string{"/etc/uplinkd", "/var/lib/uplinkd", "/run/uplinkd", "/usr/share/doc/uplinkd"}
	for _, m := range regexp.MustCompile(`dst: ([^,}]+)`).FindAllStringSubmatch(string(list), -1) {
		made = append(made, strings.TrimSuffix(m[1], "/"))
	}
	path := regexp.MustCompile(`/(usr|etc|var|run)/[A-Za-z0-9_./@-]*uplinkd[A-Za-z0-9_./@-]*`)
	count := 0
	for file, text := range pages(t) {
		for _, p := range path.FindAllString(text, -1) {
			count++
			p = strings.TrimRight(p, "./")
			if !slices.ContainsFunc(made, func(m string) bool {
				return strings.HasPrefix(p, m) ||
					strings.HasPrefix(m, p+"/")
			}) &&
				!strings.Contains(p, "NetworkManager") { // written by hand, after check
				t.Errorf("%s: %s is not in the package", filepath.Base(file), p)
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d paths: this test sees little", count)
	}
}

// The pictures of concepts.md are made of the text beside them: each label is in both.
func TestPicturesAreOfTheirText(t *testing.T) {
	for _, name := range []string{"packet", "states"} {
		text, err := os.ReadFile("../../docs/" + name + ".dot")
		if err != nil {
			t.Fatal(err)
		}
		picture, err := os.ReadFile("../../docs/" + name + ".svg")
		if err != nil {
			t.Fatal(err)
		}
		shown := strings.NewReplacer("&#39;", "'", "&#45;", "-", "&gt;", ">", "&amp;", "&").Replace(string(picture))
		labels := regexp.MustCompile(`label="([^"]+)"`).FindAllSubmatch(text, -1)
		for _, l := range labels {
			for line := range strings.SplitSeq(string(l[1]), `\n`) {
				if !strings.Contains(shown, ">"+line+"<") {
					t.Errorf("%s.svg does not show %q: make pictures", name, line)
				}
			}
		}
		if drawn := strings.Count(shown, "<text "); len(labels) < 8 || drawn < len(labels) {
			t.Errorf("%s: %d labels, %d drawn", name, len(labels), drawn)
		}
	}
}

// make site makes a page of each, by MkDocs, which is strict about links.
func TestSite(t *testing.T) {
	labtest.NeedPrograms(t, "mkdocs")
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	script := `cp -r ../../docs "$1" && cp -r ../../configs "$1/configs" && sed -i 's#](\.\./configs/#](configs/#g' "$1"/*.md &&
sed "s#^docs_dir: .*#docs_dir: $1#; s#^site_dir: .*#site_dir: $2#" ../../tools/site/mkdocs.yml >"$3" &&
	mkdocs build -q -f "$3"`
	if out, err := exec.Command("sh", "-c", script, "sh", source, filepath.Join(dir, "site"), filepath.Join(dir,
		"mkdocs.yml")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for file := range pages(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".md")
		if strings.Contains(file, "/docs/") {
			if _, err := os.Stat(filepath.Join(dir, "site", name+".html")); err != nil {
				t.Error(err)
			}
		}
	}
}
