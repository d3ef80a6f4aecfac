package uplink

import (
	"net/netip"
	"testing"
	"time"

	"uplinkd/configs"
	"uplinkd/routes"
	"uplinkd/uplink/api"
)

// After 10 s, then at pauses that double up to ten minutes; only while all but
// the probes stands.
func TestDoubts(t *testing.T) {
	start := time.Now()
	u := Uplink{
		Config: configs.Uplink{
			Interface: "eth1", Path: configs.Path{Address: configs.AddressExternal, Gateway: configs.GatewayNone},
			DHCP: configs.DHCP{RenewAfter: 10 * time.Second},
		},
		Device: Device{Link: routes.Link{Name: "eth1", Index: 2, Up: true, Carrier: true}},
	}
	p := &u.Paths[IPv4]
	p.OperState, p.Since, p.Assigned = api.Down, start, []netip.Prefix{{}}
	last := 0
	var at []time.Duration
	for s := range 3600 {
		d := time.Duration(s) * time.Second
		if n := u.confirmRequests(p, start.Add(d)); n > last {
			last = n
			at = append(at, d)
		}
	}
	want := []time.Duration{10, 30, 70, 150, 310, 630, 1230, 1830, 2430, 3030}
	if len(at) != len(want) {
		t.Fatalf("doubts at %v, want %v seconds", at, want)
	}
	for i := range want {
		if at[i] != want[i]*time.Second {
			t.Errorf("doubt %d at %v, want %v s", i+1, at[i], int64(want[i]))
		}
	}
	for name, change := range map[string]func(*Uplink){
		"up":           func(u *Uplink) { u.Paths[IPv4].OperState = api.Up },
		"no carrier":   func(u *Uplink) { u.Device.Link.Carrier = false },
		"switched off": func(u *Uplink) { u.Config.DHCP.RenewAfter = 0 },
	} {
		other := u
		change(&other)
		if n := other.confirmRequests(&other.Paths[IPv4], start.Add(time.Hour)); n != 0 {
			t.Errorf("%s: %d doubts, want none", name, n)
		}
	}
	p.OperatorRenews = 2
	if n := u.confirmRequests(p, start); n != 2 {
		t.Errorf("asked for twice: %d doubts", n)
	}
}
