// Package api is what the daemon and those who speak to it exchange: the words, and
// the JSON of status, events, commands and plans. Fields are only ever added.
package api

import (
	"net/netip"
	"time"

	"uplinkd/internal/histogram"
)

// Version of the JSON. Fields are only ever added to it.
const Version = 1

// A Snapshot is the daemon's answer. Times are RFC 3339.
type Snapshot struct {
	Version      int          `json:"version"`
	Daemon       Daemon       `json:"daemon"`
	DefaultRoute DefaultRoute `json:"default_route"`
	Uplinks      []Uplink     `json:"uplinks"`
	Policies     []Policy     `json:"policies"`
	DNS          DNS          `json:"dns"`
	Kernel       Kernel       `json:"kernel"`

	DefaultRoute6 *DefaultRoute `json:"default_route6"` // that of IPv6; null where no uplink has it
	LAN           []LAN         `json:"lan"`            // what hosts behind this one get of IPv6

	Figures *Figures `json:"-"` // nil: not asked for
}

// LAN is a prefix on an interface whose hosts get addresses of it.
type LAN struct {
	Interface string       `json:"interface"`
	Prefix    netip.Prefix `json:"prefix"`
	Of        string       `json:"of"`        // the uplink whose provider gave it; "": the configuration
	Preferred bool         `json:"preferred"` // false: it is on its way out, and kept for hosts that have it
	Until     When         `json:"until"`     // none: never ends
}

// Daemon is the process itself.
type Daemon struct {
	Version     string    `json:"version"`
	PID         int       `json:"pid"`
	Started     time.Time `json:"started"`
	Config      string    `json:"config"`
	SHA256      string    `json:"config_sha256"` // of the text that is in force
	HooksApart  bool      `json:"hooks_apart"`   // another process runs them
	Reloaded    When      `json:"reloaded"`
	ConfigError string    `json:"config_error"`    // why the last reload changed nothing
	Trial       *Trial    `json:"trial"`           // null: no configuration is on trial
	OrdersError string    `json:"orders_error"`    // why the operator's orders cannot be kept
	MeterErrors []string  `json:"meter_errors"`    // what cannot be measured, and why
	LongestStep Millis    `json:"longest_step_ms"` // the longest that one decision has taken

	// Numbers that grow: who asks again and again asks for the rest when they have. They are of one life of
	// the daemon.
	LastEvent       uint64 `json:"last_event"`       // the number of the last event, 0: none yet
	SwitchesChanged uint64 `json:"switches_changed"` // how often a switch was added or told more of
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
	Weight    int        `json:"weight"`  // in the kernel; of a sole one, which has none there, the uplink's
}

// Uplink is one uplink.
type Uplink struct {
	Name      string         `json:"name"`
	Interface string         `json:"interface"`
	Family    string         `json:"family"` // of what follows: ipv4, or ipv6 where the uplink has no other
	State     OperState      `json:"state"`
	Reason    string         `json:"reason"`
	Since     time.Time      `json:"since"`
	Active    bool           `json:"active"` // carries new connections now
	Weight    int            `json:"weight"`
	Tier      int            `json:"tier"`
	Table     uint32         `json:"table"`
	FwMark    uint32         `json:"fwmark"`
	Address   string         `json:"address"` // with prefix length; several are separated by a space
	Addresses []netip.Prefix `json:"addresses"`
	Gateway   netip.Addr     `json:"gateway"` // "" when there is none
	DHCP      *DHCP          `json:"dhcp"`    // null without a lease to keep
	Probes    []Probe        `json:"probes"`
	Counters  Counters       `json:"counters"`

	EffectiveWeight int         `json:"effective_weight"` // in the default route; weight is the configured one
	MaxConnections  int         `json:"max_connections"`  // 0: no limit
	Capped          bool        `json:"capped"`           // it has all the connections it may have
	Order           *Order      `json:"order"`            // null: the operator has not overruled anything
	Hold            Hold        `json:"hold_down"`
	ProbeInterval   Millis      `json:"probe_interval_ms"` // the steady pace
	ProbeStretched  bool        `json:"probe_stretched"`   // the budget has made it slower than configured
	ProbeBudget     uint64      `json:"probe_budget"`      // bytes a month; 0: none
	AgentPercent    Figure[int] `json:"agent_percent"`     // of its weight that agents want; null: none says
	MPTCP           string      `json:"mptcp,omitempty"`   // its endpoint in the kernel: subflow | backup

	Quota *Quota `json:"quota"` // null: none

	IPv6 *IPv6 `json:"ipv6"` // null: none
}

