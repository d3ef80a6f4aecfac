package kernel_test

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"uplinkd/internal/lab/labtest"
	"uplinkd/routes"
)

// The kernel leaves the route to the network of an address of IPv6 that has an end: after cleanup the
// LAN's stood there for two hours (found by TestSoak). With another address of the network it stays.
func TestPrefixRouteGoesWithItsAddress(t *testing.T) {
	labtest.Need(t)
	wires(t)
	k := openKernel(t)
	read6(t, k)
	now := time.Now()
	a := routes.Address{
		Interface: "wan1", Prefix: netip.MustParsePrefix("2001:db8:1:101::1/64"), Protocol: 201, NoDAD: true,
		Until: now.Add(2 * time.Hour), Preferred: now.Add(time.Hour),
	}
	network := func() bool {
		out, err := exec.Command("ip", "-6", "route", "show", "2001:db8:1:101::/64", "dev", "wan1").CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return strings.TrimSpace(string(out)) != ""
	}
	for _, other := range []bool{true, false} {
		if other {
			ip(t, "-6 address add 2001:db8:1:101::77/64 dev wan1 nodad valid_lft 3600 preferred_lft 3600")
		} else {
			ip(t, "-6 address del 2001:db8:1:101::77/64 dev wan1")
		}
		do(t, k, []routes.Op{routes.PutAddress{Address: a, Now: now}})
		if !network() {
			t.Fatal("no route to the network: the test proves nothing")
		}
		do(t, k, []routes.Op{routes.DeleteAddress{Address: a}})
		if network() != other {
			t.Errorf("with another address of the network %v: the route to it is there %v", other, network())
		}
	}
}
