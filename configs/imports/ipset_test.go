package imports_test

import (
	"fmt"
	"strings"
	"testing"

	"uplinkd/configs"
	"uplinkd/configs/imports"
)

// What ipset has saved, by the thousand, becomes a file of prefixes that policies take.
func TestIPSet(t *testing.T) {
	var saved strings.Builder
	saved.WriteString("create geo hash:net family inet hashsize 1024 maxelem 65536\n")
	for n := range 50_000 {
		fmt.Fprintf(&saved, "add geo 10.%d.%d.0/24 timeout 0 comment \"x\"\n", n>>8, n&255)
	}
	saved.WriteString("add geo 192.0.2.7\nadd geo 2001:db8::/32\nadd geo 10.0.0.0/8 nomatch\nadd geo 192.0.2.0/24,tcp:80\nCOMMIT\nnonsense \x1b[31m\n")
	var out strings.Builder
	count, err := imports.IPSet(&out, strings.NewReader(saved.String()))
	if err != nil || count != 50_002 {
		t.Fatalf("%d prefixes, %v; want 50,002", count, err)
	}
	list, err := configs.ReadPrefixes(strings.NewReader(out.String()))
	if err != nil || len(list) != 50_002 {
		t.Fatalf("policies take %d of them: %v", len(list), err)
	}
	for _, want := range []string{"# geo hash:net\n", "# left out: add geo 10.0.0.0/8 nomatch\n", "# left out: add geo 192.0.2.0/24,tcp:80\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("a control character came through")
	}
}
