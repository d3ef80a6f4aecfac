package uplink

import (
	"net/netip"
	"testing"
)

// Which lease an uplink goes by, from the third review: one that no server has
// confirmed to this process must neither push out an address in use nor be put
// on an interface while there is nobody to ask.
func TestLeaseToGoBy(t *testing.T) {
	kept := &Lease{Prefix: netip.MustParsePrefix("203.0.113.5/24")}
	other := netip.MustParsePrefix("203.0.113.77/24")
	for name, tt := range map[string]struct {
		asking    bool
		confirmed bool
		present   netip.Prefix
		adopted   netip.Prefix
		want      bool
	}{
		"given":                                 {false, true, netip.Prefix{}, netip.Prefix{}, true},
		"given, and on the interface":           {false, true, kept.Prefix, netip.Prefix{}, true},
		"given, the carrier is lost":            {true, true, kept.Prefix, netip.Prefix{}, true},
		"given, the interface is away":          {true, true, netip.Prefix{}, netip.Prefix{}, false},
		"given, on a new interface, asking":     {true, true, netip.Prefix{}, netip.Prefix{}, false},
		"kept, without a carrier at start":      {true, false, netip.Prefix{}, netip.Prefix{}, false},
		"kept, being confirmed":                 {true, false, netip.Prefix{}, netip.Prefix{}, false},
		"kept, being asked about on the link":   {true, false, netip.Prefix{}, netip.Prefix{}, false},
		"given, being asked about, in use":      {true, true, kept.Prefix, netip.Prefix{}, true},
		"kept, nobody answered":                 {false, false, netip.Prefix{}, netip.Prefix{}, true},
		"kept and found in use":                 {true, false, kept.Prefix, kept.Prefix, true},
		"kept and found in use, no carrier":     {true, false, kept.Prefix, kept.Prefix, true},
		"kept, another found in use":            {true, false, other, other, false},
		"kept, another in use, nobody answered": {false, false, other, other, false},
		"given in the place of what was in use": {false, true, other, other, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := Path{
				Report:  LeaseReport{Asking: tt.asking, Lease: kept, Confirmed: tt.confirmed},
				Adopted: Adopted{Prefix: tt.adopted},
			}
			if tt.present.IsValid() {
				p.Assigned = []netip.Prefix{tt.present}
			}
			if got := p.inForce() != nil; got != tt.want {
				t.Errorf("goes by it: %v, want %v", got, tt.want)
			}
		})
	}
}
