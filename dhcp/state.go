package dhcp

// A State is a state of the client (RFC 2131 section 4.4, figure 5).
type State uint8

// The states.
const (
	Off State = iota
	Init
	InitReboot
	Selecting
	Requesting
	Checking // the address given, by ARP (RFC 5227); no state of RFC 2131
	Bound
	Renewing
	Rebinding
)

// String returns the state as it stands in status and logs.
func (s State) String() string {
	return [...]string{
		"off", "init", "init-reboot", "selecting", "requesting", "probing", "bound", "renewing", "rebinding",
	}[s]
}
