package dhcp

// For tests and benchmarks of what comes from the wire.
var (
	Unwrap = unwrap
	Wrap   = wrap
)
