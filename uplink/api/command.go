package api

import (
	"net/netip"
	"time"
)

// A Command is what the operator wants done to an uplink.
type Command struct {
	Action Action
	Weight int           // of weight: 1..256; 0: the configured one
	Bytes  uint64        // of quota
	For    time.Duration // it ends by itself; 0: it does not
	Family string        // ipv4 | ipv6: for that alone; "": for both
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
	Changes    []string   `json:"changes"` // of the configuration: "uplinks.isp1.weight: 1 -> 2"
	Effects    []Effect   `json:"effects"` // on connections
	Login      *Login     `json:"login"`   // null: not asked about
}

// An Effect is what becomes of the connections of an uplink that have its address.
type Effect struct {
	Uplink  string      `json:"uplink"`
	Ends    bool        `json:"ends"` // false: they go on by another gateway
	Why     string      `json:"why"`
	Sockets Figure[int] `json:"sockets"` // connections of this host
	Flows   Figure[int] `json:"flows"`   // of connection tracking with the address, those of this host among them
}

// A Login is the connection by which somebody works on this host.
type Login struct {
	Local  netip.AddrPort `json:"local"`
	Peer   netip.AddrPort `json:"peer"`
	Uplink string         `json:"uplink"` // that it goes by; "": by none
	Ends   bool           `json:"ends"`   // it may
	Why    string         `json:"why"`
}

// An Apply is how a configuration is put in force.
type Apply struct {
	For time.Duration // it goes back after so long unless it is confirmed
	By  string        // who orders it, as the server knows the client
}

// A Trial is a configuration that is in force until it is confirmed, or goes back.
type Trial struct {
	File   string    `json:"file"`             // that it came from
	Config string    `json:"config"`           // the file that the daemon reads when it starts
	SHA256 string    `json:"sha256"`           // of its text
	Text   []byte    `json:"text,omitempty"`   // for who may confirm it
	Before []byte    `json:"before,omitempty"` // what it goes back to
	Until  time.Time `json:"until"`
	By     string    `json:"by"`
}