// Quota is how much of what an uplink may carry it has carried.
type Quota struct {
	Bytes uint64    `json:"bytes"`
	Used  uint64    `json:"used"`
	Since time.Time `json:"since"` // when the period began
	Until time.Time `json:"until"` // when the next begins
	Then  string    `json:"then"`  // spare | out: what it is when all is used
	Spent bool      `json:"spent"` // all is used
}

// IPv6 is an uplink in IPv6.
type IPv6 struct {
	State     OperState      `json:"state"`
	Reason    string         `json:"reason"`
	Since     time.Time      `json:"since"`
	Active    bool           `json:"active"` // carries new connections now
	Weight    int            `json:"weight"`
	Tier      int            `json:"tier"`
	Addresses []netip.Prefix `json:"addresses"`
	Gateway   netip.Addr     `json:"gateway"`  // "" when there is none
	Prefixes  []netip.Prefix `json:"prefixes"` // for the LAN
	Router    string         `json:"router"`   // how it stands with the router that advertises itself
	DHCP      *DHCP          `json:"dhcp"`     // null where DHCPv6 is not spoken
	Probes    []Probe        `json:"probes"`

	EffectiveWeight int    `json:"effective_weight"` // in the default route; weight is the configured one
	Hold            Hold   `json:"hold_down"`
	ProbeInterval   Millis `json:"probe_interval_ms"` // the steady pace
	ProbeStretched  bool   `json:"probe_stretched"`   // the budget has made it slower than configured
	ProbeBudget     uint64 `json:"probe_budget"`      // bytes a month; 0: none
}

// An Order is what the operator wants of an uplink until further notice. Its zero
// value is nothing.
type Order struct {
	State AdminState `json:"state"`
	By    string     `json:"by"` // who gave the last order

	Family string `json:"family,omitempty"` // ipv4 | ipv6: it is for that alone

	Since time.Time `json:"since"`
	Until When      `json:"until"` // of State; none: until it is taken back

	Weight      int  `json:"weight"`       // 0: the configured one
	WeightUntil When `json:"weight_until"` // of Weight
}

// Hold is what past falls hold against an uplink.
type Hold struct {
	Falls int  `json:"falls"`
	Until When `json:"until"` // it is not up before; none: it has not fallen
}

// An Event is a change of an uplink, with the evidence for it.
type Event struct {
	ID        uint64    `json:"id"` // counts from 1 at the daemon's start
	Time      time.Time `json:"time"`
	Uplink    string    `json:"uplink"`
	Interface string    `json:"interface"`
	Family    string    `json:"family,omitempty"` // ipv4 | ipv6; of what is of both, none
	Address   string    `json:"address"`          // that the uplink has now
	Kind      EventKind `json:"kind"`
	Switch    uint64    `json:"switch,omitempty"` // of kind state: the number of the switch that it is part of
	From      string    `json:"from"`
	To        string    `json:"to"`
	Reason    string    `json:"reason"`
	Evidence  []string  `json:"evidence"`

	// DNS and Domain are those of the lease that the uplink has now; of an event of kind dns,
	// DNS are the servers that the host is to ask.
	DNS    []netip.Addr `json:"dns,omitempty"`
	Domain string       `json:"domain,omitempty"`
}

// DNS is what the host's resolver is given.
type DNS struct {
	Mode    string      `json:"mode"`    // none | route | resolved | file | hook
	Servers []DNSServer `json:"servers"` // that are to be asked, the first one first
	Error   string      `json:"error"`   // why they could not be given
}

