package uplink

import (
	"fmt"
	"strings"

	"uplinkd/dhcp"
	"uplinkd/dhcp/dhcp6"
	"uplinkd/dhcp/ra"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/api"
	"uplinkd/uplink/cgroups"
)

// Wanted is all that follows from a State: the one output of this package. Who
// carries it out compares it with the last one, and acts on what differs.
type Wanted struct {
	Set    routes.Set       // of the kernel
	Work   []Work           // one for each path
	Admins map[string]Admin // to be kept over a restart, by uplink; nil: none
	DNS    DNS              // what the host's resolver is to be given, once Ready
	Meter  Meter            // what is to be measured
	Groups []cgroups.Name   // that are to be followed
	Line   string           // the state in a few words: "2/3 up: isp1 isp3"
	Ready  bool             // every uplink has been judged, or the start limit has passed
}

// Work is what is to be done for one path.
type Work struct {
	Interface string
	Family    Family
	Probe     *probe.Spec // nil: nothing can be probed
	KeepLease bool        // by Lease
	Lease     dhcp.Spec
	Listen    bool // for routers, by Routers
	Routers   ra.Spec
	Release   bool // give the lease back, if there is one

	KeepLease6 bool // by Lease6
	Lease6     dhcp6.Spec
}

// Want returns what is wanted in a State. It is pure.
func Want(s *State) Wanted {
	w := Wanted{
		Set: Desired(s), Admins: s.admins(), DNS: s.DNS(), Meter: s.meter(), Groups: s.named,
		Line: line(s), Ready: s.Settled,
	}
	w.Work = make([]Work, 0, len(s.Uplinks)*int(families))
	for i := range s.Uplinks {
		u := &s.Uplinks[i]
		for p := range u.Present() {
			work := Work{
				Interface: u.Config.Interface, Family: p.Family, Probe: p.Probe, Release: u.DisabledIn(p.Family),
			}
			work.Lease, work.KeepLease = s.leaseSpec(u, p)
			work.Routers, work.Listen = s.routerSpec(u, p)
			work.Lease6, work.KeepLease6 = s.lease6Spec(u, p)
			w.Work = append(w.Work, work)
		}
	}
	return w
}

func line(s *State) string {
	var up, doubtful []string
	for i := range s.Uplinks {
		switch u := &s.Uplinks[i]; u.OperState() {
		case api.Up:
			up = append(up, u.Config.Name)
		case api.Doubtful:
			doubtful = append(doubtful, u.Config.Name)
		case api.Starting, api.Down, api.Drained, api.Disabled:
		}
	}
	text := fmt.Sprintf("%d/%d up", len(up), len(s.Uplinks))
	if len(up) > 0 {
		text += ": " + strings.Join(up, " ")
	}
	if len(doubtful) > 0 {
		text += ", doubtful: " + strings.Join(doubtful, " ")
	}
	if len(s.Conflicts) > 0 {
		text += ", but " + s.Conflicts[0].Have + " stands in the way"
	}
	return text
}
