package routes

import (
	"slices"
	"time"
)

// Applied is the outcome of one pass over the kernel.
type Applied struct {
	Generation uint64    // of the Set that was compared
	Observed   []string  // the interfaces that were looked at
	At         time.Time // when the last answer came
	State      State     // what was read, before anything was done
	Plan       Plan      // what differed
	Done       []Op      // of the plan: carried out
	Pending    []Pending // of the plan: refused, or left for later
	Fights     []Fight   // that others have with us, by now
	Err        error     // of the operations and of the read, joined
	InSync     bool      // the kernel holds what is wanted, as far as the answers tell
	Ops        uint64    // operations carried out since the start
	Repairs    uint64    // operations that put back what others had changed
	TablesPut  uint64    // how often our nft table was put where there was none, or an empty one
	NetsPut    uint64    // how often an interface of the site was given an address that it had not
}

// A Pending operation is one that is not carried out now.
type Pending struct {
	Op      Op
	Err     error     // why the kernel refused it; nil: it is left alone for a while
	NextTry time.Time // zero: with what it depends on
	By      string    // who has undone it lately; "": not known
}

// A Fight is over one object: another program undoes again and again what is ours.
type Fight struct {
	Key     Key
	Repairs int    // how often it has been put back since it was last left alone
	By      string // who undid it last, as far as is known
}

// After returns what the kernel holds after the pass.
func (a *Applied) After() State {
	s := a.State
	for _, op := range a.Done {
		s = Apply(s, op)
	}
	return s
}

// Endpoints returns those that After has, without the rest: what many uplinks set at their start takes long to apply.
func (a *Applied) Endpoints() []Endpoint {
	s := State{Endpoints: a.State.Endpoints}
	for _, op := range a.Done {
		switch op.(type) {
		case PutEndpoint, DeleteEndpoint:
			s = Apply(s, op)
		}
	}
	return s.Endpoints
}

// ways are the kinds of objects that say where a packet goes.
var ways = []Kind{KindRoute, KindRule, KindTable}

// Leads reports whether every route and rule, and our nft table, is as it is wanted: what
// begins anew finds its new way. Where a foreign object stands in the way, that is
// told as a conflict, and there is nothing to wait for.
func (a *Applied) Leads() bool {
	if a.Err != nil && a.State.At.IsZero() {
		return false // it was not even read
	}
	for _, p := range a.Pending {
		if kind := KeyOf(p.Op).Kind; EffectOf(p.Op) != "" && slices.Contains(ways, kind) {
			return false
		}
	}
	return true
}
