package uplink

import (
	"net/netip"
	"testing"

	"uplinkd/dhcp"
)

// Which lease an uplink goes by, from the third review: one that no server has
// confirmed to this process must neither push out an address in use nor be put
// on an interface while there is nobody to ask.
func TestLeaseToGoBy(t *testing.T) {
	kept := &dhcp.Lease{Prefix: netip.MustParsePrefix("203.0.113.5/24")}
	other := netip.MustParsePrefix("203.0.113.77/24")
	for name, tt := range map[string]struct {
		state     dhcp.State
		confirmed bool
		present   netip.Prefix
		adopted   netip.Prefix
		want      bool
	}{
		"given":                                 {dhcp.Bound, true, netip.Prefix{}, netip.Prefix{}, true},
		"given, and on the interface":           {dhcp.Bound, true, kept.Prefix, netip.Prefix{}, true},
		"given, the carrier is lost":            {dhcp.Off, true, kept.Prefix, netip.Prefix{}, true},
		"given, the interface is away":          {dhcp.Off, true, netip.Prefix{}, netip.Prefix{}, false},
		"given, on a new interface, asking":     {dhcp.InitReboot, true, netip.Prefix{}, netip.Prefix{}, false},
		"kept, without a carrier at start":      {dhcp.Off, false, netip.Prefix{}, netip.Prefix{}, false},
		"kept, being confirmed":                 {dhcp.InitReboot, false, netip.Prefix{}, netip.Prefix{}, false},
		"kept, being asked about on the link":   {dhcp.Probing, false, netip.Prefix{}, netip.Prefix{}, false},
		"given, being asked about, in use":      {dhcp.Probing, true, kept.Prefix, netip.Prefix{}, true},
		"kept, nobody answered":                 {dhcp.Selecting, false, netip.Prefix{}, netip.Prefix{}, true},
		"kept and found in use":                 {dhcp.InitReboot, false, kept.Prefix, kept.Prefix, true},
		"kept and found in use, no carrier":     {dhcp.Off, false, kept.Prefix, kept.Prefix, true},
		"kept, another found in use":            {dhcp.InitReboot, false, other, other, false},
		"kept, another in use, nobody answered": {dhcp.Selecting, false, other, other, false},
		"given in the place of what was in use": {dhcp.Bound, true, other, other, true},
	} {
		t.Run(name, func(t *testing.T) {
			u := Uplink{
				DHCP:    dhcp.Change{State: tt.state, Lease: kept, Confirmed: tt.confirmed},
				Adopted: Adopted{Prefix: tt.adopted},
			}
			if tt.present.IsValid() {
				u.Present = []netip.Prefix{tt.present}
			}
			if got := u.lease() != nil; got != tt.want {
				t.Errorf("goes by it: %v, want %v", got, tt.want)
			}
		})
	}
}
