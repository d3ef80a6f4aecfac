package machine_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"uplinkd/internal/lab/labtest"
)

// packageFile returns the package of this machine's processor, as made by make deb.
func packageFile(t *testing.T) string {
	t.Helper()
	file := "../../../bin/uplinkd_" + version(t) + "-1_" + arch + ".deb"
	if _, err := os.Stat(file); err != nil {
		labtest.Skip(t, "needs a package: make deb")
	}
	return file
}

// version is what CHANGELOG.md begins with.
func version(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^## ([0-9.]+) \(`).FindSubmatch(text)
	if found == nil {
		t.Fatal("CHANGELOG.md names no version")
	}
	return string(found[1])
}

// Debian's own checker finds no error in the package, and no warning but those that are known.
func TestLintian(t *testing.T) {
	labtest.NeedPrograms(t, "lintian")
	out, err := exec.Command("lintian", "--allow-root", "--tag-display-limit", "0", packageFile(t)).CombinedOutput()
	known := regexp.MustCompile(`initial-upload-closes-no-bugs|maintainer-script-calls-systemctl|debian-changelog-line-too-long|` +
		// uplinkd-hooks is wanted by the daemon and nothing else.
		`systemd-service-file-refers-to-unusual-wantedby-target`)
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(line, "E:") || strings.HasPrefix(line, "W:") && !known.MatchString(line) {
			t.Error(line)
		}
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// packedFiles are the files in the deb.
func packedFiles(t *testing.T) (packed []string) {
	t.Helper()
	listed, err := exec.Command("dpkg-deb", "--fsys-tarfile", packageFile(t)).Output()
	if err != nil {
		t.Fatal(err)
	}
	tar := exec.Command("tar", "-t")
	tar.Stdin = bytes.NewReader(listed)
	names, err := tar.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(string(names), "\n") {
		if name = strings.TrimPrefix(name, "."); name != "" && !strings.HasSuffix(name, "/") {
			packed = append(packed, name)
		}
	}
	return packed
}

// make install puts in place what the package holds, for both go by one list.
func TestInstallIsThePackage(t *testing.T) {
	labtest.NeedPrograms(t, "make", "dpkg-deb")
	packed := packedFiles(t)
	dir := t.TempDir()
	install := exec.Command("make", "-C", "../../..", "install", "DESTDIR="+dir)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var installed []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			installed = append(installed, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(packed)
	slices.Sort(installed)
	if !slices.Equal(packed, installed) {
		t.Errorf("the package and make install differ:\n%s", labtest.LineDiff(strings.Join(packed, "\n"),
			strings.Join(installed, "\n")))
	}
	if len(packed) < 40 {
		t.Errorf("only %d files", len(packed))
	}
}

// Two checkouts of one commit, in two places and by two people with other masks, make the same package.
func TestReproducible(t *testing.T) {
	labtest.NeedRoot(t, "git", "make", "go") // an ordinary user's run would only do it again
	var packages [2][]byte
	for i, mask := range []string{"022", "077"} {
		dir := filepath.Join(t.TempDir(), strings.Repeat("deeper/", i)+"checkout")
		for _, args := range [][]string{
			{"sh", "-c", "umask $1; git -c safe.directory='*' clone -q ../../.. $2", "sh", mask, dir},
			{"sh", "-c", "umask $1; make -C $2 deb ARCHES=$3", "sh", mask, dir, arch},
		} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v\n%s", args, err, out)
			}
		}
		list, err := filepath.Glob(dir + "/bin/*.deb")
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		if packages[i], err = os.ReadFile(list[0]); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(packages[0], packages[1]) {
		t.Errorf("two builds of one commit differ (%d and %d bytes)", len(packages[0]), len(packages[1]))
	}
}

// The bill of materials names every module that is in the program, with its version.
func TestSBOM(t *testing.T) {
	labtest.NeedRoot(t, "make", "go") // an ordinary user's run would only do it again
	if out, err := exec.Command("make", "-C", "../../..", "sbom").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bill, err := os.ReadFile("../../../bin/uplinkd-" + version(t) + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	built, err := exec.Command("go", "version", "-m", "../../../bin/"+arch+"/uplinkd").Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := 0
	for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllSubmatch(built, -1) {
		modules++
		if name := "pkg:golang/" + string(m[1]) + "@" + string(m[2]); !strings.Contains(string(bill), name) {
			t.Errorf("%s is not in it", name)
		}
	}
	if modules < 10 {
		t.Errorf("only %d modules in the program", modules)
	}
}

// The rpm holds what the deb holds, but for what is Debian's own; rpm itself can read it.
func TestRPM(t *testing.T) {
	labtest.NeedRoot(t, "make", "go", "rpm", "dpkg-deb") // an ordinary user's run would only do it again
	if out, err := exec.Command("make", "-C", "../../..", "rpm", "ARCHES="+arch).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	processor := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
	file := "../../../bin/uplinkd-" + version(t) + "-1." + processor + ".rpm"
	listed, err := exec.Command("rpm", "-qlp", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(string(listed))
	packed := packedFiles(t)
	for _, name := range packed {
		debians := strings.Contains(name, "lintian") || strings.Contains(name, "vendor-completions/_") ||
			strings.HasSuffix(name, "changelog.Debian.gz")
		if !debians && !slices.Contains(files, name) {
			t.Errorf("%s is not in the rpm", name)
		}
	}
	scripts, err := exec.Command("rpm", "-qp", "--scripts", file).Output()
	if err != nil || !strings.Contains(string(scripts), "cleanup --check-login") {
		t.Errorf("the scripts are not in it: %v\n%s", err, scripts)
	}
}
