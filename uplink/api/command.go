package api

import "time"

// A Command is what the operator wants done to an uplink.
type Command struct {
	Action Action
	Weight int           // of weight: 1..256; 0: the configured one
	For    time.Duration // it ends by itself; 0: it does not
	By     string        // who gives it, as the server knows the client
}

// Events are the daemon's answer to who asks what has changed.
type Events struct {
	Started time.Time `json:"started"` // since when this daemon runs: numbers are its own
	Last    uint64    `json:"last"`    // the number of the newest there is
	Events  []Event   `json:"events"`
}

// DrainProgress is how far an uplink is from having no connections left.
type DrainProgress struct {
	State       DrainState  `json:"state"`
	Connections Figure[int] `json:"connections"` // left; null: not known
	Reason      string      `json:"reason"`      // why the state is unknown or ended
}

// A DrainState says whether to go on waiting.
type DrainState string

// The states of a drain.
const (
	DrainRunning DrainState = "running" // connections are left, or have not been counted yet
	DrainDone    DrainState = "done"    // none is left
	DrainUnknown DrainState = "unknown" // they cannot be counted
	DrainEnded   DrainState = "ended"   // the uplink is no longer drained
)

// A Plan is what would be done to the kernel, as ip, sysctl and nft commands, and
// what stands in the way.
type Plan struct {
	Operations []string   `json:"operations"`
	Conflicts  []Conflict `json:"conflicts"`
}
