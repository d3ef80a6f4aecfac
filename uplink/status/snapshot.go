// Package status is what the daemon answers when asked how it is: plain data,
// its JSON and its table.
package status

import (
	"net/netip"
	"time"
)

// Version of the JSON. Fields are only ever added to it.
const Version = 1

// When is a time that may be none; none is null in JSON.
type When struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (w When) MarshalJSON() ([]byte, error) {
	if w.IsZero() {
		return []byte("null"), nil
	}
	return w.Time.MarshalJSON()
}

// A Snapshot is the daemon's answer. Times are RFC 3339.
type Snapshot struct {
	Version      int          `json:"version"`
	Daemon       Daemon       `json:"daemon"`
	DefaultRoute DefaultRoute `json:"default_route"`
	Uplinks      []Uplink     `json:"uplinks"`
	Kernel       Kernel       `json:"kernel"`
}

// Daemon is the process itself.
type Daemon struct {
	Version     string    `json:"version"`
	PID         int       `json:"pid"`
	Started     time.Time `json:"started"`
	Config      string    `json:"config"`
	Reloaded    When      `json:"reloaded"`
	ConfigError string    `json:"config_error"` // why the last reload changed nothing
}

// DefaultRoute is the shared default route as it was last read from the kernel.
type DefaultRoute struct {
	Table    uint32    `json:"table"`
	Metric   uint32    `json:"metric"`
	NextHops []NextHop `json:"nexthops"`
}

// NextHop is one way out of it.
type NextHop struct {
	Uplink    string     `json:"uplink"`
	Interface string     `json:"interface"`
	Gateway   netip.Addr `json:"gateway"` // "" when there is none
	Weight    int        `json:"weight"`
}

// Uplink is one uplink.
type Uplink struct {
	Name      string     `json:"name"`
	Interface string     `json:"interface"`
	State     string     `json:"state"`
	Reason    string     `json:"reason"`
	Since     time.Time  `json:"since"`
	Active    bool       `json:"active"` // carries new connections now
	Weight    int        `json:"weight"`
	Tier      int        `json:"tier"`
	Table     uint32     `json:"table"`
	FwMark    uint32     `json:"fwmark"`
	Address   string     `json:"address"` // with prefix length; several are separated by a space
	Gateway   netip.Addr `json:"gateway"` // "" when there is none
	DHCP      *DHCP      `json:"dhcp"`    // null without a lease to keep
	Probes    []Probe    `json:"probes"`
	Counters  Counters   `json:"counters"`
}

// DHCP is the lease and the client's state.
type DHCP struct {
	State  string       `json:"state"`
	Reason string       `json:"reason"`
	Server netip.Addr   `json:"server"`
	Expire When         `json:"expires"` // none: the lease never ends
	Renew  When         `json:"renew_at"`
	Rebind When         `json:"rebind_at"`
	DNS    []netip.Addr `json:"dns"`

	SubnetMask netip.Addr `json:"subnet_mask"`
	Domain     string     `json:"domain"`
	MTU        int        `json:"mtu"`      // bytes; 0: the lease names none
	Conflict   *Rival     `json:"conflict"` // null: no other host claims the address
}

// Rival is another host that claims the lease's address and did not give way.
type Rival struct {
	MAC string    `json:"mac"`
	At  time.Time `json:"at"` // when its claim was last taken note of
}

// Probe is what is known of one target.
type Probe struct {
	Target    netip.Addr `json:"target"`
	State     string     `json:"state"`
	RTT       float64    `json:"rtt_ms"`
	Jitter    float64    `json:"jitter_ms"`
	Loss      float64    `json:"loss_percent"` // of the last 100
	Sent      uint64     `json:"sent"`
	Received  uint64     `json:"received"`
	LastError string     `json:"last_error"`
}

// Counters are the interface's, and the TCP connections of this host that have
// the uplink's address.
type Counters struct {
	RxBytes     uint64 `json:"rx_bytes"`
	TxBytes     uint64 `json:"tx_bytes"`
	RxBPS       uint64 `json:"rx_bps"` // bits a second
	TxBPS       uint64 `json:"tx_bps"`
	Connections int    `json:"connections"`
}

// Kernel is how the kernel stands to what is wanted.
type Kernel struct {
	InSync    bool       `json:"in_sync"`
	LastError string     `json:"last_error"`
	Repairs   uint64     `json:"repairs"`    // operations that put back what others had changed
	Ops       uint64     `json:"operations"` // carried out since the start
	Conflicts []Conflict `json:"conflicts"`
}

// Conflict is a foreign object where one of ours belongs.
type Conflict struct {
	Want   string `json:"want"`
	Have   string `json:"have"`
	Remedy string `json:"remedy"`
}
