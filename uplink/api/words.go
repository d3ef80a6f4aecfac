package api

// An OperState is how an uplink is (IF-MIB, ifOperStatus).
type OperState string

// The states.
const (
	Starting OperState = "starting" // not judged yet
	Up       OperState = "up"       // may carry new connections
	Doubtful OperState = "doubtful" // answers late: new connections go elsewhere, what runs is left alone
	Down     OperState = "down"     // cannot
	Drained  OperState = "drained"  // could, and keeps what it has, by order
	Disabled OperState = "disabled" // out, by order
)

// Works reports whether what runs over an uplink in that state can be taken to live.
func (s OperState) Works() bool { return s == Up || s == Doubtful || s == Drained }

// An AdminState is what the operator wants an uplink to be (IF-MIB, ifAdminStatus).
type AdminState string

// What an operator may want.
const (
	AdminUp       AdminState = ""
	AdminDrained  AdminState = "drained"  // no new connections, old ones live on
	AdminDisabled AdminState = "disabled" // out at once, its lease released
)

// An Action is what a Command does.
type Action string

// The actions.
const (
	Enable   Action = "enable"
	Disable  Action = "disable"
	Drain    Action = "drain"
	Weight   Action = "weight"
	Renew    Action = "renew"
	SetQuota Action = "quota" // so much of its quota is used
	Drill    Action = "drill" // it is about to be silent on purpose, for a time
)

// Clock is how a moment stands in text beside others of its day: in evidence and in the log.
const Clock = "15:04:05.000"

// An EventKind says what has changed.
type EventKind string

// The kinds.
const (
	EventState   EventKind = "state"   // an uplink's OperState
	EventRoute   EventKind = "route"   // the shared default route
	EventLease   EventKind = "lease"   // an uplink's lease
	EventPrefix  EventKind = "prefix"  // the prefixes that an uplink has for the LAN
	EventAddress EventKind = "address" // the addresses on its interface
	EventDNS     EventKind = "dns"     // the DNS servers that the host is to ask
	EventOrder   EventKind = "order"   // what the operator wants of it

	EventQuota EventKind = "quota" // how much of its quota an uplink has used

	EventFight    EventKind = "fight"    // another program undoes again and again what is ours
	EventConflict EventKind = "conflict" // a foreign object where one of ours belongs, or before it
)