// DNSServer is a DNS server, and the uplink that its queries leave by.
type DNSServer struct {
	Address netip.Addr `json:"address"`
	Uplink  string     `json:"uplink"`
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
	Target    string  `json:"target"`
	State     string  `json:"state"`
	Reason    string  `json:"reason"` // what speaks against the target
	RTT       float64 `json:"rtt_ms"`
	Jitter    float64 `json:"jitter_ms"`
	Loss      float64 `json:"loss_percent"` // of the last 100
	Sent      uint64  `json:"sent"`
	Received  uint64  `json:"received"`
	Bytes     uint64  `json:"bytes"` // of IP packets, both ways
	LastError string  `json:"last_error"`
	Silence   Millis  `json:"silence_ms,omitempty"` // since the last answer; not there before the first

	RTTs     *histogram.Durations `json:"-"` // of all round trips
	Silences *histogram.Durations `json:"-"` // from one answer to the next

	// By the learned rule: when an answer is late, how long a silence means down, and what
	// that follows from, the mean deviation of round trips and the longest silence that
	// was survived. Not there under the fixed one, or before anything was heard.
	LateAfter float64 `json:"late_after_ms,omitempty"`
	DownAfter float64 `json:"down_after_ms,omitempty"`
	Spread    float64 `json:"spread_ms,omitempty"`
	Survived  float64 `json:"survived_ms,omitempty"`
}

// Counters are the interface's, and the connections that have the uplink's
// address: TCP sockets of this host, or flows that were translated to it,
// whichever are more.
type Counters struct {
	RxBytes     Figure[uint64] `json:"rx_bytes"`
	TxBytes     Figure[uint64] `json:"tx_bytes"`
	RxBPS       Figure[uint64] `json:"rx_bps"` // bits a second
	TxBPS       Figure[uint64] `json:"tx_bps"`
	Connections Figure[int]    `json:"connections"`
}

// Policy is one policy: where it leads now, and what it has counted. Only the first
// packet of a connection is asked about.
type Policy struct {
	Name  string `json:"name"`
	Leads string `json:"leads"` // an uplink | balance | nowhere | the next policy

	LeadsIPv6 string `json:"leads_ipv6,omitempty"` // likewise, in IPv6

	// Passed are the uplinks that do not keep its service level, and why.
	Passed map[string]string `json:"passed"`

	PassedIPv6 map[string]string `json:"passed_ipv6,omitempty"` // likewise, in IPv6

	Packets Figure[uint64] `json:"packets"`
	Bytes   Figure[uint64] `json:"bytes"`
}

// Kernel is how the kernel stands to what is wanted.
type Kernel struct {
	InSync    bool       `json:"in_sync"`
	LastError string     `json:"last_error"`
	Repairs   uint64     `json:"repairs"`    // operations that put back what others had changed
	Ops       uint64     `json:"operations"` // carried out since the start
	Conflicts []Conflict `json:"conflicts"`
	Pending   []Pending  `json:"pending"` // what is not as it is wanted, and why
	Fights    []Fight    `json:"fights"`  // over what is ours
}

// Pending is an object that is not as it is wanted, and left for later.
type Pending struct {
	Object    string `json:"object"`    // as ip, sysctl or nft name it
	Operation string `json:"operation"` // what is to be done
	Error     string `json:"error"`     // why the kernel refused it; "": it was not asked
	NextTry   When   `json:"next_try"`  // none: with what it rests on
	By        string `json:"by"`        // who has undone it lately: "ip (pid 4711)"; "": not known
}

// Fight is another program that undoes again and again what is ours: five times within a
// minute. It is over when the object has been left alone for a minute.
type Fight struct {
	Object  string `json:"object"`  // as ip, sysctl or nft name it
	Repairs int    `json:"repairs"` // how often it was put back since the fight, or what led to it, began
	By      string `json:"by"`      // who undid it last: "ip (pid 4711)"; "": not known
	Remedy  string `json:"remedy"`
}

// Conflict is a foreign object where one of ours belongs.
type Conflict struct {
	Want   string `json:"want"`
	Have   string `json:"have"`
	Remedy string `json:"remedy"`
}
