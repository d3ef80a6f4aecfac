package uplink

import (
	"net/netip"
	"time"

	"uplinkd/configs"
	"uplinkd/probe"
	"uplinkd/routes"
	"uplinkd/uplink/api"
	"uplinkd/uplink/cgroups"
)

// An Event is something that happened.
type Event interface{ isEvent() }

// The events there are.
type (
	// Observed is what the reconciler read, and made of it.
	Observed struct{ routes.Applied }
	// ProbeChanged is a change of what the probes say of a path's targets.
	ProbeChanged struct {
		Interface string
		Family    Family
		Change    probe.Change
		Unheard   Unheard
	}
	// Together are ProbeChanged and CarrierLost of several links, which are decided of together: what befalls many
	// uplinks at once costs one decision, and none is made of them that knows of some only.
	Together []Event
	// LeaseChanged is a change of a path's lease.
	LeaseChanged struct {
		Interface string
		Family    Family
		Report    LeaseReport
	}
	// AdvertChanged is a change of what routers advertise to a path of IPv6.
	AdvertChanged struct {
		Interface string
		Advert    Advert
	}
	// Commanded is what the operator wants of an uplink.
	Commanded struct {
		Uplink string
		api.Command
	}
	// Restored is what the operator wanted when the process before us ended, by
	// uplink, and what they had used of their quotas.
	Restored struct {
		Admins map[string]Admin
		Usage  map[string]Usage
	}
	// Sampled is what was measured, by interface. It comes each second, and so is also
	// what lets time pass.
	Sampled struct{ Samples map[string]Sample }
	// GroupsFound is which there are of the control groups that policies name.
	GroupsFound struct {
		Groups map[cgroups.Name]cgroups.Group
	}
	// NeighbourFailed is that a neighbour no longer answers ARP (NUD_FAILED).
	NeighbourFailed struct {
		Index   int // of the interface
		Address netip.Addr
	}
	// CarrierLost is that an interface had no carrier at a time, told before the kernel is read.
	CarrierLost struct {
		Index int
		At    time.Time
	}
	// Resumed is that the machine was suspended for a time.
	Resumed struct{ SuspendedFor time.Duration }
	// Reloaded is a new configuration. One on trial goes back, by another Reloaded, unless it is
	// Confirmed: until then nothing is ended that would live on if it did.
	Reloaded struct {
		Config  configs.Config
		OnTrial bool
	}
	// Confirmed is that the configuration on trial stays.
	Confirmed struct{}
)

func (Observed) isEvent()        {}
func (ProbeChanged) isEvent()    {}
func (Together) isEvent()        {}
func (LeaseChanged) isEvent()    {}
func (AdvertChanged) isEvent()   {}
func (Commanded) isEvent()       {}
func (Restored) isEvent()        {}
func (Sampled) isEvent()         {}
func (GroupsFound) isEvent()     {}
func (NeighbourFailed) isEvent() {}
func (CarrierLost) isEvent()     {}
func (Resumed) isEvent()         {}
func (Reloaded) isEvent()        {}
func (Confirmed) isEvent()       {}
