package engine

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/routes"
	"uplinkd/uplink"
	"uplinkd/uplink/api"
)

// The second renew asked the same server again, for any news of the lease was taken for
// an answer to the first (review).
func TestRenewGoesFurther(t *testing.T) {
	c, err := configs.Parse(strings.NewReader("uplinks: [{name: a, interface: eth1, address: dhcp, gateway: lease}]"), configs.Options{File: "t"})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	s := uplink.New(c, now)
	have := routes.State{At: now, MainRule: true, Links: []routes.Link{{Name: "eth1", Index: 2, Up: true, Carrier: true, MAC: "02:00:00:00:00:01"}}}
	s = uplink.Step(s, uplink.Observed{Applied: routes.Applied{State: have, Observed: []string{"eth1"}, At: now}}, now)
	lease := &dhcp.Lease{Prefix: netip.MustParsePrefix("100.64.0.5/24"), Router: netip.MustParseAddr("100.64.0.1"), Server: netip.MustParseAddr("100.64.0.1"), Expire: now.Add(time.Hour)}
	var reports reporter
	tell := func(st dhcp.State) {
		s = uplink.Step(s, uplink.LeaseChanged{Interface: "eth1", Report: reports.of(dhcp.Change{State: st, Lease: lease, Confirmed: true})}, now)
	}
	renew := func() {
		s = uplink.Step(s, uplink.Commanded{Uplink: "a", Command: api.Command{Action: api.Renew}}, now)
	}
	tell(dhcp.Bound)
	renew()
	tell(dhcp.Renewing) // what Confirm(1) leads to; the lease is the same one
	renew()
	if n := uplink.Want(&s).Work[0].Lease.ConfirmRequests; n != 2 {
		t.Errorf("second renew without an answer: ConfirmRequests = %d, want 2", n)
	}
}
