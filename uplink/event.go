package uplink

import (
	"net/netip"
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/status"
)

// An Event is something that happened.
type Event interface{ isEvent() }

// The events there are.
type (
	// Observed is what the reconciler read, and made of it.
	Observed struct{ routes.Applied }
	// Judged is a change of what the probes say of an uplink's targets.
	Judged struct {
		Interface string
		Change    probe.Change
	}
	// Leased is a change of an uplink's lease.
	Leased struct {
		Interface string
		Change    dhcp.Change
	}
	// Ordered is the operator's word on an uplink.
	Ordered struct {
		Uplink string
		Verb   Verb
		Weight int           // of Weight; 0: the configured one
		By     string        // who says so
		For    time.Duration // it ends by itself; 0: it does not
	}
	// Recalled are the orders that stood when the process before us ended.
	Recalled struct{ Orders map[string]status.Order }
	// Sampled is what was measured, by interface.
	Sampled struct{ Samples map[string]Sample }
	// Renewed is the operator's wish that an uplink's lease be renewed.
	Renewed struct{ Uplink string }
	// Forsaken is that a neighbour no longer answers ARP.
	Forsaken struct {
		Index   int // of the interface
		Address netip.Addr
	}
	// Resumed is that the machine was suspended for a time.
	Resumed struct{ Slept time.Duration }
	// Reloaded is a new configuration.
	Reloaded struct{ Config configs.Config }
)

// A Verb is what the operator wants.
type Verb string

// The verbs.
const (
	Enable  Verb = "enable"
	Disable Verb = "disable"
	Drain   Verb = "drain"
	Weight  Verb = "weight"
)

func (Forsaken) isEvent() {}
func (Recalled) isEvent() {}
func (Sampled) isEvent()  {}
func (Observed) isEvent() {}
func (Judged) isEvent()   {}
func (Leased) isEvent()   {}
func (Ordered) isEvent()  {}
func (Renewed) isEvent()  {}
func (Resumed) isEvent()  {}
func (Reloaded) isEvent() {}
