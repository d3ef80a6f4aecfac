package kernel_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
)

// What nft itself makes of rules that write marks, as check reads it. From the attacks on
// c82b5ea, of which check saw nothing.
func TestMarkWrites(t *testing.T) {
	labtest.Need(t)
	k := openKernel(t)
	t.Cleanup(func() { _ = exec.Command("nft", "delete", "table", "inet", "qos").Run() })
	for rule, want := range map[string]routes.MarkWrite{
		"ct mark set 1":                               {Connection: true, Bits: 0xffffffff, Sets: 1},
		"ct mark set 0x01000000":                      {Connection: true, Bits: 0xffffffff, Sets: 1 << 24},
		"ct mark set ct mark or 0x10":                 {Connection: true, Bits: 0x10, Sets: 0x10},
		"ct mark set ct mark and 0xffffff00 or 0x3":   {Connection: true, Bits: 0xff, Sets: 3},
		"meta mark set 0x02000000":                    {Bits: 0xffffffff, Sets: 2 << 24},
		"ct mark set meta mark":                       {Connection: true, Bits: 0xffffffff},
		"meta mark set meta mark and 0xffff0000":      {Bits: 0xffff},
		"tcp dport 80 ct mark set ct mark xor 0x4000": {Connection: true, Bits: 0x4000, Sets: 0x4000},
	} {
		_ = exec.Command("nft", "delete", "table", "inet", "qos").Run()
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader("table inet qos { chain pre { type filter hook prerouting priority -160; " +
			rule + "; ct mark 7 accept; }; }")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", rule, err, out)
		}
		list, err := k.ReadMarkWrites(owner)
		if err != nil {
			t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(w routes.MarkWrite) bool { return w.Table != "inet qos" })
		want.Table, want.Chain = "inet qos", "pre"
		if len(list) != 1 || list[0] != want {
			t.Errorf("%s: read as %+v, want %+v", rule, list, want)
		}
	}
}
