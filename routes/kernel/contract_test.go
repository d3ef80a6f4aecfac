package kernel_test

import (
	"log/slog"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"

	"uplinkd/internal/lab"
	"uplinkd/internal/lab/labtest"
	"uplinkd/routes/kernel"
	"uplinkd/routes/routestest"
)

func TestContract(t *testing.T) {
	labtest.Need(t)
	routestest.Contract(t, func(t *testing.T) routestest.World {
		t.Helper()
		host, err := lab.Host()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(host.Close)
		must(t, host.Wire("up0", host, "up1"))
		t.Cleanup(func() { must(t, host.DeleteLink("up0")) })
		must(t, host.Wire("down0", host, "down1"))
		t.Cleanup(func() { must(t, host.DeleteLink("down0")) })
		must(t, host.SetLink("down0", false))
		must(t, host.Address("up0", netip.MustParsePrefix("192.0.2.5/24")))
		must(t, host.Sysctl("net/ipv4/conf/up0/rp_filter", "1"))
		k, err := kernel.Open(t.TempDir(), slog.New(slog.DiscardHandler))
		must(t, err)
		t.Cleanup(k.Close)
		_, absent := os.Stat("/proc/sys/net/mptcp/enabled")
		return routestest.World{Kernel: k, NoMPTCP: absent != nil, Foreign: func(table, metric uint32, gateway netip.Addr) error {
			return netlink.RouteAdd(&netlink.Route{
				Gw: gateway.AsSlice(), Table: int(table), Priority: int(metric), Protocol: 4,
			})
		}}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
