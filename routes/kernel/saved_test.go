package kernel_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
	"uplinkd/routes/firewall"
)

// shortened returns a listing as nft has it when it has read one: a set of a single element is that element.
func shortened(listing string) string {
	listing = regexp.MustCompile(`\{ ([^ ,{}]+) \}`).ReplaceAllString(listing, "$1")
	return strings.ReplaceAll(listing, "meta l4proto udp th dport", "udp dport")
}

// Who saves the ruleset of a running host as his own (nft list ruleset >/etc/nftables.conf) can load it again, at the
// next boot too, and it holds the same. It is not taken for what we wrote: that is put in its place. From two defects:
// such a file did not load, so that the host came up without a filter; and where it did, by marks alone, its marks were
// turned around, which nobody mended, for it bore our version.
func TestSavedRuleset(t *testing.T) {
	labtest.Need(t)
	labtest.NeedRoot(t, "nft")
	k := openKernel(t)
	t.Cleanup(func() { do(t, k, []routes.Op{routes.DeleteFirewall{Table: "uplinkd"}}) })
	marks := everything()
	marks.Policies = nil
	all := everything()
	all.Policies[len(all.Policies)-2] = firewall.Policy{Name: "no_unit"} // a control group has to be there
	for name, f := range map[string]firewall.Table{
		"marks": marks, "policies": all, "both families": ofBothFamilies(), "tables of policies": dispatching(),
	} {
		putFirewall(t, k, f)
		saved := nft(t, "list", "table", "inet", "uplinkd")
		file := filepath.Join(t.TempDir(), "nftables.conf")
		if err := os.WriteFile(file, []byte(saved), 0o600); err != nil {
			t.Fatal(err)
		}
		nft(t, "delete", "table", "inet", "uplinkd")
		if out, err := exec.Command("nft", "-f", file).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
			continue
		}
		if again := nft(t, "list", "table", "inet", "uplinkd"); shortened(again) != shortened(saved) {
			t.Errorf("%s: loaded, it lists as\n%s\nand was\n%s", name, again, saved)
		}
		if got := read(t, k, routes.Set{Owner: owner}).Firewall; got != routes.StrangeFirewall {
			t.Errorf("%s: a table that was loaded is taken for %s", name, got)
		}
		putFirewall(t, k, f)
	}
}
