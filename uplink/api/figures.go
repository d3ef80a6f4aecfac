package api

import "uplinkd/internal/histogram"

// Figures are what has been counted since the daemon's start, for who draws curves of it.
type Figures struct {
	Switches   []SwitchCount
	Paths      []PathFigures
	Operations []OperationFigures
	Repairs    []RepairCount
	Lag        *histogram.Durations // from an event's coming to the decision's beginning
	Steps      *histogram.Durations // what one decision takes
}

// A SwitchCount is how many changes of state there were of one kind.
type SwitchCount struct {
	Uplink, Family string
	To             OperState
	Cause          Cause
	N              uint64
}

// PathFigures are those of an uplink in a family.
type PathFigures struct {
	Uplink, Family string
	ToDoubt        *histogram.Durations // from the first probe that was not answered
	ToDown         *histogram.Durations
	Routed         *histogram.Durations // from the decision to the kernel's answer
	EndedFlows     uint64
	EndedSockets   uint64
	MovedFlows     uint64 // ended so that they begin anew by a better tier
	MovedSockets   uint64
}

// OperationFigures are those of the operations on one kind of object in the kernel.
type OperationFigures struct {
	Kind  string // as ip(8), sysctl(8) and nft(8) call it
	Times *histogram.Durations
}

// A RepairCount is how often was put back what one program had undone.
type RepairCount struct {
	By string // its name; "unknown"; "other": one of too many to tell apart
	N  uint64
}
