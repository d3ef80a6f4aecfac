package uplink

import (
	"time"

	"uplinkd/configs"
	"uplinkd/dhcp"
	"uplinkd/probe"
	"uplinkd/routes"
)

// An Event is something that happened.
type Event interface{ isEvent() }

// The events there are.
type (
	// Observed is what the reconciler read, and made of it.
	Observed struct{ routes.Applied }
	// Judged is a change of the probes' verdict on an uplink.
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
		Uplink  string
		Disable bool
	}
	// Renewed is the operator's wish that an uplink's lease be renewed.
	Renewed struct{ Uplink string }
	// Resumed is that the machine was suspended for a time.
	Resumed struct{ Slept time.Duration }
	// Reloaded is a new configuration.
	Reloaded struct{ Config configs.Config }
	// Ticked is that time has passed.
	Ticked struct{}
)

func (Observed) isEvent() {}
func (Judged) isEvent()   {}
func (Leased) isEvent()   {}
func (Ordered) isEvent()  {}
func (Renewed) isEvent()  {}
func (Resumed) isEvent()  {}
func (Reloaded) isEvent() {}
func (Ticked) isEvent()   {}
