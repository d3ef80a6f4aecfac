package api

import "time"

// A Switch is one change of what an uplink may carry in a family: from the first thing that spoke for
// it until the kernel, and the connections that end with it, have followed. What is made up of doubt and of
// the verdict that ends it is one.
type Switch struct {
	ID        uint64    `json:"id"` // counts from 1 at the daemon's start
	Uplink    string    `json:"uplink"`
	Interface string    `json:"interface"`
	Family    string    `json:"family"` // ipv4 | ipv6
	From      OperState `json:"from"`
	To        OperState `json:"to"` // by now
	Cause     Cause     `json:"cause"`
	Reason    string    `json:"reason"`
	Evidence  []string  `json:"evidence"`

	Since   When      `json:"since"`    // the first probe that was not answered was sent; null: no probe spoke for it
	DoubtAt When      `json:"doubt_at"` // new connections were to go elsewhere; null: there was no doubt
	At      time.Time `json:"at"`       // To was decided
	Routed  When      `json:"routed"`   // the kernel's routes followed the first decision; null: not yet
	Ended   When      `json:"ended"`    // its connections had been ended; null: they were not, or not yet

	Flows   Figure[int] `json:"flows"`   // of connection tracking, forgotten; null: none was to be
	Sockets Figure[int] `json:"sockets"` // of this host, ended
	Error   string      `json:"error"`   // why not all of that could be done
}

// Took returns how long it took from when the time counts to a moment of the switch: from the first
// probe that was not answered, or from the decision. It is false when the moment has not come.
func (s *Switch) Took(moment time.Time) (time.Duration, bool) {
	if moment.IsZero() {
		return 0, false
	}
	return max(moment.Sub(s.Began()), 0), true
}

// Began returns from when the times of the switch count.
func (s *Switch) Began() time.Time {
	switch {
	case !s.Since.IsZero():
		return s.Since.Time
	case !s.DoubtAt.IsZero():
		return s.DoubtAt.Time
	}
	return s.At
}

// A Cause is what kind of thing a switch comes from.
type Cause string

// The causes.
const (
	CauseProbes  Cause = "probes"  // what is asked answers, or does not
	CauseLink    Cause = "link"    // the interface: its presence, its carrier, its admin state
	CauseAddress Cause = "address" // its addresses, its lease, its gateway
	CauseOrder   Cause = "order"   // the operator
)

// Causes are all there are.
var Causes = []Cause{CauseProbes, CauseLink, CauseAddress, CauseOrder}

// Switches are the daemon's answer to who asks for the last ones.
type Switches struct {
	Started  time.Time `json:"started"` // since when this daemon runs: numbers are its own
	Switches []Switch  `json:"switches"`
}
